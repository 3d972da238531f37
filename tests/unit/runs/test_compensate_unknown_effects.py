"""A step that failed, and of which an attempt may have taken effect, is undone like one that completed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common.events import StepError
from agentflow_common.runs.state import RunStatus
from tests.support.definitions import UNDO, tool, workflow
from tests.support.run_driver import REFUSED, RunDriver

TWICE = {"retry": {"max_attempts": 2, "initial_ms": 1}, "timeout_ms": 1_000, "on_unknown": "retry"}


def paying(**more: Any) -> RunDriver:
    return RunDriver(workflow(tool("pay", policy=TWICE, compensate_with=UNDO, **more))).submit()


def times_out(run: RunDriver) -> None:
    run.fires("timeout:pay:1")


def loses_its_worker(run: RunDriver) -> None:
    run.is_unknown("pay")


def loses_its_result(run: RunDriver) -> None:
    run.fails("pay", StepError("unavailable", "its result is lost", retryable=True), effect=True)


def retry(run: RunDriver) -> None:
    """Offers the second attempt."""
    if "retry:pay:1" in run.state.timers:
        run.fires("retry:pay:1")
    assert run.state.steps["pay"].attempt == 2


@pytest.mark.parametrize("first_attempt", [times_out, loses_its_worker, loses_its_result])
def test_engine_04_an_attempt_that_may_have_acted_is_undone_though_the_next_one_was_refused(
    first_attempt: Callable[[RunDriver], None],
) -> None:
    run = paying()
    first_attempt(run)
    retry(run)
    assert run.fails("pay").undone() == ["pay"]
    assert run.status is RunStatus.RUNNING


def test_engine_04_so_it_is_if_the_lane_refused_the_next_attempt() -> None:
    run = paying(lane="{{org}}-x", lane_limit=1)
    run.tell(ev.SlotGranted, lane="o-x", step="pay", attempt=1)
    times_out(run)
    retry(run)
    run.tell(ev.SlotRefused, lane="o-x", step="pay", attempt=2, error=REFUSED)
    assert run.undone() == ["pay"]


def test_engine_04_a_step_whose_result_alone_is_lost_is_undone() -> None:
    assert paying().fails("pay", effect=True).undone() == ["pay"]


def test_engine_04_attempts_that_were_refused_are_not() -> None:
    run = paying().fails("pay", StepError("busy", "later", retryable=True))
    retry(run)
    assert run.fails("pay").undone() == []
    assert run.status is RunStatus.FAILED
