"""The event types: what can happen to a run, as frozen msgspec structs on the wire as tagged JSON.

`{"type": "step.completed", "v": 1, ...}`. Changes are additive only; tests/contract holds a golden file per type and
version. `ts` is when the writer wrote it (ms since the epoch); order is the stream's sequence, never `ts`.
An event with `seen` is a decision: `seen` is the stream sequence of the newest incoming fact that the scheduler had
folded for this run when it decided, so that a refold interleaves facts and decisions exactly as they happened live.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec


class BlobRef(msgspec.Struct, frozen=True):
    """A payload kept out of line (claim check). sha256: hex, also the object's name. size: bytes of JSON."""

    sha256: str
    size: int


class Payload(msgspec.Struct, frozen=True, omit_defaults=True):
    """A JSON value, in line or by reference."""

    value: Any = None
    ref: BlobRef | None = None


class StepError(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a step attempt failed. type: stable name that retry policies match. message: screened for secrets."""

    type: str
    message: str
    retryable: bool = True
    retry_after_ms: int | None = None


class LlmAttempt(msgspec.Struct, frozen=True, omit_defaults=True):
    """One provider call inside an LLM step. cost_nano: nano-USD. latency_ms: wall time of the call."""

    provider: str
    model: str
    ok: bool
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nano: int = 0
    latency_ms: int = 0
    error: str = ""


class LlmUsage(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an LLM step used: the route that answered, the pinned prompt, tokens and cost (nano-USD)."""

    provider: str
    model: str
    prompt: str
    input_tokens: int
    output_tokens: int
    cost_nano: int
    reservation: str = ""
    quality: str = ""
    cache_hit: bool = False
    attempts: tuple[LlmAttempt, ...] = ()


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """Base of all events. org and run: the owner. trace: W3C traceparent."""

    org: str
    run: str
    ts: int
    v: int = msgspec.field(default_factory=lambda: 1)  # a factory, so that omit_defaults keeps it on the wire
    trace: str = ""


# --- facts from outside the scheduler: subject `...in` ---


class RunSubmitted(Event, frozen=True, tag="run.submitted"):
    """A client asked for a run. definition: the pinned definition as JSON. prompts: ref -> pinned `name@version`."""

    workflow: str
    version: int
    definition: dict[str, Any]
    inputs: Payload = Payload()
    digest: str = ""
    prompts: dict[str, str] = {}
    budget_nano: int | None = None
    deadline_ms: int | None = None
    tags: dict[str, str] = {}
    idempotency_key: str = ""
    priority: int = 0
    submitted_by: str = ""
    redactions: dict[str, int] = {}


class RunCancelRequested(Event, frozen=True, tag="run.cancel_requested"):
    reason: str = ""
    by: str = ""


class StepStarted(Event, frozen=True, tag="step.started"):
    """A worker runs the attempt and it takes long enough to be worth a word."""

    step: str
    attempt: int
    worker: str


class StepCompleted(Event, frozen=True, tag="step.completed"):
    """An attempt succeeded. started_at: ms since the epoch. duration_ms: of the work alone."""

    step: str
    attempt: int
    output: Payload = Payload()
    worker: str = ""
    started_at: int = 0
    duration_ms: float = 0.0
    llm: LlmUsage | None = None
    redactions: dict[str, int] = {}


class StepFailed(Event, frozen=True, tag="step.failed"):
    """An attempt failed; the scheduler alone decides what follows. llm: what failed calls had cost."""

    step: str
    attempt: int
    error: StepError
    worker: str = ""
    started_at: int = 0
    duration_ms: float = 0.0
    llm: LlmUsage | None = None


class StepOutcomeUnknown(Event, frozen=True, tag="step.outcome_unknown"):
    """A non-idempotent attempt had been claimed by a worker that then vanished: nobody knows whether it took effect."""

    step: str
    attempt: int
    worker: str = ""
    claimed_by: str = ""


class TimerFired(Event, frozen=True, tag="timer.fired"):
    """A JetStream message schedule came due."""

    timer: str
    kind: str
    step: str = ""
    attempt: int = 0


# --- decisions of the scheduler: subjects `...out.*` ---


class Decision(Event, frozen=True, kw_only=True):
    seen: int = 0


class RunStarted(Decision, frozen=True, tag="run.started"):
    workflow: str
    version: int
    steps: int
    submitted_at: int = 0
    tags: dict[str, str] = {}


class StepScheduled(Decision, frozen=True, tag="step.scheduled"):
    """A step attempt is offered to workers: the decision and the queue entry in one.

    kind: node type. config: the node's configuration without its inputs. inputs: resolved values by name; a value that
    is stored out of line is `{"$blob": {"sha256", "size"}, "path": [...]}` and the worker resolves it.
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


class StepExpanded(Decision, frozen=True, tag="step.expanded"):
    """A parallel step became `width` children named `step[0]` .. `step[width-1]`."""

    step: str
    width: int


class StepJoined(Decision, frozen=True, tag="step.joined"):
    """All children of an expanded step are decided. status: `completed`, or `failed` when a child failed for good."""

    step: str
    status: str


class StepSkipped(Decision, frozen=True, tag="step.skipped"):
    step: str
    reason: str


class StepCancelled(Decision, frozen=True, tag="step.cancelled"):
    step: str
    attempt: int
    reason: str = ""


class StepTimedOut(Decision, frozen=True, tag="step.timed_out"):
    step: str
    attempt: int
    timeout_ms: int


class StepUndecidable(Decision, frozen=True, tag="step.undecidable"):
    """A step can't be offered: its condition or its inputs failed to evaluate. Terminal for the step."""

    step: str
    error: StepError


class TimerSet(Decision, frozen=True, tag="timer.set"):
    """fire_at: ms since the epoch. kind: `retry`, `step_timeout` or `deadline`."""

    timer: str
    kind: str
    fire_at: int
    step: str = ""
    attempt: int = 0


class RunCompleted(Decision, frozen=True, tag="run.completed"):
    output: Payload = Payload()
    cost_nano: int = 0
    duration_ms: int = 0


class RunFailed(Decision, frozen=True, tag="run.failed"):
    error: StepError
    step: str = ""
    cost_nano: int = 0
    duration_ms: int = 0


class RunCancelled(Decision, frozen=True, tag="run.cancelled"):
    reason: str = ""
    cost_nano: int = 0
    duration_ms: int = 0


# --- other ledgers ---


class ClaimTaken(Event, frozen=True, tag="claim.taken"):
    """A worker is about to run a non-idempotent attempt (subject `...claim.<step>.<attempt>`, expected sequence 0)."""

    step: str
    attempt: int
    worker: str


class CostSettled(Event, frozen=True, tag="cost.settled"):
    """Stream AF_COST. source_seq: the sequence in AF_EVENTS of the step event that it settles (its message id)."""

    step: str
    attempt: int
    reservation: str
    provider: str
    model: str
    input_tokens: int
    output_tokens: int
    cost_nano: int
    reserved_nano: int
    source_seq: int


class AuditRecorded(Event, frozen=True, tag="audit.recorded"):
    """Stream AF_AUDIT. action: `protect`, `restore`, `block`. counts: findings by entity, never the values."""

    action: str
    actor: str
    step: str = ""
    reason: str = ""
    counts: dict[str, int] = {}


Fact = RunSubmitted | RunCancelRequested | StepStarted | StepCompleted | StepFailed | StepOutcomeUnknown | TimerFired
Out = (
    RunStarted
    | StepScheduled
    | StepExpanded
    | StepJoined
    | StepSkipped
    | StepCancelled
    | StepTimedOut
    | StepUndecidable
    | TimerSet
    | RunCompleted
    | RunFailed
    | RunCancelled
)
AnyEvent = Fact | Out | ClaimTaken | CostSettled | AuditRecorded

TERMINAL_RUN: Final = (RunCompleted, RunFailed, RunCancelled)
ALL_TYPES: Final[tuple[type[Event], ...]] = AnyEvent.__args__

_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(AnyEvent)


def encode(event: Event) -> bytes:
    return _encoder.encode(event)


def decode(data: bytes) -> AnyEvent:
    """Raises msgspec.DecodeError or msgspec.ValidationError (a subclass) for what is not an event."""
    event: AnyEvent = _decoder.decode(data)
    return event


def try_decode(data: bytes) -> AnyEvent | None:
    """The event, or None: one message that can't be read must not keep a whole run from being read."""
    try:
        return decode(data)
    except msgspec.MsgspecError:
        return None


def event_type(event: Event | type[Event]) -> str:
    """`step.completed`"""
    tag = event.__struct_config__.tag
    return str(tag)
