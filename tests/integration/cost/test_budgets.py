"""Budgets that are changed and deleted, over a real NATS and a real PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from agentflow_common import events, rpc, subjects
from agentflow_common.errors import BudgetExceededError, InvalidError, NotFoundError
from agentflow_common.log.event_log import Entry
from agentflow_common.rpc.bus import call
from agentflow_common.runtime import service
from agentflow_common.runtime.service import Context
from agentflow_cost import budgets
from agentflow_cost.app import app
from agentflow_cost.budget_handlers import BudgetHandlers
from agentflow_cost.settings import CostSettings
from agentflow_cost.store_budgets import BudgetStore
from tests.support.waiting import until

pytestmark = pytest.mark.integration
ORG = "acme"
EACH = 1000 * 50 + 1000 * 100  # nano-USD: 1,000 tokens in and 1,000 out of local/extractive-1


@pytest.fixture
def settings(nats_url: str, db_env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> CostSettings:
    for key, value in {**db_env, "NATS_URL": nats_url}.items():
        monkeypatch.setenv(key, value)
    return CostSettings()


@pytest.fixture
async def context(settings: CostSettings) -> AsyncIterator[Context[CostSettings]]:
    async with service.running("cost", settings, app) as running:
        yield running


def ask(run: str, step: str = "s") -> rpc.RouteRequest:
    return rpc.RouteRequest(
        org=ORG, run=run, step=step, attempt=1, quality="Bronze", prompt_bytes=968, max_output_tokens=1000,
        providers=("local",),
    )  # fmt: skip


async def create(context: Context[Any], limit: int, name: str = "all", period: str = "total") -> rpc.Budget:
    make = rpc.CreateBudgetRequest(org=ORG, limit_nano=limit, period=period, name=name, actor="dana:key_1")
    return await call(context.nc, rpc.BUDGET_CREATE, make)


async def change(context: Context[Any], limit: int, name: str = "all") -> rpc.UpdateBudgetReply:
    wanted = rpc.UpdateBudgetRequest(org=ORG, id=name, limit_nano=limit, actor="dana:key_1")
    return await call(context.nc, rpc.BUDGET_UPDATE, wanted)


async def delete(context: Context[Any], name: str = "all") -> rpc.Budget:
    wanted = rpc.DeleteBudgetRequest(org=ORG, id=name, actor="dana:key_1")
    return await call(context.nc, rpc.BUDGET_DELETE, wanted)


async def get(context: Context[Any], name: str = "all") -> rpc.Budget:
    return await call(context.nc, rpc.BUDGET_GET, rpc.GetBudgetRequest(org=ORG, id=name))


async def settle(context: Context[Any], reply: rpc.RouteReply, run: str, cost: int) -> None:
    usage = events.LlmUsage(
        provider="local", model="extractive-1", prompt="p@1", input_tokens=10, output_tokens=5, cost_nano=cost,
        reservation=reply.reservation,
    )  # fmt: skip
    done = events.StepCompleted(org=ORG, run=run, ts=1, step="s", attempt=1, llm=usage)
    await context.log.append(Entry(subjects.run_in(subjects.key_of(ORG, run)), events.encode(done)))

    async def settled() -> bool:
        stored = await context.log.read(subjects.cost_ledger(ORG, run), stream=subjects.COST_STREAM)
        return bool(stored)

    await until(settled)


async def trail(context: Context[Any]) -> list[events.AuditRecorded]:
    stored = await context.log.read(subjects.audit(ORG, ""), stream=subjects.AUDIT_STREAM)
    found = [events.decode(message.data) for message in stored]
    return [event for event in found if isinstance(event, events.AuditRecorded)]


async def test_usage_09_a_spent_total_budget_is_raised_and_keeps_what_was_spent(
    context: Context[CostSettings],
) -> None:
    await create(context, EACH + 7)
    first = await call(context.nc, rpc.COST_ROUTE, ask("run_1"))
    await settle(context, first, "run_1", EACH - 1)
    with pytest.raises(BudgetExceededError) as caught:
        await call(context.nc, rpc.COST_ROUTE, ask("run_2"))
    for word in ("'all'", "agentctl budget set all --limit", "agentctl budget delete all"):
        assert word in caught.value.message
    assert "next period" not in caught.value.message  # a total budget has none

    reply = await change(context, 2 * EACH)
    assert reply.changed and (reply.budget.limit_nano, reply.budget.spent_nano) == (2 * EACH, EACH - 1)
    assert not (await change(context, 2 * EACH)).changed
    await call(context.nc, rpc.COST_ROUTE, ask("run_2"))
    held = await get(context)
    assert (held.spent_nano, held.reserved_nano) == (EACH - 1, EACH)

    await change(context, 1)  # below what was spent: nothing more is admitted
    with pytest.raises(BudgetExceededError):
        await call(context.nc, rpc.COST_ROUTE, ask("run_3"))
    told = [(event.action, event.actor, event.reason.rpartition(": ")[2]) for event in await trail(context)]
    assert told == [
        ("budget.created", "dana:key_1", "limit $0.000150007"),
        ("budget.changed", "dana:key_1", "limit $0.000150007 -> $0.0003"),
        ("budget.changed", "dana:key_1", "limit $0.0003 -> $0.000000001"),
    ]


async def test_usage_09_a_deleted_budget_lets_go_with_calls_under_way(
    context: Context[CostSettings], db_env: dict[str, str]
) -> None:
    budget = await create(context, EACH)
    first = await call(context.nc, rpc.COST_ROUTE, ask("run_1"))
    with pytest.raises(BudgetExceededError):
        await call(context.nc, rpc.COST_ROUTE, ask("run_2"))
    gone = await delete(context, budget.id)
    assert (gone.name, gone.reserved_nano) == ("all", EACH)
    await call(context.nc, rpc.COST_ROUTE, ask("run_2"))
    await settle(context, first, "run_1", EACH - 5)
    with pytest.raises(NotFoundError):
        await get(context)

    fresh = await create(context, EACH)  # the name is free again, and begins at nothing
    assert (fresh.id != budget.id, fresh.spent_nano, fresh.reserved_nano) == (True, 0, 0)
    connection = await asyncpg.connect(
        host=db_env["DB_HOST"], port=int(db_env["DB_PORT"]), user=db_env["DB_USER"],
        password=db_env.get("DB_PASSWORD", ""), database=db_env["DB_NAME"],
    )  # fmt: skip
    try:
        rows = await connection.fetch("SELECT id, reserved_nano FROM cost.accounts WHERE id LIKE 'budget:%'")
        assert {row["id"]: row["reserved_nano"] for row in rows}[f"budget:{budget.id}:0"] == 0
    finally:
        await connection.close()


async def test_usage_09_a_limit_holds_while_it_is_raised_under_load(context: Context[CostSettings]) -> None:
    await create(context, 3 * EACH)
    asked = [call(context.nc, rpc.COST_ROUTE, ask(f"run_{n}")) for n in range(20)]
    raised = [change(context, limit * EACH) for limit in (4, 5, 6)]
    await asyncio.gather(*asked, *raised, return_exceptions=True)
    await change(context, 6 * EACH)
    assert (await get(context)).reserved_nano <= 6 * EACH
    await asyncio.gather(
        *(call(context.nc, rpc.COST_ROUTE, ask(f"more_{n}")) for n in range(20)), return_exceptions=True
    )
    assert (await get(context)).reserved_nano == 6 * EACH


async def test_usage_09_a_change_is_told_once_whatever_was_killed_when(
    context: Context[CostSettings], db_env: dict[str, str]
) -> None:
    await create(context, EACH)
    pool = await asyncpg.create_pool(
        host=db_env["DB_HOST"], port=int(db_env["DB_PORT"]), user=db_env["DB_USER"],
        password=db_env.get("DB_PASSWORD", ""), database=db_env["DB_NAME"],
        server_settings={"search_path": "cost"}, min_size=1, max_size=2,
    )  # fmt: skip
    try:
        # killed between the append and the mark: the server knows the message id for two minutes
        await pool.execute("UPDATE budget_changes SET published = false")
        await BudgetHandlers(BudgetStore(pool), context.log, context.clock).report_changes()
        assert len(await trail(context)) == 1
        # later than that, the trail itself knows the change: the same bytes under an id that the server forgot
        (told,) = await trail(context)
        await pool.execute("UPDATE budget_changes SET published = false, budget = 'bud_other'")
        late = _Late(context.clock.now_ms() + 10 * 60_000)
        await BudgetHandlers(BudgetStore(pool), context.log, late).report_changes()
        assert await trail(context) == [told]
        assert await pool.fetchval("SELECT count(*) FROM budget_changes WHERE NOT published") == 0
        # killed between the change and the append: the next one tells both, in order
        await pool.execute(
            "INSERT INTO budget_changes (org, budget, action, detail, actor, at)"
            " VALUES ($1, 'bud_x', 'budget.changed', 'limit', 'dana', 1)",
            ORG,
        )
        await delete(context)
        assert [event.action for event in await trail(context)] == [
            "budget.created", "budget.changed", "budget.deleted",
        ]  # fmt: skip
    finally:
        await pool.close()


class _Late:
    """A clock that stands."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms


async def test_usage_09_a_change_that_is_not_valid_changes_nothing(context: Context[CostSettings]) -> None:
    await create(context, EACH)
    for limit in (0, -1, 9 * 10**18 + 1):
        with pytest.raises(InvalidError, match="limit"):
            await change(context, limit)
    for asked in (change(context, 1, "none"), delete(context, "none")):
        with pytest.raises(NotFoundError, match="none"):
            await asked
    assert (await get(context)).limit_nano == EACH
    with contextlib.suppress(NotFoundError):
        await call(context.nc, rpc.BUDGET_DELETE, rpc.DeleteBudgetRequest(org="other", id="all", actor="x"))
    assert (await get(context)).limit_nano == EACH


async def test_the_fullest_budgets_of_all_orgs_come_first(
    context: Context[CostSettings], db_env: dict[str, str]
) -> None:
    """By the share of the present period: money of an earlier day does not count for a daily budget."""
    await create(context, 10 * EACH, "roomy")
    await create(context, 2 * EACH, "tight")
    await create(context, 4 * EACH, "daily", "daily")
    other = rpc.CreateBudgetRequest(org="other", limit_nano=EACH, period="total", name="unused", actor="dana:key_1")
    await call(context.nc, rpc.BUDGET_CREATE, other)
    async with asyncpg.create_pool(
        host=db_env["DB_HOST"], port=int(db_env["DB_PORT"]), user=db_env["DB_USER"], password=db_env["DB_PASSWORD"],
        database=db_env["DB_NAME"], server_settings={"search_path": "cost"},
    ) as pool:  # fmt: skip
        store = BudgetStore(pool)
        now = context.clock.now_ms()
        for budget in await store.page(ORG, now, "", 0):
            account = budgets.account_of(budget, now)
            await pool.execute("INSERT INTO accounts (id, spent_nano) VALUES ($1, $2)", account, EACH)
        found = await store.fullest(now, 3)
        assert [(one.name, one.spent_nano) for one in found] == [("tight", EACH), ("daily", EACH), ("roomy", EACH)]
        tomorrow = await store.fullest(now + 24 * 3600 * 1000, 10)
        assert [(one.name, one.spent_nano) for one in tomorrow[:2]] == [("tight", EACH), ("roomy", EACH)]
        assert {(one.name, one.spent_nano) for one in tomorrow[2:]} == {("daily", 0), ("unused", 0)}
