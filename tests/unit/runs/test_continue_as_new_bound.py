"""Runs that go on as new ones and do nothing else come to an end, so that a cancel that follows them does, too."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common.definition.parse import parse_dict
from agentflow_common.events import Payload
from agentflow_common.runs.fold import new_state
from agentflow_common.runs.state import RunStatus
from agentflow_scheduler.runs.decisions import RunDecisions
from agentflow_scheduler.runs.plan import Plans
from agentflow_scheduler.runs.run import Run
from agentflow_scheduler.runs.waits import IDLE_RUNS_MAX
from tests.support.deciding import decide

AGAIN = {"id": "again", "type": "continue_as_new", "config": {"inputs": {"n": "{{n + 1}}"}}}
SKIPPED = {"id": "work", "type": "function", "condition": "false", "config": {"function_name": "f"}}
PAST = {"id": "work", "type": "wait", "config": {"duration": 0}}
WORK = {"id": "work", "type": "function", "config": {"function_name": "f"}}


def workflow(*nodes: dict[str, Any]) -> dict[str, Any]:
    order = [{"from": before["id"], "to": after["id"]} for before, after in itertools.pairwise(nodes)]
    return parse_dict(
        {"name": "w", "inputs": {"n": {"type": "integer"}}, "dag": {"nodes": [*nodes], "edges": order}}
    ).canonical()


def begun(event: ev.RunSubmitted) -> tuple[Run, RunDecisions]:
    run = Run(new_state(event, 1), Plans().get(event.definition))
    return run, decide(run, 1, {})


def first(raw: dict[str, Any], idle: int = 0) -> ev.RunSubmitted:
    origin = ev.OriginRef("before", "continue", idle=idle) if idle else None
    return ev.RunSubmitted(
        org="o", run="r0", ts=1, workflow="w", version=1, definition=raw, inputs=Payload(value={"n": 0}), origin=origin
    )


def following(out: RunDecisions) -> ev.RunSubmitted:
    (found,) = [event for _, event in out.sends if isinstance(event, ev.RunSubmitted)]
    return found


@pytest.mark.parametrize("nodes", [(AGAIN,), (PAST, AGAIN)])
def test_a_chain_that_does_nothing_ends_at_its_bound(nodes: tuple[dict[str, Any], ...]) -> None:
    run, out = begun(first(workflow(*nodes), IDLE_RUNS_MAX - 2))
    for left in (1, 0):
        assert run.state.status is RunStatus.COMPLETED
        run, out = begun(following(out))
        assert (run.state.origin is not None and run.state.origin.idle) == IDLE_RUNS_MAX - left
    assert run.state.status is RunStatus.FAILED
    assert run.state.error is not None
    assert (run.state.error.type, "let the workflow wait" in run.state.error.message) == ("idle_chain", True)


def test_a_skipped_step_is_no_work() -> None:
    parts = {"nodes": [SKIPPED, AGAIN], "edges": []}
    raw = parse_dict({"name": "w", "inputs": {"n": {"type": "integer"}}, "dag": parts}).canonical()
    assert following(begun(first(raw, 7))[1]).origin == ev.OriginRef("r0", "continue", idle=8)


def test_work_begins_the_count_anew() -> None:
    run, _ = begun(first(workflow(WORK, AGAIN), IDLE_RUNS_MAX))
    run.apply(ev.StepCompleted(org="o", run="r0", ts=2, step="work", attempt=1, output=Payload(value=1)), 5)
    assert following(decide(run, 2, {})).origin == ev.OriginRef("r0", "continue")
