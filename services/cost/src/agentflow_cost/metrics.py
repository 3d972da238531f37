"""The metrics of money, budgets and the health of models."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from typing import Final

from agentflow_common.clock import Clock
from agentflow_common.connections import transient
from agentflow_common.events import LlmUsage
from agentflow_common.metrics import cost
from agentflow_common.money import NANO_PER_USD
from agentflow_common.rpc import Budget
from agentflow_cost.machine import Health
from agentflow_cost.store_budgets import BudgetStore

EVERY_S: Final = 5.0
BUDGETS_EVERY: Final = 3  # turns


def count(org: str, usage: LlmUsage) -> None:
    """Counts a settled step. Its calls add up to its cost; a step of an old worker names no calls."""
    left = usage.cost_nano
    for attempt in usage.attempts:
        place = (attempt.provider, attempt.model, org)
        left -= attempt.cost_nano
        cost.COST_NANO.labels(*place).inc(attempt.cost_nano)
        cost.TOKENS.labels(*place, "input").inc(attempt.input_tokens)
        cost.TOKENS.labels(*place, "output").inc(attempt.output_tokens)
        cost.CALLS.labels(*place, "ok" if attempt.ok else "failed").inc()
    if left > 0:
        cost.COST_NANO.labels(usage.provider, usage.model, org).inc(left)


def show_budgets(budgets: Iterable[Budget]) -> None:
    """Shows the amounts in USD. Budgets that are no longer among these are not shown any more."""
    found = [((budget.org, budget.name), budget) for budget in budgets]
    cost.BUDGET_SPENT.replace({place: budget.spent_nano / NANO_PER_USD for place, budget in found})
    cost.BUDGET_RESERVED.replace({place: budget.reserved_nano / NANO_PER_USD for place, budget in found})
    cost.BUDGET_LIMIT.replace({place: budget.limit_nano / NANO_PER_USD for place, budget in found})
    cost.BUDGET_PERIOD.replace({place: (b.period_end - b.period_start) / 1000 for place, b in found if b.period_end})


def show_health(health: Mapping[tuple[str, str], Health], now_ms: int) -> None:
    """Shows the models that fail. One whose last call succeeded is not among them."""
    cost.PROVIDER_FAILURES.replace({model: one.failures for model, one in health.items()})
    cost.PROVIDER_COOLING.replace({model: float(one.until > now_ms) for model, one in health.items()})


async def watch(store: BudgetStore, health: Mapping[tuple[str, str], Health], clock: Clock) -> None:
    """Keeps the gauges up to date until it is cancelled."""
    turn = 0
    while True:
        show_health(health, clock.now_ms())
        if turn % BUDGETS_EVERY == 0:
            with contextlib.suppress(*transient.SURVIVED):
                show_budgets(await store.fullest(clock.now_ms(), cost.BUDGETS_SHOWN_MAX))
        turn += 1
        await asyncio.sleep(EVERY_S)
