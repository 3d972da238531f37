"""The steps that a breakpoint can have. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from agentflow_common import hints
from agentflow_common.errors import InvalidError, Problem
from agentflow_common.runs.state import node_of

NAMES_MAX: Final = 10  # of steps in a message


def check_nodes(definition: Mapping[str, Any], names: Iterable[str], place: str = "break_at") -> tuple[str, ...]:
    """Returns the nodes, each once. Raises InvalidError for a name that no breakpoint can have.

    definition: as JSON.
    """
    found = tuple(dict.fromkeys(names))
    nodes = {str(node["id"]): node for node in definition.get("dag", {}).get("nodes", [])}
    problems = tuple(_problems(nodes, found, place))
    if problems:
        raise InvalidError.of(problems, "these breakpoints can't be set", kind="unknown_step")
    return found


def _problems(nodes: Mapping[str, Any], names: Iterable[str], place: str) -> Iterator[Problem]:
    for at, name in enumerate(names):
        here = place if place == "to" else f"{place}[{at}]"
        if name in nodes:
            if nodes[name].get("finally"):
                yield Problem(
                    here, f"{name!r} runs at the end of the run, where nothing stops", "stop before another step"
                )
        elif node_of(name) in nodes:
            fix = f"give {node_of(name)!r}: the run stops before each visit of it, and before it as a whole"
            yield Problem(here, f"{name[:80]!r} is a part or a visit of a step", fix)
        elif "/" in name:
            fix = "set it on the run of the subworkflow: `agentctl workflow break CHILD_RUN --at STEP`"
            yield Problem(here, f"{name[:80]!r} is a step of another workflow", fix)
        else:
            otherwise = f"its steps are {', '.join(list(nodes)[:NAMES_MAX])}"
            yield Problem(here, f"there is no step {name[:80]!r}", hints.did_you_mean(name, nodes, otherwise, most=3))
