"""The tables of runs/transitions.py against the fold: every event in every status."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import msgspec
import pytest

from agentflow_common import events as ev
from agentflow_common.events import Payload, StepError
from agentflow_common.runs.fold import evolve
from agentflow_common.runs.fold_decisions import DECISIONS
from agentflow_common.runs.fold_facts import FACTS
from agentflow_common.runs.state import RunState, RunStatus, StepState, StepStatus, TimerState
from agentflow_common.runs.transitions import BEGUN, NEITHER, RUN, STEP, TIMERS
from agentflow_scheduler.replay.state_hash import state_hash
from tests.support.transitions import impossible_events

BASE: dict[str, Any] = {"org": "o", "run": "run_1", "ts": 9}
ERROR = StepError("E", "planned")
S, R = StepStatus, RunStatus


class Case(NamedTuple):
    event: ev.Event
    after: StepStatus | None  # None: the status stays


def of(event_type: type[ev.Event], after: StepStatus | None = None, **fields: Any) -> Case:
    """A case of an event about the first attempt of the step `a`."""
    attempt = {"attempt": 1} if "attempt" in event_type.__struct_fields__ else {}
    return Case(event_type(**BASE, step="a", **attempt, **fields), after)


CASES = [
    of(ev.StepQueued, S.QUEUED, lane="l"),
    of(ev.StepQueued, S.QUEUED, lane=""),
    of(ev.StepScheduled, S.SCHEDULED, lane="l", kind="tool", config={}),
    of(ev.StepWaiting, S.WAITING, kind="approval"),
    of(ev.StepExpanded, S.RUNNING, width=2),
    of(ev.StepIterated, S.RUNNING, iteration=1),
    of(ev.TimerSet, S.RETRYING, timer="retry:a:1", kind="retry", fire_at=10),
    of(ev.ApprovalEscalated, approvers=("ana",)),
    of(ev.StepSkipped, S.SKIPPED, reason="the condition is false"),
    of(ev.StepJoined, S.COMPLETED, status="completed"),
    of(ev.StepJoined, S.FAILED, status="failed", error=ERROR),
    of(ev.StepResolved, S.COMPLETED, status="completed"),
    of(ev.StepResolved, S.FAILED, status="failed", error=ERROR),
    of(ev.StepTimedOut, S.FAILED, timeout_ms=5),
    of(ev.StepCancelled, S.CANCELLED),
    of(ev.StepUndecidable, S.FAILED, error=ERROR),
    of(ev.StepStarted, S.RUNNING, worker="w"),
    of(ev.StepProgressed, S.RUNNING, progress=0.5),
    of(ev.StepCompleted, S.COMPLETED, output=Payload(value=1)),
    of(ev.StepFailed, S.FAILED, error=ERROR),
    of(ev.StepOutcomeUnknown, S.OUTCOME_UNKNOWN),
    of(ev.SlotGranted, lane="l"),
    of(ev.SlotRefused, S.FAILED, lane="l", error=ERROR),
    of(ev.ChildEnded, S.COMPLETED, child="run_2", status="completed"),
    of(ev.ChildEnded, S.FAILED, child="run_2", status="failed", error=ERROR),
    of(ev.ChildEnded, S.FAILED, child="run_2", status="cancelled"),
    of(ev.ChildEnded, S.WAITING, child="run_3", status="continued"),
    of(ev.TimerFired, timer="total:a", kind="step_total"),
    of(ev.ApprovalGiven, decision="approve", by="ana"),
    of(ev.OutcomeResolved, S.COMPLETED, outcome="completed"),
    of(ev.OutcomeResolved, S.RETRYING, outcome="retry"),
    of(ev.OutcomeResolved, S.FAILED, outcome="fail"),
]
RUN_CASES: list[tuple[ev.Event, RunStatus | None]] = [
    (ev.RunStarted(**BASE, workflow="w", version=1, steps=1), R.RUNNING),
    (ev.RunWaiting(**BASE, steps=("a",)), R.WAITING),
    (ev.RunQueued(**BASE, lane="run:o:l", policy="queue"), R.WAITING),
    (ev.RunLocking(**BASE, lane="lock:o:l", lanes=("lock:o:l",)), None),
    (ev.RunUnlocked(**BASE, lane="lock:o:l"), None),
    (ev.RunPaused(**BASE), R.PAUSED),
    (ev.RunStopped(**BASE, steps=("a",), number=1), R.PAUSED),
    (ev.RunBreakpointsSet(**BASE, at=("a",)), None),
    (ev.RunResumed(**BASE), R.RUNNING),
    (ev.RunCancelling(**BASE), None),
    (ev.RunCompensating(**BASE, status="failed", steps=("a",)), R.RUNNING),
    (ev.RunFinishing(**BASE, status="failed", error=ERROR), R.RUNNING),
    (ev.RunCompleted(**BASE), R.COMPLETED),
    (ev.RunFailed(**BASE, error=ERROR), R.FAILED),
    (ev.RunCancelled(**BASE), R.CANCELLED),
    (ev.RunCancelRequested(**BASE), None),
    (ev.RunPauseRequested(**BASE), None),
    (ev.RunBreakRequested(**BASE, at=("a",)), None),
    (ev.RunContinueRequested(**BASE, stop=1), None),
    (ev.RunResumeRequested(**BASE), None),
    (ev.SignalReceived(**BASE, name="s"), None),
    (ev.RunSlotGranted(**BASE, lane="run:o:l"), None),
    (ev.RunSlotRefused(**BASE, lane="run:o:l", error=ERROR), None),
]


def state_with(status: StepStatus, run: RunStatus = R.RUNNING) -> RunState:
    """A run whose step `a` could take any of the events, but for its status."""
    step = StepState(status=status, attempt=1, lane="l", waiting="approval", child="run_2")
    held: dict[str, Any] = {"timers": {}, "signals": {}, "undoing": {}, "signal_ids": []}
    return RunState("o", "run_1", status=run, steps={"a": step}, run_lane="run:o:l", **held)


def named(case: Any) -> str:
    event, after = case
    return f"{ev.event_type(event)}-{after or 'stays'}"


def test_the_tables_have_every_event_that_the_fold_knows_once() -> None:
    assert {*STEP, *RUN, *NEITHER} == {*FACTS, *DECISIONS}
    assert len(STEP) + len(RUN) + len(NEITHER) == len(FACTS) + len(DECISIONS)
    assert {type(case.event) for case in CASES} == set(STEP)
    assert {type(event) for event, _ in RUN_CASES} == set(RUN)
    for kind, transition in {**STEP, **RUN}.items():
        assert not transition.before & transition.late, kind
        assert not (issubclass(kind, ev.Decision) and transition.late), "a decision is never late"


def test_each_end_of_a_transition_is_one_that_an_event_leads_to() -> None:
    for kind, transition in STEP.items():
        found = {case.after for case in CASES if isinstance(case.event, kind)} - {None}
        assert found == set(transition.after), kind
    for kind, run in RUN.items():
        assert {after for event, after in RUN_CASES if isinstance(event, kind)} - {None} == set(run.after), kind


@pytest.mark.parametrize("status", StepStatus)
@pytest.mark.parametrize("case", CASES, ids=named)
def test_a_step_changes_as_the_table_says(case: Case, status: StepStatus) -> None:
    state = state_with(status)
    if isinstance(case.event, ev.TimerFired):
        state.timers["total:a"] = TimerState("step_total", 5, "a", 1)
    before = copy.deepcopy(state.steps)
    evolve(state, case.event, 0)
    fits = STEP[type(case.event)].fit(status) == "fits"
    if fits or isinstance(case.event, ev.Decision):  # the fold obeys a decision in any status
        assert state.steps["a"].status is (case.after or status)
        assert state.steps != before or status is case.after or isinstance(case.event, ev.SlotGranted)
    else:
        assert state.steps == before, "the fold leaves the step alone"


@pytest.mark.parametrize("status", StepStatus)
@pytest.mark.parametrize("case", [case for case in CASES if not isinstance(case.event, ev.Decision)], ids=named)
def test_a_fact_about_another_attempt_is_late_in_every_status(case: Case, status: StepStatus) -> None:
    if isinstance(case.event, ev.TimerFired | ev.ApprovalGiven):
        return  # they are about the step as a whole
    state = state_with(status)
    before = copy.deepcopy(state.steps)
    evolve(state, msgspec.structs.replace(case.event, attempt=2), 0)
    assert state.steps == before


@pytest.mark.parametrize("status", StepStatus)
def test_only_a_retry_timer_changes_a_status_when_it_is_set(status: StepStatus) -> None:
    for kind in {*TIMERS} - {"retry"}:
        state = state_with(status)
        evolve(state, ev.TimerSet(**BASE, timer="t", kind=kind, fire_at=10, step="a", attempt=1), 0)
        assert state.steps["a"].status is status


@pytest.mark.parametrize("status", StepStatus)
@pytest.mark.parametrize("kind", TIMERS)
def test_a_timer_that_fires_is_heeded_as_the_table_says(kind: str, status: StepStatus) -> None:
    state = state_with(status)
    state.timers["t"] = TimerState(kind, 5, "a", 1)
    evolve(state, ev.TimerFired(**BASE, timer="t", kind=kind, step="a", attempt=1), 0)
    assert state.steps["a"].due is (status in TIMERS[kind])
    assert state.steps["a"].status is status


@pytest.mark.parametrize("status", StepStatus)
def test_a_worker_begins_only_a_step_that_has_not_begun(status: StepStatus) -> None:
    state = state_with(status)
    state.steps["before"] = StepState(status=S.RUNNING, attempt=1)
    begun = ev.BegunStep("a", "tool")
    evolve(state, ev.StepCompleted(**BASE, step="before", attempt=1, begun=begun), 0)
    assert state.steps["a"].status is (S.SCHEDULED if BEGUN.fit(status) == "fits" else status)


@pytest.mark.parametrize("status", RunStatus)
@pytest.mark.parametrize("case", RUN_CASES, ids=named)
def test_a_run_changes_as_the_table_says(case: tuple[ev.Event, RunStatus | None], status: RunStatus) -> None:
    event, after = case
    state = state_with(S.RUNNING, status)
    before = state_hash(state)
    evolve(state, event, 0)
    fit = RUN[type(event)].fit(status)
    if fit == "late":
        assert state_hash(state) == before
    else:  # the fold obeys a decision in any status
        assert state.status is (after or status)


@pytest.mark.parametrize("kind", sorted(NEITHER, key=ev.event_type), ids=ev.event_type)
def test_the_other_events_change_no_status(kind: type[ev.Event]) -> None:
    events = {
        ev.RunSubmitted: ev.RunSubmitted(**BASE, workflow="w", version=1, definition={}, inputs=Payload()),
        ev.StepsReset: ev.StepsReset(**BASE, edge="b->a", iteration=1, steps=("a",)),
        ev.GraphAdvanced: ev.GraphAdvanced(**BASE, superstep=2, steps=("a#2",)),
    }
    state = state_with(S.COMPLETED)
    state.visits, state.taken, state.shared = {}, {}, {}
    evolve(state, events[kind], 0)
    assert (state.status, state.steps["a"].status) == (R.RUNNING, S.COMPLETED)


def test_an_impossible_event_in_a_log_is_found() -> None:
    submitted = ev.RunSubmitted(**BASE, workflow="w", version=1, definition={}, inputs=Payload())
    scheduled = of(ev.StepScheduled, lane="l", kind="tool", config={}).event
    events = [
        submitted,
        of(ev.StepSkipped, reason="no incoming edge was taken").event,
        of(ev.StepCompleted).event,
        scheduled,
        ev.RunWaiting(**BASE, steps=()),
    ]
    log: list[tuple[int, Any]] = [
        (seq, msgspec.structs.replace(event, seen=seq) if isinstance(event, ev.Decision) else event)
        for seq, event in enumerate(events, 1)
    ]
    assert impossible_events(log) == [
        "3: step.completed of a, which is skipped",
        "4: step.scheduled of a, which is skipped",
        "5: run.waiting in a run that is pending",
    ]
    assert impossible_events([(1, submitted), (2, msgspec.structs.replace(scheduled, seen=1))]) == []
