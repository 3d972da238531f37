"""Policies of a step: time limits, retries, failures, unknown outcomes, models."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from agentflow_common.definition.durations import Duration, duration_ms, duration_schema
from agentflow_common.definition.nodes.base import Model


class Retry(Model):
    """The number of attempts, and the delay before each of them."""

    max_attempts: int = Field(3, ge=1, le=100, description="Attempts in all, including the first one.")
    backoff: Literal["fixed", "linear", "exponential"] = Field(
        "exponential", description="How the delay grows: it stays the same, grows by `initial_ms`, or doubles."
    )
    initial_ms: Annotated[
        int, BeforeValidator(duration_ms), Field(ge=0, le=3_600_000), duration_schema(0, 3_600_000)
    ] = Field(200, description="Delay before the second attempt.", examples=["500ms", "2s"])
    max_ms: Annotated[int, BeforeValidator(duration_ms), Field(ge=0, le=86_400_000), duration_schema(0, 86_400_000)] = (
        Field(30_000, description="The longest delay.", examples=["30s", "5m"])
    )
    jitter: float = Field(
        0.2, ge=0, le=1, description="Fraction of the delay by which it varies, so that steps do not retry together."
    )
    retryable: tuple[str, ...] = Field(
        (),
        description="Error types that are tried again; others fail at once. Subclasses of an exception count too.",
        examples=[["ConnectionError", "timeout"]],
    )
    non_retryable: tuple[str, ...] = Field(
        (),
        description="Error types that fail at once. Subclasses of an exception count too.",
        examples=[["ValueError"]],
    )


class Policy(Model):
    """Time limits, retries, and what follows a failure. Timers enforce the limits."""

    quality: Literal["Gold", "Silver", "Bronze"] | None = Field(
        None, description="For model calls: which class of models may answer."
    )
    sla_ms: Annotated[int, BeforeValidator(duration_ms), Field(ge=1), duration_schema(1, None)] | None = Field(
        None, description="For model calls: how fast a model should answer. Guides the choice of the model."
    )
    timeout_ms: Duration | None = Field(None, description="The limit for one attempt.", examples=["30s", "10m"])
    total_timeout_ms: Duration | None = Field(
        None, description="The limit for all attempts, children and iterations together.", examples=["1h"]
    )
    heartbeat_ms: Duration | None = Field(
        None,
        description="For tools and functions: an attempt that is silent for this long counts as lost.",
        examples=["30s"],
    )
    retry: Retry = Field(Retry(), description="How often the step is tried again.")
    on_failure: Literal["fail", "continue"] = Field(
        "fail", description="After the last attempt: fail the run, or continue without the step's output."
    )
    on_unknown: Literal["fail", "retry", "ask"] | None = Field(
        None,
        description="If a worker vanished in the middle of something that must not silently happen twice: fail the "
        "run, try again, or ask a person. By default a model call is made again and a tool fails the run.",
    )
    on_truncated: Literal["accept", "fail", "continue"] | None = Field(
        None,
        description="If the length limit cut off a model's answer: take the text that came, fail the step (the "
        "default), or ask the same model for the rest.",
    )
    cache: bool = Field(
        False, description="For model calls: take the answer to the same question from the cache, if it is there."
    )
    model: str | None = Field(
        None,
        pattern=r"^[^/\s]+/\S+$",
        description="For model calls: exactly this model, as `provider/model`.",
        examples=["local/extractive-1"],
    )
