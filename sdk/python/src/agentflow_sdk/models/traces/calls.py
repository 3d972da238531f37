"""The calls of providers in a trace."""

from __future__ import annotations

from dataclasses import dataclass

from agentflow_sdk.models.records import Priced


@dataclass(frozen=True, slots=True)
class TraceCall(Priced):
    """One call of a provider, made by an attempt of a step."""

    number: int
    """The place among the calls of the attempt, from 1."""
    provider: str
    """The provider."""
    model: str
    """The model."""
    ok: bool
    """True if it answered."""
    input_tokens: int = 0
    """The tokens that the model read."""
    output_tokens: int = 0
    """The tokens that the model wrote."""
    cost_nano_usd: int = 0
    """The cost, nano-USD."""
    started_at: int = 0
    """When it began, ms since the epoch; 0 if the event does not say."""
    latency_ms: int = 0
    """The time that it took, ms."""
    error: str = ""
    """The kind of the failure; empty for an answer."""
    finish_reason: str = ""
    """How the answer ended, as in `TraceStep.finish_reason`."""
    status: int = 0
    """The HTTP status of a call that failed."""
