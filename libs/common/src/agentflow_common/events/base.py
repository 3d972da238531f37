"""The base of all events, and the parts that several of them share."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec

TS_MAX: Final = 253_402_300_799_999  # the last millisecond of the year 9999: what tables and clients can hold


class BlobRef(msgspec.Struct, frozen=True):
    """A payload kept out of line (claim check)."""

    sha256: str  # hex, also the object's name
    size: int  # bytes of JSON


class Payload(msgspec.Struct, frozen=True, omit_defaults=True):
    """A JSON value, in line or by reference."""

    value: Any = None
    ref: BlobRef | None = None


class StepError(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a step attempt failed."""

    type: str  # stable name that retry policies match
    message: str  # screened for secrets
    retryable: bool = True
    retry_after_ms: int | None = None
    # of an exception, the names of its class, where that is not the type, and of the classes that it derives
    # from
    bases: tuple[str, ...] = ()


class LlmAttempt(msgspec.Struct, frozen=True, omit_defaults=True):
    """One provider call inside an LLM step."""

    provider: str
    model: str
    ok: bool
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nano: int = 0  # nano-USD
    latency_ms: int = 0  # wall time of the call
    error: str = ""  # the kind of the failure; empty for an answer
    # how the answer ended (`stop`, `length`, `tool_calls`, `filtered`, `unknown`), or `error`
    finish_reason: str = ""
    status: int = 0  # of HTTP, for a call that failed
    started_at: int = 0  # ms since the epoch; 0 in events that were written before 0.2.0


class LlmUsage(msgspec.Struct, frozen=True, omit_defaults=True):
    """The use of an LLM step: the route that answered, the pinned prompt, tokens and cost (nano-USD)."""

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
    finish_reason: str = ""  # of the last attempt


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """Base of all events."""

    org: str  # org, run: the owner
    run: str
    ts: Annotated[int, msgspec.Meta(ge=-TS_MAX, le=TS_MAX)]  # ms since the epoch
    v: int = msgspec.field(default_factory=lambda: 1)  # a factory, so that omit_defaults keeps it on the wire
    trace: str = ""  # W3C traceparent


class Decision(Event, frozen=True, kw_only=True):
    """Base of every decision of the scheduler."""

    seen: int = 0  # the sequence of the newest incoming fact that was folded when this was decided


# --- what several types of events begin with ---


class AttemptFact(Event, frozen=True):
    """Base of the facts about one attempt of a step."""

    step: str
    attempt: int


class AttemptDecision(Decision, frozen=True):
    """Base of the decisions about one attempt of a step."""

    step: str
    attempt: int


class RequestFact(Event, frozen=True):
    """Base of what people ask of a run or a schedule."""

    reason: str = ""
    by: str = ""


class SlotFact(Event, frozen=True):
    """Base of what an attempt asks of a keyed lane."""

    lane: str
    holder_org: str
    holder_run: str
    step: str
    attempt: int


class SlotDecision(Decision, frozen=True):
    """Base of what a keyed lane decides about an attempt."""

    holder_org: str
    holder_run: str
    step: str
    attempt: int
