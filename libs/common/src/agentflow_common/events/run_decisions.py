"""Decisions of the scheduler: subjects `...out.*`. See events.py."""

from __future__ import annotations

from typing import Any

import msgspec

from agentflow_common.events.base import Decision, Payload, StepError


class RunStarted(Decision, frozen=True, tag="run.started"):
    workflow: str
    version: int
    steps: int
    submitted_at: int = 0
    tags: dict[str, str] = {}


class OutputRef(msgspec.Struct, frozen=True, omit_defaults=True):
    """A part of what a step gives: `step.output.path`."""

    step: str
    path: tuple[str | int, ...] = ()


class NextStep(msgspec.Struct, frozen=True, omit_defaults=True):
    """A step that the worker of the one before it may begin, as its first attempt (ADR 0009). inputs: as in a task.
    refs: inputs that are outputs of the steps before it in the same task."""

    step: str
    kind: str
    config: dict[str, Any]
    inputs: dict[str, Any] = {}
    refs: dict[str, OutputRef] = {}
    policy: dict[str, Any] = {}


class StepScheduled(Decision, frozen=True, tag="step.scheduled"):
    """A step attempt is offered to workers: the decision and the queue entry in one.

    kind: node type. config: the node's configuration without its inputs. inputs: resolved values by name; a value that
    is stored out of line is `{"$blob": {"sha256", "size"}, "path": [...]}` and the worker resolves it.
    heartbeat_ms: the attempt is lost without a heartbeat for so long. undo: the step has a compensation. then: steps
    that follow one by one; the worker may go on with them for as long as the scheduler decides nothing else. unsure: an
    earlier attempt may have taken effect.
    """

    step: str
    attempt: int
    lane: str
    kind: str
    config: dict[str, Any]
    inputs: dict[str, Any] = {}
    policy: dict[str, Any] = {}
    timeout_ms: int | None = None
    budget_nano: int | None = None
    prompt: str = ""
    workflow: str = ""
    priority: int = 0
    heartbeat_ms: int | None = None
    undo: bool = False
    then: tuple[NextStep, ...] = ()
    unsure: bool = False


class StepExpanded(Decision, frozen=True, tag="step.expanded"):
    """A parallel step became `width` children named `step[0]` .. `step[width-1]`."""

    step: str
    width: int


class StepJoined(Decision, frozen=True, tag="step.joined"):
    """All children of an expanded step are decided. status: `completed`, or `failed` when a child failed for good."""

    step: str
    status: str
    error: StepError | None = None


class StepSkipped(Decision, frozen=True, tag="step.skipped"):
    step: str
    reason: str


class StepCancelled(Decision, frozen=True, tag="step.cancelled"):
    """child: the subworkflow's run that was told to end. The run waits for its end before it undoes its own steps."""

    step: str
    attempt: int
    reason: str = ""
    child: str = ""


class StepTimedOut(Decision, frozen=True, tag="step.timed_out"):
    """bound: which one was passed, `attempt` (also when empty), `total` or `heartbeat`; its length is timeout_ms.
    child: as in StepCancelled. cause: of a total time that is over, the error of the last attempt, or of the part of
    the step, that had failed before."""

    step: str
    attempt: int
    timeout_ms: int
    bound: str = ""
    child: str = ""
    cause: StepError | None = None


class StepUndecidable(Decision, frozen=True, tag="step.undecidable"):
    """A step can't be offered: its condition or its inputs failed to evaluate. Terminal for the step."""

    step: str
    error: StepError


class TimerSet(Decision, frozen=True, tag="timer.set"):
    """fire_at: ms since the epoch. kind: `retry`, `step_timeout`, `step_total`, `heartbeat`, `wait`, `expire`,
    `escalate`, `grace`, `children` or `deadline`."""

    timer: str
    kind: str
    fire_at: int
    step: str = ""
    attempt: int = 0


class StepQueued(Decision, frozen=True, tag="step.queued"):
    """An attempt waits for a slot of a keyed lane; the same append asks the lane's ledger for it. lane: empty if it
    gave a slot back that it was granted while its run or its workflow is paused; it asks anew when that goes on.
    unsure: an earlier attempt may have taken effect."""

    step: str
    attempt: int
    lane: str
    priority: int = 0
    unsure: bool = False


class StepWaiting(Decision, frozen=True, tag="step.waiting"):
    """A step that no worker runs has begun. kind: `wait`, `signal`, `approval` or `subworkflow`.

    until: when it ends by itself, ms since the epoch (0: never). child: the run of a subworkflow, started in the same
    append. detail: what the one who waits asks for (signal name; message, approvers, required). undo: the step has a
    compensation.
    """

    step: str
    attempt: int
    kind: str
    until: int = 0
    child: str = ""
    detail: dict[str, Any] = {}
    undo: bool = False


class StepResolved(Decision, frozen=True, tag="step.resolved"):
    """The end of a step that the engine itself ended. status: `completed`, or `failed` with an error.

    signal: the name of the signal that it has taken, the oldest kept one.
    """

    step: str
    attempt: int
    status: str
    output: Payload = Payload()
    error: StepError | None = None
    signal: str = ""


class StepIterated(Decision, frozen=True, tag="step.iterated"):
    """A loop step goes on to its iteration `step@1`, `step@2`, ..."""

    step: str
    iteration: int


class StepsReset(Decision, frozen=True, tag="steps.reset"):
    """A back edge was taken: these nodes run again, as `node#2`, `node#3`, ... iteration: how often it was taken.

    inner: back edges within, which may be taken as often again.
    """

    edge: str
    iteration: int
    steps: tuple[str, ...]
    inner: tuple[str, ...] = ()


class GraphAdvanced(Decision, frozen=True, tag="graph.advanced"):
    """A superstep of a graph-style workflow begins. steps: what runs now; none after the last one. state: what changed
    of the shared state. taken: the edges with a bound that led here."""

    superstep: int
    steps: tuple[str, ...]
    state: dict[str, Payload] = {}
    taken: tuple[str, ...] = ()


class ApprovalEscalated(Decision, frozen=True, tag="approval.escalated"):
    step: str
    approvers: tuple[str, ...]


class RunWaiting(Decision, frozen=True, tag="run.waiting"):
    """Nothing runs: the run waits for what these steps wait for."""

    steps: tuple[str, ...]


class RunPaused(Decision, frozen=True, tag="run.paused"):
    reason: str = ""
    by: str = ""


class RunResumed(Decision, frozen=True, tag="run.resumed"):
    """The run goes on, after a pause or a wait."""

    reason: str = ""


class RunCancelling(Decision, frozen=True, tag="run.cancelling"):
    """Active steps are asked to end; at `until` (ms since the epoch) they are closed."""

    reason: str = ""
    until: int = 0


class RunCompensating(Decision, frozen=True, tag="run.compensating"):
    """The run has failed or is cancelled, and what its steps did is undone, the newest first, before it ends.

    status: how it will end, `failed` or `cancelled`. steps: those that are undone, in order. children: steps whose
    subworkflows undo first what they did; a second event names the run's own steps once these have ended.
    """

    status: str
    steps: tuple[str, ...]
    error: StepError | None = None
    step: str = ""
    reason: str = ""
    children: tuple[str, ...] = ()


class RunCompleted(Decision, frozen=True, tag="run.completed"):
    """continued_as: the run that goes on with new inputs, started in the same append."""

    output: Payload = Payload()
    cost_nano: int = 0
    duration_ms: int = 0
    continued_as: str = ""


class RunFailed(Decision, frozen=True, tag="run.failed"):
    """compensated: steps whose effect was undone. uncompensated: those whose compensation failed."""

    error: StepError
    step: str = ""
    cost_nano: int = 0
    duration_ms: int = 0
    compensated: tuple[str, ...] = ()
    uncompensated: tuple[str, ...] = ()


class RunCancelled(Decision, frozen=True, tag="run.cancelled"):
    reason: str = ""
    cost_nano: int = 0
    duration_ms: int = 0
    compensated: tuple[str, ...] = ()
    uncompensated: tuple[str, ...] = ()
