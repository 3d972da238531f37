"""What the answers of the API are made of: plain data, states, exact money. See models.py."""

from __future__ import annotations

from dataclasses import fields
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from agentflow_sdk.errors import Problem

NANO_PER_USD: Final = 1_000_000_000


class RunStatus(StrEnum):
    UNSPECIFIED = "unspecified"
    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in _FINAL


_FINAL: Final = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED})


class StepStatus(StrEnum):
    UNSPECIFIED = "unspecified"
    PENDING = "pending"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    OUTCOME_UNKNOWN = "outcome_unknown"
    QUEUED = "queued"
    WAITING = "waiting"


class BudgetPeriod(StrEnum):
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    TOTAL = "total"


def usd(nano: int) -> Decimal:
    """The exact amount in US dollars."""
    return Decimal(nano) / NANO_PER_USD


def to_nano(amount: Decimal | str | int) -> int:
    """Nano-USD of an exact amount in US dollars. Floats are refused: 0.1 is not a tenth in binary."""
    nano = Decimal(amount) * NANO_PER_USD
    if not nano.is_finite() or nano != nano.to_integral_value():
        raise ValueError(f"{amount} US dollars is not a whole number of nano-USD; use at most nine decimals")
    return int(nano)


class Record:
    """Base of the answers: `to_dict()` is plain JSON-ready data, field by field."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        return {item.name: _plain(getattr(self, item.name)) for item in fields(self)}  # type: ignore[arg-type]


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Problem):
        return {"place": value.place, "message": value.message, "fix": value.fix}
    return value
