"""The values of a stopped run that somebody may change: outputs of completed steps, keys of a shared state. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from agentflow_common import hints
from agentflow_common.definition.model import load_trusted
from agentflow_common.errors import InvalidError, Problem
from agentflow_common.expressions.state_schema import Schema, StateError
from agentflow_common.runs.state import UNDO, RunState, StepStatus

VALUES_MAX: Final = 50
_KEY: Final = re.compile(r"[A-Za-z_]\w{0,63}\Z")
_FIX: Final = "write STEP.output or, in a graph, state.KEY"


class Changed(msgspec.Struct):
    """The new values, by step and by key of the shared state."""

    outputs: dict[str, Any] = {}
    shared: dict[str, Any] = {}


def changed(state: RunState, values: Mapping[str, Any]) -> Changed:
    """Returns the new values. Raises InvalidError with every problem.

    values: by place, `STEP.output` or `state.KEY`.
    """
    found = Changed()
    problems = [problem for place in values for problem in _problems(state, place, values[place], found)]
    if len(values) > VALUES_MAX:
        problems.append(Problem("values", f"{len(values)} values are too many", f"change at most {VALUES_MAX} at once"))
    if values and (busy := _taking_items(state)):
        text = f"{busy[0]} is under way, and has taken its items from the values that were there"
        problems.append(Problem("values", text, "change values before it begins, or after it has ended"))
    if problems:
        raise InvalidError.of(problems, "these values can't be changed", kind="unchangeable_value")
    if found.shared:
        _check_schema(state, found.shared)
    return found


def _problems(state: RunState, place: str, value: Any, found: Changed) -> Iterator[Problem]:
    here = f"values[{place[:80]!r}]"
    name, _, field = place.rpartition(".")
    if "graph" in state.definition and place.startswith("state."):
        key = place.removeprefix("state.")
        if not _KEY.match(key):
            yield Problem(here, f"{key[:80]!r} is not a key of a shared state", "use letters, digits and '_'")
        found.shared[key] = value
    elif field != "output" or not name:
        yield Problem(here, "is not a value that can be changed", _FIX)
    elif name not in state.steps or name.endswith(UNDO):
        known = [key for key, step in state.steps.items() if step.status is StepStatus.COMPLETED]
        otherwise = f"these have completed: {', '.join(known[:12]) or 'none'}"
        yield Problem(
            here, f"there is no step {name[:80]!r} that has begun", hints.did_you_mean(name, known, otherwise)
        )
    elif (step := state.steps[name]).status is not StepStatus.COMPLETED:
        yield Problem(here, f"{name} is {step.status}", "only a step that has completed has an output to change")
    elif step.width >= 0:
        yield Problem(here, f"the output of {name} is made of those of its parts", f"change {name}[0].output")
    else:
        found.outputs[name] = value


def _taking_items(state: RunState) -> list[str]:
    """Returns the steps that begin parts, one after the other, with items that are computed from values before them."""
    return [key for key, step in state.steps.items() if step.width >= 0 and step.status is StepStatus.RUNNING]


def _check_schema(state: RunState, shared: Mapping[str, Any]) -> None:
    """Raises InvalidError for a value that the schema of the shared state refuses. A schema of all keys together is
    checked after the superstep."""
    graph = load_trusted(state.definition).graph
    if graph is None or not graph.state.json_schema:
        return
    schema = Schema(graph.state.json_schema)
    if schema.by_key:
        try:
            schema.check({**state.shared, **shared}, shared)
        except StateError as error:
            raise InvalidError.at("values", error.message, "give a value that fits the schema of the state") from None
