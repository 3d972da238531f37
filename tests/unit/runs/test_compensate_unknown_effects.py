"""A step that failed, and of which an attempt may have taken effect, is undone like one that completed."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common.definition.parse import parse_dict
from agentflow_common.events import Payload, StepError
from agentflow_common.runs.fold import new_state
from agentflow_common.runs.state import RunStatus
from agentflow_scheduler.runs.plan import Plans
from agentflow_scheduler.runs.run import Run
from tests.support.deciding import decide

UNDO = {"type": "tool", "config": {"tool_name": "back"}}
TWICE = {"retry": {"max_attempts": 2, "initial_ms": 1}, "timeout_ms": 1_000, "on_unknown": "retry"}
LATE = ev.TimerFired(org="o", run="r", ts=9_000, timer="timeout:pay:1", kind="step_timeout", step="pay", attempt=1)
UNKNOWN = ev.StepOutcomeUnknown(org="o", run="r", ts=2, step="pay", attempt=1)
REFUSAL = StepError("refused", "no", retryable=False)


def failed(attempt: int, error: StepError, **more: Any) -> ev.StepFailed:
    return ev.StepFailed(org="o", run="r", ts=3, step="pay", attempt=attempt, error=error, **more)


LOST = failed(1, StepError("unavailable", "its result is lost", retryable=True), effect=True)


def begun(**more: Any) -> Run:
    node = {
        "id": "pay",
        "type": "tool",
        "config": {"tool_name": "pay"},
        "policy": TWICE,
        "compensate_with": UNDO,
        **more,
    }
    raw = parse_dict({"name": "w", "dag": {"nodes": [node]}}).canonical()
    event = ev.RunSubmitted(
        org="o", run="r", ts=1, workflow="w", version=1, definition=raw, inputs=Payload(value={})
    )  # fmt: skip
    run = Run(new_state(event, 1), Plans().get(raw))
    decide(run, 1, {})
    return run


def tell(run: Run, fact: Any) -> list[Any]:
    run.apply(fact, run.state.facts_seq + 1)
    return list(decide(run, fact.ts, {}).decisions)


def retried(run: Run) -> None:
    """Until the second attempt is offered."""
    timer = run.state.timers.get("retry:pay:1")
    if timer is not None:
        fired = ev.TimerFired(org="o", run="r", ts=99_000, timer="retry:pay:1", kind="retry", step="pay", attempt=1)
        tell(run, fired)
    assert run.state.steps["pay"].attempt == 2


def undone(made: list[Any]) -> list[str]:
    return [d.step for d in made if isinstance(d, ev.StepScheduled) and d.step.endswith(":undo")]


@pytest.mark.parametrize("first", [LATE, UNKNOWN, LOST], ids=["late", "unknown", "lost"])
def test_engine_04_an_attempt_that_may_have_acted_is_undone_though_the_next_one_was_refused(first: Any) -> None:
    run = begun()
    tell(run, first)
    retried(run)
    assert undone(tell(run, failed(2, REFUSAL))) == ["pay:undo"]
    assert run.state.status is RunStatus.RUNNING


def test_engine_04_so_it_is_if_the_lane_refused_the_next_attempt() -> None:
    run = begun(lane="{{org}}-x", lane_limit=1)
    tell(run, ev.SlotGranted(org="o", run="r", ts=2, lane="o-x", step="pay", attempt=1))
    tell(run, LATE)
    retried(run)
    made = tell(run, ev.SlotRefused(org="o", run="r", ts=99_001, lane="o-x", step="pay", attempt=2, error=REFUSAL))
    assert undone(made) == ["pay:undo"]


def test_engine_04_a_step_whose_result_alone_is_lost_is_undone() -> None:
    run = begun()
    assert undone(tell(run, failed(1, REFUSAL, effect=True))) == ["pay:undo"]


def test_engine_04_attempts_that_were_refused_are_not() -> None:
    run = begun()
    tell(run, failed(1, StepError("busy", "later", retryable=True)))
    retried(run)
    assert undone(tell(run, failed(2, REFUSAL))) == []
    assert run.state.status is RunStatus.FAILED
