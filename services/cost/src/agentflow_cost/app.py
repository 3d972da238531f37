"""The only wiring of the cost service."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from agentflow_common import subjects, tasks
from agentflow_common.connections import postgres, transient
from agentflow_common.runtime.service import Context
from agentflow_cost import metrics, prices
from agentflow_cost.budget_handlers import BudgetHandlers
from agentflow_cost.handlers import Handlers, HealthBook
from agentflow_cost.settings import CostSettings
from agentflow_cost.settle import Settler
from agentflow_cost.store import Store
from agentflow_cost.store_budgets import BudgetStore

SCHEMA: Final = "cost"
KEEP_MS: Final = 7 * 24 * 3600 * 1000  # how long closed reservations and ended runs' accounts stay
DROP_EVERY: Final = 120  # sweeps


@asynccontextmanager
async def app(context: Context[CostSettings]) -> AsyncIterator[None]:
    settings = context.settings
    catalogue = prices.load(settings.models_file)
    book = prices.PriceBook(catalogue)
    health: HealthBook = {}
    async with postgres.opened(settings, SCHEMA, __file__) as pool:
        store = Store(pool)
        handlers = Handlers(store, book, catalogue.choices(), health, context.log, context.clock)
        budget_store = BudgetStore(pool)
        budgets = BudgetHandlers(budget_store, context.log, context.clock)
        settler = Settler(context.log, store, context.clock, health, context.health)
        queue = await settler.start()
        context.needs_postgres(pool)
        context.needs_log(subjects.COST_STREAM)
        async with context.serving([*handlers.routes(), *budgets.routes()]):
            loops = [
                context.guarded(settler.run(queue)),
                context.guarded(_sweep(context, store, budgets)),
                context.guarded(metrics.watch(budget_store, health, context.clock)),
            ]
            try:
                yield
            finally:
                await tasks.stop(loops)
                await queue.stop()


async def _sweep(context: Context[CostSettings], store: Store, budgets: BudgetHandlers) -> None:
    turn = 0
    while True:
        await asyncio.sleep(context.settings.sweep_s)
        turn += 1
        with contextlib.suppress(*transient.SURVIVED):
            await budgets.report_changes()
            now = context.clock.now_ms()
            while await store.expire(now):
                pass
            if turn % DROP_EVERY == 0:
                await store.drop_old(now - KEEP_MS)
