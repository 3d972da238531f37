"""One prompt and its inputs through the prompt service's machine."""

from __future__ import annotations

import random

from affuzz import expressions, values
from agentflow_common.errors import InvalidError
from agentflow_prompt import machine

NAMES = ["a", "items", "self", "values", "none_of", "get"]


def play(rng: random.Random) -> str:
    """The text, or why it was refused. Raises whatever else comes out."""
    parts = [expressions.template(rng, [*NAMES, "a.items", "a.x"]) for _ in range(rng.choice([1, 2]))]
    if rng.random() < 0.3:
        name = rng.choice(NAMES)
        parts.append(f"{{% for i in {name} %}}{{{{ i }}}}{{{{ loop.index }}}}{{{{ i.items }}}}{{% endfor %}}")
    source = " ".join(parts)
    if (problem := machine.check_template("template", source)) is not None:
        str(problem).encode()
        return str(problem)
    compiled = machine.compile_prompt(source, "")
    inputs = {name: values.value(rng, 3) for name in NAMES if rng.random() < 0.9}
    try:
        text = machine.render("p@1", "template", compiled.text, inputs)
    except InvalidError as error:
        if not error.problems[0].fix:
            raise AssertionError(f"no fix: {error}") from error
        return str(error)
    again = machine.render("p@1", "template", compiled.text, inputs)
    if text != again:
        raise AssertionError(f"rendered twice, {source!r} differs")
    return text
