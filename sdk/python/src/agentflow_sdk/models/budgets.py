"""Answers about budgets."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from agentflow_sdk.models.money import usd
from agentflow_sdk.models.records import Record


class BudgetPeriod(StrEnum):
    """The length of time that a budget's limit is for. A member is equal to its text."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    TOTAL = "total"
    """One limit that is never renewed."""


@dataclass(frozen=True, slots=True)
class Budget(Record):
    """A limit on what model calls may cost in a period."""

    id: str
    """The id of the budget."""
    name: str
    """The name of the budget."""
    period: BudgetPeriod
    """The length of time that the limit is for."""
    limit_nano_usd: int
    """The limit for one period, nano-USD."""
    scope: str = "org"
    """`org` for all runs, or `workflow:<name>` for the runs of one workflow."""
    spent_nano_usd: int = 0
    """The amount spent in this period, nano-USD."""
    reserved_nano_usd: int = 0
    """The amount that calls in progress have reserved, nano-USD."""
    period_start: int = 0
    """When this period began, ms since the epoch."""
    period_end: int = 0
    """When this period ends, ms since the epoch."""
    created_at: int = 0
    """When the budget was created, ms since the epoch."""

    @property
    def limit_usd(self) -> Decimal:
        """The limit as exact US dollars."""
        return usd(self.limit_nano_usd)

    @property
    def spent_usd(self) -> Decimal:
        """The amount spent in this period, as exact US dollars."""
        return usd(self.spent_nano_usd)

    @property
    def remaining_usd(self) -> Decimal:
        """The amount that may still be reserved in this period, as exact US dollars; never below zero."""
        return usd(max(0, self.limit_nano_usd - self.spent_nano_usd - self.reserved_nano_usd))
