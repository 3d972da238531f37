"""Problems for names in a definition that do not exist: tools, functions, models, prompts. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from agentflow_common import places
from agentflow_common.errors import Problem
from agentflow_common.hints import did_you_mean

_PART: Final = re.compile(r"\[(\d+)\]|([^.\[\]]+)")
_LINE: Final = re.compile(r"line (\d+)")


def missing_names(place_of: Mapping[str, str], known: Iterable[str], kind: str) -> tuple[Problem, ...]:
    """Returns a problem for each name that no worker offers.

    place_of: for each name, its place in the definition. kind: `tool` or `function`.
    """
    names = sorted(known)
    problems = []
    for name, place in place_of.items():
        if name not in names:
            offered = f"the workers offer {', '.join(names[:10]) or 'none'}"
            fix = did_you_mean(name, names, offered, most=3, cutoff=0.5)
            problems.append(Problem(place, f"unknown {kind} {name!r}", fix))
    return tuple(problems)


def missing_prompts(place_of: Mapping[str, str], missing: Iterable[str], known: Iterable[str]) -> tuple[Problem, ...]:
    """Returns a problem for each reference to a prompt that does not exist. known: the org's prompts, by name."""
    names = sorted(known)
    problems = []
    for ref in missing:
        name, _, version = ref.partition("@")
        if name in names and version:
            fix = f"the prompt {name!r} has no version or label {version!r}: see `agentctl prompt get {name}`"
        else:
            hint = did_you_mean(name, names, most=3, cutoff=0.5)
            fix = f"{hint} Or create it" if hint else "create it"
            fix += f": agentctl prompt create {name} --template FILE"
        problems.append(Problem(place_of.get(ref, "dag.nodes"), f"the prompt {ref!r} does not exist", fix))
    return tuple(problems)


def missing_models(place_of: Mapping[str, str], near: Mapping[str, tuple[str, ...]]) -> tuple[Problem, ...]:
    """Returns a problem for each model without a known price. near: for each, known names that are written alike."""
    problems = []
    for model, place in place_of.items():
        close = " or ".join(map(repr, near[model]))
        fix = f"did you mean {close}? Or give it" if close else "correct it, or give it"
        fix += " a price in the file that AGENTFLOW_MODELS_FILE names"
        problems.append(Problem(place, f"unknown model {model!r}: no price is known, so its calls are refused", fix))
    return tuple(problems)


def dotted(path: tuple[str | int, ...], lines: Mapping[tuple[str | int, ...], int] | None) -> str:
    """Returns a path in a definition as its author reads it: `line 12, dag.nodes[2].config.prompt_ref`."""
    text = places.dotted(path)
    line = lines.get(path) if lines else None
    return f"line {line}, {text}" if line else text


def by_lines(problems: Iterable[Problem], lines: places.Lines | None) -> tuple[Problem, ...]:
    """Returns the problems in the order of their lines. A place in the author's text gets its line if it has none.

    Places in the definitions of subworkflows (`child@1: dag.nodes[0]`) have no line and come last.
    """
    found = []
    for problem in problems:
        place = problem.place
        if lines and place.startswith("dag."):
            path = tuple(int(number) if number else name for number, name in _PART.findall(place))
            place = places.with_line(path, place, lines)
        found.append(Problem(place, problem.message, problem.fix))
    return tuple(sorted(found, key=_line_of))


def _line_of(problem: Problem) -> float:
    match = _LINE.match(problem.place)
    return int(match[1]) if match else float("inf")
