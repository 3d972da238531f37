"""What the answers of the API are made of: plain data, states, exact money. See models/workflows.py."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import fields
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, Self, TypeVar

from agentflow_sdk.errors import Problem

NANO_PER_USD: Final = 1_000_000_000
NANO_MAX: Final = 9 * 10**18  # what the API takes as an amount
_AMOUNT: Final = re.compile(r"(?:\$|USD )?([0-9]{1,30}(?:\.[0-9]+)?)\Z")
T = TypeVar("T")


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
    """Nano-USD of an exact amount in US dollars. Raises ValueError that says how to write it.

    A text is digits with at most one decimal point, `12.50`; `$` or `USD ` may stand before it. Floats are refused:
    0.1 is not a tenth in binary.
    """
    if isinstance(amount, bool) or not isinstance(amount, Decimal | str | int):
        raise ValueError(  # noqa: TRY004  (callers ask for one kind of error)
            f"a {type(amount).__name__} is not an exact amount; pass a str, a Decimal or an int"
        )
    nano = _exact(amount) * NANO_PER_USD
    if nano != nano.to_integral_value():
        raise ValueError(f"{amount} has more than nine decimals; the smallest amount is 0.000000001")
    if abs(nano) > NANO_MAX:
        raise ValueError(f"{amount} is too large; use at most {NANO_MAX // NANO_PER_USD:,} US dollars")
    return int(nano)


def _exact(amount: Decimal | str | int) -> Decimal:
    if not isinstance(amount, str):
        value = Decimal(amount)
        if not value.is_finite():
            raise ValueError(f"{amount} is not an amount")
        return value
    text = amount.strip()
    match = _AMOUNT.match(text)
    if match is not None:
        return Decimal(match[1])
    shown = repr(text[:40])
    if re.fullmatch(r"[$0-9.,' _]*[0-9],[0-9.,' _]*", text):
        plain = text.lstrip("$ ").replace(",", "")
        point = text.lstrip("$ ").replace(",", ".")
        either = f"{point} or {plain}" if _AMOUNT.match(point) and point.count(".") == 1 else plain
        raise ValueError(f"{shown} has a comma, which can mean decimals or thousands; write {either}")
    if re.search(r"[A-Za-z\u00a3\u20ac\u00a5]", text):
        raise ValueError(f"{shown} is not an amount in US dollars; write digits alone, for example 12.50")
    raise ValueError(f"{shown} is not an amount; write digits with at most one decimal point, for example 12.50")


class Page(tuple[T, ...]):
    """A page of a list: a tuple that knows where the next page begins. next_page_token: empty on the last page."""

    next_page_token: str

    def __new__(cls, items: Iterable[T] = (), next_page_token: str = "") -> Self:
        page = super().__new__(cls, items)
        page.next_page_token = next_page_token
        return page


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
