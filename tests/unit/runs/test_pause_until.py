"""A pause until a time: a timer ends it, unless somebody resumes the run before, or changes the time."""

from __future__ import annotations

import pytest

from agentflow_common import events as ev
from agentflow_common.runs import timer_ids
from agentflow_common.runs.explain import Surroundings, explain
from agentflow_common.runs.state import RunStatus
from tests.support.definitions import function, in_order
from tests.support.run_driver import RunDriver

LATER = 7_200_001
HOURS = timer_ids.pause_end(LATER)


def paused(until: int = LATER, **fields: object) -> RunDriver:
    run = RunDriver(in_order(function("a"), function("b"))).submit()
    return run.tell(ev.RunPauseRequested, by="ana", reason="lunch", until=until, **fields).completes("a")


def test_a_run_goes_on_by_itself_when_the_time_has_come() -> None:
    run = paused()
    assert (run.status, run.offered, run.state.paused_until) == (RunStatus.PAUSED, ["a"], LATER)
    assert [(event.reason, event.by, event.until) for event in run.of(ev.RunPaused)] == [("lunch", "ana", LATER)]
    assert {name: (timer.kind, timer.fire_at) for name, timer in run.state.timers.items()} == {HOURS: ("pause", LATER)}
    run.fires(HOURS)
    assert run.now_ms == LATER
    assert (run.status, run.offered) == (RunStatus.RUNNING, ["a", "b"])
    assert (run.state.pause_requested, run.state.pause_reason, run.state.paused_by) == (False, "", "")
    assert run.state.paused_until == 0
    assert run.check_log().completes("b").status is RunStatus.COMPLETED


@pytest.mark.parametrize("keep", [0, 1, 2])
def test_a_crash_after_any_decision_loses_neither_the_pause_nor_its_end(keep: int) -> None:
    run = RunDriver(in_order(function("a"), function("b"))).submit()
    run.tell(ev.RunPauseRequested, until=LATER)
    run.crash(min(keep, len(run.made))).decide()
    assert run.status is RunStatus.PAUSED
    assert list(run.state.timers) == [HOURS]
    assert run.fires(HOURS).status is RunStatus.RUNNING


def test_a_scheduler_that_was_down_at_the_time_goes_on_late() -> None:
    run = paused().crash().at(LATER + 86_400_000)
    run.tell(ev.TimerFired, timer=HOURS, kind="pause")
    assert run.offered == ["a", "b"]


def test_an_earlier_resume_cancels_the_end() -> None:
    run = paused().tell(ev.RunResumeRequested)
    assert (run.offered, run.state.timers, run.state.paused_until) == (["a", "b"], {}, 0)
    run.tell(ev.RunPauseRequested).completes("b")
    run.tell(ev.TimerFired, timer=HOURS, kind="pause")  # it was on its way
    assert run.status is RunStatus.PAUSED
    assert run.tell(ev.RunResumeRequested).check_log().status is RunStatus.COMPLETED


@pytest.mark.parametrize("until", [LATER - 1000, LATER + 1000])
def test_a_second_pause_changes_the_time(until: int) -> None:
    run = paused().tell(ev.RunPauseRequested, by="bo", until=until)
    assert (run.state.paused_by, run.state.paused_until) == ("ana", until)
    assert list(run.state.timers) == [timer_ids.pause_end(until)]
    assert run.at(LATER).tell(ev.TimerFired, timer=HOURS, kind="pause").status is RunStatus.PAUSED
    assert run.fires(timer_ids.pause_end(until)).check_log().status is RunStatus.RUNNING


def test_a_second_pause_without_a_time_has_no_end() -> None:
    run = paused().tell(ev.RunPauseRequested)
    assert (run.state.paused_until, run.state.timers) == (0, {})
    run.at(LATER).tell(ev.TimerFired, timer=HOURS, kind="pause")
    assert run.status is RunStatus.PAUSED


def test_the_same_time_again_changes_nothing() -> None:
    run = paused().tell(ev.RunPauseRequested, until=LATER)
    assert run.made == []
    assert run.fires(HOURS).status is RunStatus.RUNNING


def test_a_cancel_ends_a_paused_run_and_its_timer() -> None:
    run = paused().cancels()
    assert (run.status, run.state.timers) == (RunStatus.CANCELLED, {})


def test_why_says_when_the_pause_ends() -> None:
    run = paused()
    summary = explain(run.state, run.definition, Surroundings(1)).summary
    assert summary == "the run is paused by ana: lunch; that ends by itself in 2 h (agentctl workflow resume r)"
