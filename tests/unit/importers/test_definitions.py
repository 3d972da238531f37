"""One definition of each engine becomes these definitions and remarks, letter by letter. Other texts are refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from agentctl.importers.convert import ENGINES, convert
from agentflow_common.errors import InvalidError
from tests.support.foreign import ARGO, FOREIGN, SERVERLESS

GOLDEN = Path(__file__).parent / "golden"


def shown(engine: str, text: str) -> str:
    made = convert(text, engine)
    remarks = "".join(f"# {remark.problem()}\n" for remark in made.remarks)
    return "---\n".join(written.text for written in made.definitions) + remarks


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_a_definition_of_each_engine(engine: str) -> None:
    path = GOLDEN / f"{engine}.yaml"
    found = shown(engine, FOREIGN[engine])
    if os.environ.get("WRITE_GOLDEN"):
        path.write_text(found)
    assert found == path.read_text()
    assert convert(FOREIGN[engine], engine).invalid == ()


@pytest.mark.parametrize(
    ("engine", "text", "message"),
    [
        ("argo", "x: [", "not YAML"),
        ("argo", "", "the text is empty"),
        ("argo", "a: &a [*a]", "nested deeper than 60 levels"),
        ("argo", "a: &a [x, x]\nb: &b [" + ", ".join(["*a"] * 101) + "]", "101 aliases"),
        ("conductor", "[" * 3_000 + "]" * 3_000, "nested deeper than 60 levels"),
        ("conductor", '{"tasks": ["' + "x" * 3_000_000 + '"]}', "longer than 2,097,152 bytes"),
        ("argo", ARGO + "---\n" + ARGO, "the file has several documents"),
        ("argo", "kind: Pod", "'Pod' is not a kind of workflow"),
        ("argo", "kind: Workflow\nspec: {templates: 3}", "line 2, spec.templates: must be a list, got a number"),
        ("conductor", '{"name": "x"}', "there are no `tasks`"),
        ("conductor", "[]", "must be a mapping, got a list"),
        ("step-functions", SERVERLESS, "there are no `States` and `StartAt`"),
        ("step-functions", '{"StartAt": "x", "States": {"x": {"Type": "Nap"}}}', "'Nap' is not a type of state"),
        ("step-functions", '{"StartAt": "x", "States": {}}', "there is no state 'x'"),
        ("serverless-workflow", "id: x", "there are no tasks in `do`"),
        ("serverless-workflow", "id: x\nstates: [{name: a}]", "this is Serverless Workflow 0.x"),
        ("serverless-workflow", "do: [{a: {set: {}, then: b}}]", "there is no task 'b' in this list"),
        ("n8n", "{}", "there are no `nodes` and `connections`"),
        ("conductor", json.dumps({"tasks": [{"name": f"t{n}"} for n in range(2_000)]}), "more than 2,000 steps"),
    ],
)
def test_what_is_not_a_definition_is_an_error_that_says_so(engine: str, text: str, message: str) -> None:
    with pytest.raises(InvalidError) as caught:
        convert(text, engine)
    assert message in "\n".join([str(caught.value), *map(str, caught.value.problems)])
