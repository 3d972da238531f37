"""Decisions of the scheduler: subjects `...out.*`."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from agentflow_common.events.base import AttemptDecision, Decision, Payload, StepError
from agentflow_common.events.run_facts import LaneAsk


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


PROMPT: Final = "prompt"  # the input with the text of a model call that names no registered prompt


class NextStep(msgspec.Struct, frozen=True, omit_defaults=True):
    """A step that the worker of the one before it may begin, as its first attempt (ADR 0009)."""

    step: str
    kind: str
    config: dict[str, Any]
    inputs: dict[str, Any] = {}  # as in a task
    refs: dict[str, OutputRef] = {}  # inputs that are outputs of the steps before it in the same task
    policy: dict[str, Any] = {}


class StepScheduled(AttemptDecision, frozen=True, tag="step.scheduled"):
    """A step attempt is offered to workers: the decision and the queue entry in one."""

    lane: str
    kind: str  # node type
    config: dict[str, Any]  # the node's configuration without its inputs
    # resolved values by name; a value that is stored out of line is `{"$blob": {"sha256", "size"}, "path":
    # [...]}` and the worker resolves it
    inputs: dict[str, Any] = {}
    policy: dict[str, Any] = {}
    timeout_ms: int | None = None
    budget_nano: int | None = None
    prompt: str = ""
    workflow: str = ""
    priority: int = 0
    heartbeat_ms: int | None = None  # the attempt is lost without a heartbeat for so long
    undo: bool = False  # the step has a compensation
    # steps that follow one by one; the worker may go on with them for as long as the scheduler decides nothing
    # else
    then: tuple[NextStep, ...] = ()
    unsure: bool = False  # an earlier attempt may have taken effect


class StepExpanded(Decision, frozen=True, tag="step.expanded"):
    """A parallel step became `width` children named `step[0]` .. `step[width-1]`."""

    step: str
    width: int
    keys: tuple[str, ...] | None = None  # of an object that a map makes of the results; None: it makes a list


class StepJoined(Decision, frozen=True, tag="step.joined"):
    """All children of an expanded step are decided."""

    step: str
    status: str  # `completed`, or `failed` when a child failed for good
    error: StepError | None = None


class StepSkipped(Decision, frozen=True, tag="step.skipped"):
    step: str
    reason: str
    lost_to: str = ""  # the join that started without the step


class StepCancelled(AttemptDecision, frozen=True, tag="step.cancelled"):
    """An attempt was closed: the run is being cancelled, or has failed, or a join started without the step."""

    reason: str = ""
    # the subworkflow's run that was asked to end. The run waits for its end before it undoes its own steps.
    child: str = ""
    lost_to: str = ""  # the join that started without the step


class StepTimedOut(AttemptDecision, frozen=True, tag="step.timed_out"):
    """An attempt passed one of its bounds in time."""

    timeout_ms: int
    # which one was passed, `attempt` (also when empty), `total` or `heartbeat`; its length is timeout_ms
    bound: str = ""
    child: str = ""  # as in StepCancelled
    # of a total time that is over, the error of the last attempt, or of the part of the step, that had failed
    # before
    cause: StepError | None = None


class StepUndecidable(Decision, frozen=True, tag="step.undecidable"):
    """A step can't be offered: its condition or its inputs failed to evaluate. Terminal for the step."""

    step: str
    error: StepError


class TimerSet(Decision, frozen=True, tag="timer.set"):
    """A timer was set."""

    timer: str
    # `retry`, `step_timeout`, `step_total`, `heartbeat`, `wait`, `expire`, `escalate`, `grace`, `children`,
    # `deadline` or `finally`
    kind: str
    fire_at: int  # ms since the epoch
    step: str = ""
    attempt: int = 0


class StepQueued(AttemptDecision, frozen=True, tag="step.queued"):
    """An attempt waits for a slot of a keyed lane; the same append asks the lane for it."""

    # empty if it gave a slot back that it was granted while its run or its workflow is paused; it asks anew
    # when that goes on
    lane: str
    priority: int = 0
    unsure: bool = False  # an earlier attempt may have taken effect


class StepWaiting(AttemptDecision, frozen=True, tag="step.waiting"):
    """A step that no worker runs has begun."""

    kind: str  # `wait`, `signal`, `approval` or `subworkflow`
    until: int = 0  # when it ends by itself, ms since the epoch (0: never)
    child: str = ""  # the run of a subworkflow, started in the same append
    detail: dict[str, Any] = {}  # what the one who waits asks for (signal name; message, approvers, required)
    undo: bool = False  # the step has a compensation


class StepResolved(AttemptDecision, frozen=True, tag="step.resolved"):
    """The end of a step that the engine itself ended."""

    status: str  # `completed`, or `failed` with an error
    output: Payload = Payload()
    error: StepError | None = None
    signal: str = ""  # the name of the signal that it has taken, the oldest kept one


class StepIterated(Decision, frozen=True, tag="step.iterated"):
    """A loop step goes on to its iteration `step@1`, `step@2`, ..."""

    step: str
    iteration: int


class StepsReset(Decision, frozen=True, tag="steps.reset"):
    """A back edge was taken: these nodes run again, as `node#2`, `node#3`, ..."""

    edge: str
    iteration: int  # how often it was taken
    steps: tuple[str, ...]
    inner: tuple[str, ...] = ()  # back edges within, which may be taken as often again


class GraphAdvanced(Decision, frozen=True, tag="graph.advanced"):
    """A superstep of a graph-style workflow begins."""

    superstep: int
    steps: tuple[str, ...]  # what runs now; none after the last one
    state: dict[str, Payload] = {}  # what changed of the shared state
    taken: tuple[str, ...] = ()  # the edges with a bound that led here
    sent: dict[str, Payload] = {}  # by step: the values that an edge gave it, by name
    arrived: dict[str, tuple[str, ...]] = {}  # by barrier that changed: the nodes that have led to it since it last ran


class ApprovalEscalated(Decision, frozen=True, tag="approval.escalated"):
    step: str
    approvers: tuple[str, ...]


class RunWaiting(Decision, frozen=True, tag="run.waiting"):
    """Nothing runs: the run waits for what these steps wait for."""

    steps: tuple[str, ...]


class RunQueued(Decision, frozen=True, tag="run.queued"):
    """The run waits for a slot of its run lane before its first step; the same append asks the lane for it."""

    lane: str
    policy: str  # what follows if no slot is free, see the definition's `run_lane`
    following: LaneAsk | None = None  # the lane that it asks once it has this slot, before its first step


class RunLocking(Decision, frozen=True, tag="run.locking"):
    """The run takes its locks, one after the other; the same append asks for the next one."""

    lane: str  # the one that it asks for; empty if the runs above it have all of them
    lanes: tuple[str, ...]  # the name of each lock of the definition, in its order
    attempt: int = 1  # how often the run has begun to take its locks: more than once in a loop of edges


class RunUnlocked(Decision, frozen=True, tag="run.unlocked"):
    """The nodes under a lock have ended; the same append gives it back."""

    lane: str


class RunPaused(Decision, frozen=True, tag="run.paused"):
    reason: str = ""
    by: str = ""
    until: int = 0  # when the run goes on by itself, as it was asked then; 0: when it is asked to


class RunStopped(Decision, frozen=True, tag="run.stopped"):
    """The run has come to breakpoints. It begins no step until it is asked to continue; steps that run go on."""

    steps: tuple[str, ...]  # that would begin now
    number: int  # how often the run has stopped, this time included


class RunBreakpointsSet(Decision, frozen=True, tag="run.breakpoints_set"):
    """The breakpoints were changed. A worker that goes on by itself in a chain of steps asks first from now on."""

    at: tuple[str, ...] = ()  # all that are set now
    every: bool = False


class RunResumed(Decision, frozen=True, tag="run.resumed"):
    """The run goes on, after a pause or a wait."""

    reason: str = ""


class RunCancelling(Decision, frozen=True, tag="run.cancelling"):
    """Active steps are asked to end; at `until` (ms since the epoch) they are closed."""

    reason: str = ""
    until: int = 0


class RunCompensating(Decision, frozen=True, tag="run.compensating"):
    """The run has failed or is cancelled, and what its steps did is undone, the newest first, before it ends."""

    status: str  # how it will end, `failed` or `cancelled`
    steps: tuple[str, ...]  # those that are undone, in order
    error: StepError | None = None
    step: str = ""
    reason: str = ""
    # steps whose subworkflows undo first what they did; a second event names the run's own steps once these
    # have ended
    children: tuple[str, ...] = ()


class RunFinishing(Decision, frozen=True, tag="run.finishing"):
    """It is decided how the run ends. Before its last event, its nodes with `finally: true` run."""

    status: str  # `completed`, `failed` or `cancelled`
    output: Payload = Payload()
    error: StepError | None = None
    step: str = ""  # the step that failed the run
    reason: str = ""
    compensated: tuple[str, ...] = ()
    uncompensated: tuple[str, ...] = ()


class RunCompleted(Decision, frozen=True, tag="run.completed"):
    """The run ended and all of its steps are settled."""

    output: Payload = Payload()
    cost_nano: int = 0
    duration_ms: int = 0
    continued_as: str = ""  # the run that goes on with new inputs, started in the same append


class RunFailed(Decision, frozen=True, tag="run.failed"):
    """The run ended with an error."""

    error: StepError
    step: str = ""
    cost_nano: int = 0
    duration_ms: int = 0
    compensated: tuple[str, ...] = ()  # steps whose effect was undone
    uncompensated: tuple[str, ...] = ()  # those whose compensation failed


class RunCancelled(Decision, frozen=True, tag="run.cancelled"):
    reason: str = ""
    cost_nano: int = 0
    duration_ms: int = 0
    compensated: tuple[str, ...] = ()
    uncompensated: tuple[str, ...] = ()
    error: StepError | None = None  # of a run that its run lane did not let begin
