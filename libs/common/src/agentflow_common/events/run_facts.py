"""Facts from outside the scheduler: subject `...in`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from agentflow_common.events.base import AttemptFact, Event, LlmUsage, Payload, RequestFact, StepError


class ParentRef(msgspec.Struct, frozen=True):
    """The step attempt that a subworkflow's run answers to."""

    run: str
    step: str
    attempt: int


class OriginRef(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a run comes from."""

    run: str
    kind: str  # `fork`, `retry`, `continue`, `schedule` or `detached`
    step: str = ""  # where it was forked, or which step started it
    idle: int = 0  # so many runs in a row went on as a new one without doing anything


class LaneAsk(msgspec.Struct, frozen=True, omit_defaults=True):
    """A run lane that a run asks for a slot, and the settings that it asks with."""

    lane: str
    limit: int = 1
    rate_per_s: float | None = None
    policy: str = "queue"  # what follows if no slot is free, see the definition's `run_lane`


class SeedPosition(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a forked run stands in its loops and its graph when it begins; see RunState."""

    visits: dict[str, int] = {}
    taken: dict[str, int] = {}
    superstep: int = 0
    active: tuple[str, ...] = ()
    shared: dict[str, Payload] = {}
    sent: dict[str, Payload] = {}
    arrived: dict[str, tuple[str, ...]] = {}


class RunSubmitted(Event, frozen=True, tag="run.submitted"):
    """A client asked for a run."""

    workflow: str
    version: int
    definition: dict[str, Any]  # the pinned definition as JSON
    inputs: Payload = Payload()
    digest: str = ""
    prompts: dict[str, str] = {}  # ref -> pinned `name@version`
    budget_nano: int | None = None
    deadline_ms: int | None = None
    tags: dict[str, str] = {}
    idempotency_key: str = ""
    priority: int = 0
    submitted_by: str = ""
    redactions: dict[str, int] = {}
    parent: ParentRef | None = None  # the step that started this run as a subworkflow
    origin: OriginRef | None = None  # the run that this one was forked from or continues, or that started it
    # `{step key: StepState}` of the origin's steps that are not run again (runs/fork.py), always in line
    seed: Payload = Payload()
    definitions: dict[str, dict[str, Any]] = {}  # pinned definitions of subworkflows by reference
    depth: int = 0  # how many parents stand above
    position: SeedPosition | None = None  # where those steps leave the run
    signals: dict[str, list[Payload]] = {}  # by name, those that the origin had kept and no step of it had taken
    slot: str = ""  # the run lane whose slot it has from the run that it continues
    lanes_above: tuple[str, ...] = ()  # run lanes whose slots the runs above have: it asks for no other slot of them
    given_lane: LaneAsk | None = None  # the lane that the step or the schedule which starts it gives it
    slots: tuple[str, ...] = ()  # further run lanes whose slots it has from the run that it continues
    break_at: tuple[str, ...] = ()  # nodes before which it stops, until it is asked to continue
    break_every: bool = False  # it stops before every node


class RunCancelRequested(RequestFact, frozen=True, tag="run.cancel_requested"):
    """A client, or a parent's step, asked the run to end."""

    grace_ms: int = 0  # how long active steps may take to end by themselves
    force: bool = False  # at once and without compensation
    child_of: ParentRef | None = None  # the step that cancels its subworkflow, and waits for its end


class RunPauseRequested(RequestFact, frozen=True, tag="run.pause_requested"):
    """No further step is offered; those that run go on to their end. A second one changes the time only."""

    until: int = 0  # when the run goes on by itself, ms since the epoch; 0: when it is asked to


class RunResumeRequested(RequestFact, frozen=True, tag="run.resume_requested"):
    """Steps are offered again."""


class RunBreakRequested(RequestFact, frozen=True, tag="run.break_requested"):
    """Breakpoints of a run are set or removed. A step that has begun is not stopped any more."""

    at: tuple[str, ...] = ()  # nodes
    every: bool = False  # before every node
    remove: bool = False  # without nodes and without `every`: all of them


class RunContinueRequested(RequestFact, frozen=True, tag="run.continue_requested"):
    """A run that is stopped before some steps begins these, and goes on to the next breakpoint."""

    stop: int = 0  # the number of the stop, as in `run.stopped`: a second request about it changes nothing
    every: bool = False  # it stops again before every node that follows
    to: str = ""  # a node before which it stops once more
    outputs: dict[str, Payload] = {}  # by step that has completed: its output from now on
    state: dict[str, Payload] = {}  # by key of the shared state of a graph: its value from now on


class SignalReceived(Event, frozen=True, tag="signal.received"):
    """A client sent the run a named message."""

    name: str
    payload: Payload = Payload()
    by: str = ""
    # the sender's own; a second signal with it is ignored. One that no step waits for yet is kept for later.
    id: str = ""


class ApprovalGiven(Event, frozen=True, tag="approval.given"):
    """A person answered an approval."""

    step: str
    decision: str  # `approve` or `reject`
    by: str  # who answers; each person counts once
    comment: str = ""
    data: Payload = Payload()
    via: str = ""  # the API key that said it for them, if it was not their own


class OutcomeResolved(AttemptFact, frozen=True, tag="outcome.resolved"):
    """A person resolves an attempt whose outcome is unknown: `completed`, `retry` or `fail`."""

    outcome: str
    output: Payload = Payload()
    by: str = ""
    reason: str = ""


class ChildEnded(AttemptFact, frozen=True, tag="child.ended"):
    """A subworkflow's run ended; its scheduler tells the parent in the append that ends it."""

    child: str
    status: str  # a RunStatus
    output: Payload = Payload()
    error: StepError | None = None
    cost_nano: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


class SlotGranted(AttemptFact, frozen=True, tag="slot.granted"):
    """A keyed lane has given this attempt a slot."""

    lane: str
    # when the attempt had asked for it, ms since the epoch: a grant that arrives late is not taken for the
    # answer to a later request
    asked_at: int = 0


class SlotRefused(AttemptFact, frozen=True, tag="slot.refused"):
    """A keyed lane can't let this attempt wait."""

    lane: str
    error: StepError


class RunSlotGranted(Event, frozen=True, tag="run.slot_granted"):
    """The run lane has given this run a slot, or the run has a lock."""

    lane: str
    attempt: int = 1  # of a lock, as in `run.locking`


class RunSlotRefused(Event, frozen=True, tag="run.slot_refused"):
    """The run lane does not let this run begin, or the run may not wait for a lock."""

    lane: str
    error: StepError  # `lane_full`: the run fails; otherwise it is cancelled
    attempt: int = 1  # of a lock, as in `run.locking`


class StepStarted(AttemptFact, frozen=True, tag="step.started"):
    """A worker runs the attempt, which takes so long that the worker reports its start."""

    worker: str


class StepProgressed(AttemptFact, frozen=True, tag="step.progressed"):
    """A heartbeat of a running attempt."""

    progress: float = 0.0  # 0 to 1
    detail: str = ""  # screened like an error's text
    worker: str = ""


class BegunStep(msgspec.Struct, frozen=True):
    """The first attempt of the step that follows in the same task."""

    step: str
    kind: str  # node type


class DoneStep(msgspec.Struct, frozen=True, omit_defaults=True):
    """A quick step of a task. Its worker kept its report until a later step of the task was done (ADR 0013)."""

    step: str
    begun: BegunStep  # the step that followed: the next one of `before`, or the event's own
    ts: int  # when it was done, ms since the epoch
    attempt: int = 1  # only the step that the scheduler has offered may have a further one
    output: Payload = Payload()
    started_at: int = 0  # ms since the epoch
    duration_ms: float = 0.0  # of the work alone
    redactions: dict[str, int] = {}


class StepCompleted(AttemptFact, frozen=True, tag="step.completed"):
    """An attempt succeeded, and with it perhaps steps that the same worker had done just before in the same task.

    `reports` gives the report of each of them.
    """

    output: Payload = Payload()
    worker: str = ""
    started_at: int = 0  # ms since the epoch
    duration_ms: float = 0.0  # of the work alone
    llm: LlmUsage | None = None
    redactions: dict[str, int] = {}
    # what its worker goes on with; such an event is fenced with the task's sequence, so nothing was decided
    # since the task
    begun: BegunStep | None = None
    before: tuple[DoneStep, ...] = ()  # the steps done before, oldest first; such an event is fenced in the same way

    def reports(self) -> Sequence[StepCompleted]:
        """Returns the report of each step, oldest first, as if each had been written by itself."""
        if not self.before:
            return (self,)
        done = [
            StepCompleted(
                org=self.org,
                run=self.run,
                ts=step.ts,
                v=self.v,
                trace=self.trace,
                step=step.step,
                attempt=step.attempt,
                output=step.output,
                worker=self.worker,
                started_at=step.started_at,
                duration_ms=step.duration_ms,
                redactions=step.redactions,
                begun=step.begun,
            )
            for step in self.before
        ]
        return [*done, msgspec.structs.replace(self, before=())]


class StepFailed(AttemptFact, frozen=True, tag="step.failed"):
    """An attempt failed; the scheduler alone decides what follows."""

    error: StepError
    worker: str = ""
    started_at: int = 0
    duration_ms: float = 0.0
    llm: LlmUsage | None = None  # what failed calls had cost
    # it may have taken effect all the same, as it had returned and its result could not be kept, or its workers
    # were lost
    effect: bool = False


class StepOutcomeUnknown(AttemptFact, frozen=True, tag="step.outcome_unknown"):
    """A non-idempotent attempt had been claimed by a worker that then vanished: nobody knows whether it took effect."""

    worker: str = ""
    claimed_by: str = ""


class TimerFired(Event, frozen=True, tag="timer.fired"):
    """A JetStream message schedule came due."""

    timer: str
    kind: str
    step: str = ""
    attempt: int = 0
