"""Runs that go on as new ones and do nothing else come to an end, so that a cancel that follows them does, too."""

from __future__ import annotations

import pytest

from agentflow_common import events as ev
from agentflow_common.runs.state import RunStatus
from agentflow_scheduler.runs.continuation import IDLE_RUNS_MAX
from tests.support.definitions import WORK, Node, function, in_order, workflow
from tests.support.run_driver import RunDriver

AGAIN = {"id": "again", "type": "continue_as_new", "config": {"inputs": {"n": "{{n + 1}}"}}}
SKIPPED = {"id": "work", "type": "function", "condition": "false", "config": WORK}
PAST = {"id": "work", "type": "wait", "config": {"duration": 0}}
INPUTS = {"n": {"type": "integer"}}


def begin(*nodes: Node, idle: int = 0) -> RunDriver:
    """Returns a run before which `idle` others did nothing but go on."""
    origin = ev.OriginRef("before", "continue", idle=idle) if idle else None
    return RunDriver(in_order(*nodes, inputs=INPUTS)).submit({"n": 0}, origin=origin)


def following(run: RunDriver) -> ev.RunSubmitted:
    """Returns the event that begins the new run."""
    (found,) = [event for _, event in run.sent if isinstance(event, ev.RunSubmitted)]
    return found


@pytest.mark.parametrize("nodes", [(AGAIN,), (PAST, AGAIN)])
def test_a_chain_that_does_nothing_ends_at_its_bound(nodes: tuple[Node, ...]) -> None:
    run = begin(*nodes, idle=IDLE_RUNS_MAX - 2)
    for left in (1, 0):
        assert run.status is RunStatus.COMPLETED
        event = following(run)
        run = RunDriver(event.definition).begin(event)
        assert run.state.origin is not None
        assert run.state.origin.idle == IDLE_RUNS_MAX - left
    assert run.status is RunStatus.FAILED
    assert run.error.type == "idle_chain"
    assert "let the workflow wait" in run.error.message


def test_a_skipped_step_is_no_work() -> None:
    origin = ev.OriginRef("before", "continue", idle=7)
    run = RunDriver(workflow(SKIPPED, AGAIN, inputs=INPUTS)).submit({"n": 0}, origin=origin)
    assert following(run).origin == ev.OriginRef("r", "continue", idle=8)


def test_work_begins_the_count_anew() -> None:
    run = begin(function("work"), AGAIN, idle=IDLE_RUNS_MAX).completes("work", 1)
    assert following(run).origin == ev.OriginRef("r", "continue")
