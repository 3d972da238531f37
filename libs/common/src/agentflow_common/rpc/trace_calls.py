"""Model calls: the part of a trace that says what each call of a provider did."""

from __future__ import annotations

from agentflow_common.rpc.verbs import Message


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
