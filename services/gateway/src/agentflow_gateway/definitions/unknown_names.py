"""Problems for names in a definition that do not exist: tools, functions, prompts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agentflow_common.errors import Problem
from agentflow_common.hints import near


def missing_names(place_of: Mapping[str, str], known: Iterable[str], kind: str) -> tuple[Problem, ...]:
    """Returns a problem for each name that no worker offers.

    place_of: for each name, its place in the definition. kind: `tool` or `function`.
    """
    names = sorted(known)
    problems = []
    for name, place in place_of.items():
        if name not in names:
            close = near(name, names, most=3, cutoff=0.5)
            listed = ", ".join(close or names[:10]) or "none"
            fix = f"did you mean {listed}?" if close else f"the workers offer {listed}"
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
            close = near(name, names, most=3, cutoff=0.5)
            hint = f"did you mean {', '.join(close)}? Or " if close else ""
            fix = f"{hint}create it: agentctl prompt create {name} --template FILE"
        problems.append(Problem(place_of.get(ref, "dag.nodes"), f"the prompt {ref!r} does not exist", fix))
    return tuple(problems)


def dotted(path: tuple[str | int, ...], lines: Mapping[tuple[str | int, ...], int] | None) -> str:
    """Returns a path in a definition as its author reads it: `line 12, dag.nodes[2].config.prompt_ref`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    line = lines.get(path) if lines else None
    return f"line {line}, {text}" if line else text
