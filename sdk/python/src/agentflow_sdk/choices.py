"""The values that an argument may have, as types: a type checker finds a typo before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypedDict

from agentflow_sdk.models.budgets import BudgetPeriod
from agentflow_sdk.models.statuses import RunStatus

Quality = Literal["Gold", "Silver", "Bronze"]
Backoff = Literal["fixed", "linear", "exponential"]
InputType = Literal["string", "integer", "number", "boolean", "array", "object", "any"]
InputRuleName = Literal[
    "enum", "minimum", "maximum", "exclusive_minimum", "exclusive_maximum", "multiple_of", "min_length", "max_length",
    "pattern", "format", "items", "min_items", "max_items", "unique_items", "schema",
]  # fmt: skip
AnswerFormat = Literal["text", "json"]
Reducer = Literal["replace", "append", "extend", "merge", "union", "sum", "max", "min", "first"]
FailOrContinue = Literal["fail", "continue"]
OnUnknown = Literal["fail", "retry", "ask"]
OnTruncated = Literal["accept", "fail", "continue"]
MapResult = Literal["list", "object"]
OnMax = Literal["complete", "fail"]
EndStatus = Literal["completed", "failed", "cancelled"]
OnExpire = Literal["fail", "approve", "reject"]
BatchAction = Literal["cancel", "pause", "resume", "retry", "signal"]
Outcome = Literal["completed", "retry", "fail"]
Overlap = Literal["", "skip", "buffer_one", "buffer_all", "cancel", "allow"]
Period = BudgetPeriod | Literal["daily", "weekly", "monthly", "total"]
Status = RunStatus | Literal["", "pending", "running", "waiting", "paused", "completed", "failed", "cancelled"]
TraceSort = Literal["newest", "cost", "latency", "tokens"]
ScheduleState = Literal["", "active", "paused", "finished", "broken"]

ToolKind = Literal["", "tool", "function"]


class SubmitOptions(TypedDict, total=False):
    """The options of `submit` that `run` passes on. `calls.workflows.submit` explains them."""

    budget_cents: int | None
    tags: Mapping[str, str] | None
    idempotency_key: str
    priority: int
    deadline_s: float | None


class InputRules(TypedDict, total=False):
    """The rules that an input may have beside its type, as in JSON Schema. `Workflow.input` explains them."""

    enum: Sequence[Any]
    minimum: float
    maximum: float
    exclusive_minimum: float
    exclusive_maximum: float
    multiple_of: float
    min_length: int
    max_length: int
    pattern: str
    format: str
    items: Mapping[str, Any]
    min_items: int
    max_items: int
    unique_items: bool
    schema: Mapping[str, Any]


class RetryOptions(TypedDict, total=False):
    """The fields of a retry policy beside `max_attempts`. `Workflow.retry` explains them."""

    backoff: Backoff
    initial_ms: int | str
    max_ms: int | str
    jitter: float
    retryable: str | Iterable[str]
    non_retryable: str | Iterable[str]
