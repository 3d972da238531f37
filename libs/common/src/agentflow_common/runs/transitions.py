"""The statuses of a step and of a run: the rules, and at the end the tables of every change. Pure.

Rule 1: a status changes by an event only. The fold makes the change (fold_facts.py, fold_decisions.py). The tables
below state it, and a test compares the fold with them for every event and every status.

Rule 2: a fact may be late. A worker reports an attempt that was closed meanwhile, a timer fires after its step has
ended, a message arrives twice. The statuses in which that happens are listed as `late`. The fold then leaves the step
alone.

Rule 3: a fact about another attempt than the step's newest one is late in every status.

Rule 4: a decision is never late. Its scheduler knew the newest decision when it wrote this one, because the log refuses
the append otherwise. So the fold obeys each decision without looking at the status.

Rule 5: an event is impossible in every other status. The fold ignores an impossible fact as it ignores a late one. No
log of the property tests or of the simulation holds an impossible event; those tests check it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Generic, Literal, NamedTuple, TypeVar

from agentflow_common import events as ev
from agentflow_common.runs.state import ACTIVE, OPEN, RunStatus, StepStatus

AnyStatus = TypeVar("AnyStatus", RunStatus, StepStatus)


class Transition(NamedTuple, Generic[AnyStatus]):
    """The effect of one type of event on a status."""

    before: frozenset[AnyStatus]  # the statuses in which the event takes effect
    after: tuple[AnyStatus, ...] = ()  # where it leads; of several, the event's fields choose; empty: the status stays
    late: frozenset[AnyStatus] = frozenset()  # the statuses in which the event comes too late and is ignored

    def fit(self, status: AnyStatus) -> Literal["fits", "late", "impossible"]:
        """Returns how the event goes with a status. See the rules above."""
        return "fits" if status in self.before else "late" if status in self.late else "impossible"


S = StepStatus
_ENDED: Final = frozenset({S.COMPLETED, S.FAILED, S.CANCELLED})
# No attempt is under way, and one may begin. QUEUED: the slot was granted, or was given back and is asked for anew.
_MAY_BEGIN: Final = frozenset({S.PENDING, S.QUEUED, S.RETRYING, S.FAILED, S.OUTCOME_UNKNOWN})
# The attempt that a worker reports on is over. PENDING: the worker began the step by itself, after the one before it
# (ADR 0009), and the run had ended by then.
_OUT_OF_HAND: Final = _ENDED | {S.PENDING, S.QUEUED, S.RETRYING, S.OUTCOME_UNKNOWN}
_OUT_OF_QUEUE: Final = _ENDED | ACTIVE | {S.RETRYING, S.OUTCOME_UNKNOWN}

# In which statuses a timer that fires is heeded, by its kind. The fold asks this table.
TIMERS: Final[Mapping[str, frozenset[StepStatus]]] = {
    "retry": frozenset({S.RETRYING}),
    "step_timeout": ACTIVE | {S.WAITING},  # of waiting steps, only a subworkflow has one
    "heartbeat": ACTIVE,
    "wait": frozenset({S.WAITING, S.RUNNING}),  # RUNNING: the delay between two iterations of a loop
    "expire": frozenset({S.WAITING}),
    "escalate": frozenset({S.WAITING}),
    "step_total": frozenset(S),
}

STEP: Final[Mapping[type[ev.Event], Transition[StepStatus]]] = {
    # Decisions: the step or its next attempt begins.
    ev.StepQueued: Transition(_MAY_BEGIN, (S.QUEUED,)),
    ev.StepScheduled: Transition(_MAY_BEGIN, (S.SCHEDULED,)),
    ev.StepWaiting: Transition(frozenset({S.PENDING, S.RETRYING, S.FAILED}), (S.WAITING,)),
    ev.StepExpanded: Transition(frozenset({S.PENDING, S.RETRYING}), (S.RUNNING,)),  # RETRYING: an inner map of a fork
    ev.StepIterated: Transition(frozenset({S.PENDING, S.RUNNING}), (S.RUNNING,)),
    ev.TimerSet: Transition(frozenset({S.FAILED, S.OUTCOME_UNKNOWN}), (S.RETRYING,)),  # other kinds than `retry`: none
    ev.ApprovalEscalated: Transition(frozenset({S.WAITING})),
    # Decisions: the step or its attempt ends.
    ev.StepSkipped: Transition(frozenset({S.PENDING, S.RETRYING}), (S.SKIPPED,)),  # RETRYING: an item of a fork
    ev.StepJoined: Transition(frozenset({S.RUNNING}), (S.COMPLETED, S.FAILED)),
    ev.StepResolved: Transition(  # RETRYING: a part that starts a detached run, in the retry of a run
        frozenset({S.PENDING, S.RUNNING, S.WAITING, S.RETRYING}), (S.COMPLETED, S.FAILED)
    ),
    ev.StepTimedOut: Transition(OPEN, (S.FAILED,)),
    ev.StepCancelled: Transition(OPEN | {S.OUTCOME_UNKNOWN}, (S.CANCELLED,)),
    ev.StepUndecidable: Transition(frozenset(S) - {S.COMPLETED, S.SKIPPED}, (S.FAILED,)),
    # Facts: a worker reports.
    ev.StepStarted: Transition(ACTIVE, (S.RUNNING,), _OUT_OF_HAND),
    ev.StepProgressed: Transition(ACTIVE, (S.RUNNING,), _OUT_OF_HAND),
    ev.StepCompleted: Transition(ACTIVE, (S.COMPLETED,), _OUT_OF_HAND),
    ev.StepFailed: Transition(ACTIVE, (S.FAILED,), _OUT_OF_HAND),
    ev.StepOutcomeUnknown: Transition(ACTIVE, (S.OUTCOME_UNKNOWN,), _OUT_OF_HAND),
    # Facts: a lane, a subworkflow, a timer or a person answers.
    ev.SlotGranted: Transition(frozenset({S.QUEUED}), late=_OUT_OF_QUEUE),
    ev.SlotRefused: Transition(frozenset({S.QUEUED}), (S.FAILED,), _OUT_OF_QUEUE),
    ev.ChildEnded: Transition(
        frozenset({S.WAITING}),
        (S.COMPLETED, S.FAILED, S.WAITING),  # WAITING: the subworkflow continues as a new run
        _ENDED | {S.RETRYING},
    ),
    ev.TimerFired: Transition(frozenset(S)),  # the step is due, as TIMERS says
    ev.ApprovalGiven: Transition(frozenset({S.WAITING}), late=_ENDED),
    ev.OutcomeResolved: Transition(
        frozenset({S.OUTCOME_UNKNOWN}),
        (S.COMPLETED, S.RETRYING, S.FAILED),
        _ENDED | ACTIVE | {S.QUEUED, S.RETRYING},
    ),
}
BEGUN: Final = Transition(frozenset({S.PENDING}), (S.SCHEDULED,))  # the step that a `step.completed` names as begun

R = RunStatus
_UNDER_WAY: Final = frozenset({R.RUNNING, R.WAITING, R.PAUSED})
# PENDING: the run has its slot from the one that it continues, and the lane says so again.
_SLOT: Final = Transition(_UNDER_WAY, late=frozenset({R.PENDING, R.COMPLETED, R.FAILED, R.CANCELLED}))
_REQUEST: Final = Transition(_UNDER_WAY | {R.PENDING}, late=frozenset({R.COMPLETED, R.FAILED, R.CANCELLED}))

RUN: Final[Mapping[type[ev.Event], Transition[RunStatus]]] = {
    # Decisions.
    ev.RunStarted: Transition(frozenset({R.PENDING}), (R.RUNNING,)),
    ev.RunWaiting: Transition(frozenset({R.RUNNING}), (R.WAITING,)),
    ev.RunQueued: Transition(frozenset({R.RUNNING, R.WAITING}), (R.WAITING,)),  # WAITING: for its second slot
    ev.RunLocking: Transition(frozenset({R.RUNNING, R.WAITING})),
    ev.RunUnlocked: Transition(frozenset({R.RUNNING, R.WAITING})),
    ev.RunPaused: Transition(frozenset({R.RUNNING, R.WAITING}), (R.PAUSED,)),
    ev.RunResumed: Transition(frozenset({R.WAITING, R.PAUSED}), (R.RUNNING,)),
    ev.RunStopped: Transition(frozenset({R.RUNNING, R.WAITING}), (R.PAUSED,)),
    ev.RunBreakpointsSet: Transition(_UNDER_WAY),
    ev.RunCancelling: Transition(_UNDER_WAY),
    ev.RunCompensating: Transition(_UNDER_WAY, (R.RUNNING,)),
    ev.RunFinishing: Transition(_UNDER_WAY, (R.RUNNING,)),
    ev.RunCompleted: Transition(frozenset({R.RUNNING, R.WAITING}), (R.COMPLETED,)),
    ev.RunFailed: Transition(_UNDER_WAY | {R.PENDING}, (R.FAILED,)),  # PENDING: the engine can't even start it
    ev.RunCancelled: Transition(_UNDER_WAY, (R.CANCELLED,)),
    # Facts: the status changes by the decision that follows.
    ev.RunCancelRequested: _REQUEST,
    ev.RunPauseRequested: _REQUEST,
    ev.RunResumeRequested: Transition(frozenset(R)),
    ev.RunBreakRequested: _REQUEST,
    ev.RunContinueRequested: _REQUEST,
    ev.SignalReceived: _REQUEST,
    ev.RunSlotGranted: _SLOT,
    ev.RunSlotRefused: _SLOT,
}

# The status of a run after each event that changes it.
STATUS_AFTER: Final[Mapping[type[ev.Event], RunStatus]] = {event: t.after[0] for event, t in RUN.items() if t.after}

# These change no status: the beginning of the log, a back edge that is taken, the next superstep of a graph.
NEITHER: Final[frozenset[type[ev.Event]]] = frozenset({ev.RunSubmitted, ev.StepsReset, ev.GraphAdvanced})
