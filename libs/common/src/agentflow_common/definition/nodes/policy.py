"""Policies of a step: time limits, retries, failures, unknown outcomes, models."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from agentflow_common.definition.durations import Duration, duration_ms, duration_schema
from agentflow_common.definition.nodes.base import MODEL_REF, Float, Int, Model, NodeId

SHORT: Final = {"on": "retryable", "not_on": "non_retryable"}  # short names of fields, each with the field


def _with_short_names(schema: dict[str, Any]) -> None:
    fields = schema["properties"]
    for short, field in SHORT.items():
        many = {**fields[field]["items"], "type": ["string", "integer"]}
        fields[short] = {
            "anyOf": [{"type": "array", "items": many}, many],
            "description": f"The same as `{field}`, which also takes one type alone, and `503` for `http_503`.",
        }


class Retry(Model):
    """The number of attempts, and the delay before each of them."""

    model_config = ConfigDict(json_schema_extra=_with_short_names)

    max_attempts: Int = Field(3, ge=1, le=100)
    """Attempts in all, including the first one."""

    backoff: Literal["fixed", "linear", "exponential"] = "exponential"
    """How the delay grows: it stays the same, grows by `initial_ms`, or doubles."""

    initial_ms: Annotated[
        int, BeforeValidator(duration_ms), Field(ge=0, le=3_600_000), duration_schema(0, 3_600_000)
    ] = Field(200, examples=["500ms", "2s"])
    """Delay before the second attempt."""

    max_ms: Annotated[int, BeforeValidator(duration_ms), Field(ge=0, le=86_400_000), duration_schema(0, 86_400_000)] = (
        Field(30_000, examples=["30s", "5m"])
    )
    """The longest delay."""

    jitter: Float = Field(0.2, ge=0, le=1)
    """Fraction of the delay by which it varies, so that steps do not retry together."""

    retryable: tuple[str, ...] = Field((), examples=[["ConnectionError", "timeout"]])
    """Error types that are tried again; others fail at once. Subclasses of an exception count too."""

    non_retryable: tuple[str, ...] = Field((), examples=[["ValueError"]])
    """Error types that fail at once. Subclasses of an exception count too."""

    @model_validator(mode="before")
    @classmethod
    def _short_names(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        data = {"on" if name is True else name: value for name, value in given.items()}  # YAML reads `on` as true
        for short, field in SHORT.items():
            if short not in data:
                continue
            if field in data:
                raise ValueError(f"`{short}` and `{field}` mean the same: give one of them")
            value = data.pop(short)
            types = value if isinstance(value, list | tuple) else [value]
            data[field] = [f"http_{kind}" if type(kind) is int else kind for kind in types]
        return data


class Policy(Model):
    """Time limits, retries, and what follows a failure. Timers enforce the limits."""

    quality: Literal["Gold", "Silver", "Bronze"] | None = None
    """For model calls: which class of models may answer."""

    sla_ms: Annotated[int, BeforeValidator(duration_ms), Field(ge=1), duration_schema(1, None)] | None = None
    """For model calls: how fast a model should answer. Guides the choice of the model."""

    timeout_ms: Duration | None = Field(None, examples=["30s", "10m"])
    """The limit for one attempt."""

    total_timeout_ms: Duration | None = Field(None, examples=["1h"])
    """The limit for all attempts, children and iterations together."""

    heartbeat_ms: Duration | None = Field(None, examples=["30s"])
    """For tools and functions: an attempt that is silent for this long counts as lost."""

    retry: Retry = Retry()
    """How often the step is tried again."""

    on_failure: Literal["fail", "continue"] = "fail"
    """After the last attempt: fail the run, or continue without the step's output."""

    on_timeout: NodeId | None = Field(None, examples=["ask_a_person"])
    """The node with which the run goes on if the step took too long, after its last attempt. Its other edges are not
    taken then. For tools, functions, models, subworkflows, maps and loops it needs a limit above; a signal and an
    approval have limits of their own.
    """

    on_unknown: Literal["fail", "retry", "ask"] | None = None
    """If a worker vanished in the middle of something that must not silently happen twice: fail the
    run, try again, or ask a person. By default a model call is made again and a tool fails the run.
    """

    on_truncated: Literal["accept", "fail", "continue"] | None = None
    """If the length limit cut off a model's answer: take the text that came, fail the step (the
    default), or ask the same model for the rest.
    """

    cache: bool = False
    """For model calls: take the answer to the same question from the cache, if it is there."""

    model: str | None = Field(None, pattern=MODEL_REF, examples=["local/extractive-1"])
    """For model calls: exactly this model, as `provider/model`."""
