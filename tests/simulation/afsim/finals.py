"""Nodes that run when the run ends, in a part of the rich seeds, and what must hold of them. See rules.py, which calls
the checks."""

from __future__ import annotations

import copy
import random
from typing import Any

from afsim import rich
from agentflow_common import events as ev
from agentflow_common.definition.parse import parse_dict
from agentflow_common.errors import InvalidError
from agentflow_common.runs.state import RunState, StepState, StepStatus, node_of

_NOBODY = StepState()
_KINDS = ("function", "function", "tool", "map", "loop", "subworkflow", "wait")
_WHILE_ENDING = (
    ev.RunWaiting, ev.RunResumed, ev.TimerSet, ev.StepCancelled, ev.RunCompleted, ev.RunFailed, ev.RunCancelled,
)  # fmt: skip
_BAD = (StepStatus.FAILED, StepStatus.OUTCOME_UNKNOWN)


def with_last_nodes(seed: int, index: int, definition: dict[str, Any]) -> dict[str, Any]:
    """Gives most workflows of an eighth of the rich seeds nodes at the end. Its choices change no others."""
    rng = random.Random(f"{seed} {index} finally")
    if seed % 16 != 7 or rng.random() < 0.2:
        return definition
    made = copy.deepcopy(definition)
    for name in ("z0", "z1")[: rng.randint(1, 2)]:
        node = rich.random_node(rng, name, rng.choice(_KINDS))
        node.pop("compensate_with", None)
        if node["policy"].get("on_unknown") == "ask":
            node["policy"]["on_unknown"] = "retry"
        if rng.random() < 0.2:
            node["condition"] = "outcome.status != 'completed'"
        if name == "z1" and rng.random() < 0.5:
            node["depends_on"] = ["z0"]
        made["dag"]["nodes"].append({**node, "finally": True})
    made["finally_ms"] = rng.choice([1_500, 6_000, 60_000])
    try:
        parse_dict(made)
    except InvalidError:
        return definition
    return made


def is_last(rules: Any, key: str) -> bool:
    return bool(key) and bool(rules.nodes[node_of(key)].at_end)


def check_decision(rules: Any, state: RunState, event: ev.Decision, key: str) -> None:
    """Once it is decided how a run ends, only these nodes begin."""
    if not isinstance(event, _WHILE_ENDING) and not is_last(rules, key):
        rules.fail(f"{ev.event_type(event)} of {key or 'the run'} after run.finishing")
    elif isinstance(event, ev.TimerSet | ev.StepCancelled) and key and not is_last(rules, key):
        rules.fail(f"{ev.event_type(event)} of {key} after run.finishing")


def check_begins(rules: Any, state: RunState, key: str) -> None:
    """They begin no earlier, and not after their time."""
    if state.finishing is None:
        rules.fail(f"{key} began before it was decided how the run ends")
    elif state.finally_over:
        rules.fail(f"{key} began after the time of the nodes at the end")


def check_end(rules: Any, state: RunState, event: Any) -> None:
    """Every one of them is over, unless something cut them off, and the run ends as it was decided."""
    last = [name for name, node in rules.nodes.items() if node.at_end]
    how = state.finishing
    if not last or state.cancel_forced:
        return
    if how is None:
        waits = bool(state.definition.get("run_lane")) and not state.slot_granted
        if not getattr(event, "continued_as", "") and not waits:
            rules.fail("the run ended without its nodes at the end")
        return
    known = {name: state.steps.get(name, _NOBODY) for name in last}
    open_nodes = [
        name for name, step in known.items()
        if not rules.is_settled(step, name) or (step.status is StepStatus.CANCELLED and not step.lost_to)
    ]  # fmt: skip
    if open_nodes and not state.finally_over:
        rules.fail(f"the run ended while {open_nodes} had yet to run")
    if how.status != "completed":
        if ev.event_type(event) != f"run.{how.status}" or event.error != how.error:
            rules.fail(f"the run was to be {how.status}, and ends with {ev.event_type(event)}")
        return
    failed = [
        name for name in last
        if known[name].status in _BAD and rules.nodes[name].policy.on_failure == "fail"
    ]  # fmt: skip
    cut = [name for name in open_nodes if state.finally_over]
    if bool(failed or cut) != isinstance(event, ev.RunFailed):
        rules.fail(f"{failed} failed at the end, and the run ends with {ev.event_type(event)}")
