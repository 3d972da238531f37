"""Model calls in a trace: what each call of a provider did. The OpenTelemetry spans of a run."""

from __future__ import annotations

from agentflow_common.rpc.verbs import Message, Verb


class TraceCall(Message, frozen=True):
    """One call of a provider, made by an attempt of a step."""

    number: int  # among the calls of the attempt, from 1
    provider: str
    model: str
    ok: bool
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nano: int = 0  # nano-USD
    started_at: int = 0  # ms since the epoch; 0: the event does not say
    latency_ms: int = 0  # wall time of the call
    error: str = ""  # the kind of the failure
    finish_reason: str = ""  # how the answer ended
    status: int = 0  # of HTTP, for a call that failed


class SpansRequest(Message, frozen=True):
    org: str
    run: str
    min_seq: int = 0  # wait (bounded) until ClickHouse holds AF_EVENTS up to here
    part: int = 0  # of the parts that the spans come in, from 0


class SpansReply(Message, frozen=True):
    """A part of the spans of a run. They have ended."""

    otlp: bytes  # an ExportTraceServiceRequest; empty if nothing has ended
    spans: int  # of all parts
    more: bool = False


TRACE_SPANS = Verb("trace", "spans", SpansRequest, SpansReply, 20.0)
