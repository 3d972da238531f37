"""The cost service over a real NATS and a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import asyncpg
import nats
import pytest

from agentflow_common import events, rpc, subjects
from agentflow_common.errors import AlreadyExistsError, BudgetExceededError, NotFoundError, TerminalError
from agentflow_common.log.event_log import Entry
from agentflow_common.rpc.bus import call
from agentflow_common.runtime import service
from agentflow_common.runtime.service import Context
from agentflow_cost.app import app
from agentflow_cost.settings import CostSettings
from tests.support.waiting import until

pytestmark = pytest.mark.integration
ORG = "acme"


@pytest.fixture
def settings(nats_url: str, db_env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> CostSettings:
    for key, value in {**db_env, "NATS_URL": nats_url}.items():
        monkeypatch.setenv(key, value)
    return CostSettings()


@pytest.fixture
async def context(settings: CostSettings) -> AsyncIterator[Context[CostSettings]]:
    async with service.running("cost", settings, app) as running:
        yield running


def ask(run: str = "run_1", step: str = "s", attempt: int = 1, **more: Any) -> rpc.RouteRequest:
    base: dict[str, Any] = {
        "quality": "Bronze",
        "prompt_bytes": 968,
        "max_output_tokens": 1000,
        "providers": ("local",),
    }
    return rpc.RouteRequest(org=ORG, run=run, step=step, attempt=attempt, **{**base, **more})


EACH = 1000 * 50 + 1000 * 100  # nano-USD: 1,000 tokens in and 1,000 out of local/extractive-1


def completed(
    reply: rpc.RouteReply, cost: int, run: str = "run_1", step: str = "s", ok: bool = True
) -> events.StepCompleted:
    usage = events.LlmUsage(
        provider="local", model="extractive-1", prompt="p@1", input_tokens=10, output_tokens=5, cost_nano=cost,
        reservation=reply.reservation,
        attempts=(events.LlmAttempt(provider="local", model="extractive-1", ok=True, cost_nano=cost),),
    )  # fmt: skip
    return events.StepCompleted(org=ORG, run="run_1", ts=1_700_000_000_000, step=step, attempt=1, llm=usage)


async def publish(context: Context[CostSettings], event: events.Event, subject: str = "") -> int:
    key = subjects.key_of(event.org, event.run)
    ack = await context.log.append(Entry(subject or subjects.run_in(key), events.encode(event)))
    return ack.seq


async def budget(context: Context[CostSettings], name: str) -> rpc.Budget:
    return await call(context.nc, rpc.BUDGET_GET, rpc.GetBudgetRequest(org=ORG, id=name))


async def ledger(context: Context[CostSettings], run: str = "run_1") -> list[events.CostSettled]:
    stored = await context.log.read(subjects.cost_ledger(ORG, run), stream=subjects.COST_STREAM)
    found = [events.decode(message.data) for message in stored]
    return [event for event in found if isinstance(event, events.CostSettled)]


async def test_a_reservation_is_one_for_an_attempt_and_settles_once(context: Context[CostSettings]) -> None:
    made = await call(
        context.nc,
        rpc.BUDGET_CREATE,
        rpc.CreateBudgetRequest(org=ORG, limit_nano=10**9, period="monthly", name="team"),
    )
    assert made.period_start < made.created_at < made.period_end
    first, again = await asyncio.gather(*(call(context.nc, rpc.COST_ROUTE, ask()) for _ in range(2)))
    assert first == again
    assert first.reserved_nano == EACH
    assert [(c.provider, c.model) for c in first.candidates] == [("local", "extractive-1")]
    assert (await budget(context, "team")).reserved_nano == EACH

    seq = await publish(context, completed(first, 60_000))
    await until(lambda: _is(ledger(context), 1))
    after = await budget(context, made.id)
    assert (after.spent_nano, after.reserved_nano) == (60_000, 0)
    entry = (await ledger(context))[0]
    assert (entry.source_seq, entry.cost_nano, entry.reserved_nano, entry.step) == (seq, 60_000, EACH, "s")


async def _is(found: Awaitable[list[Any]], count: int) -> bool:
    return len(await found) == count


async def test_fifty_at_once_never_pass_a_limit(context: Context[CostSettings]) -> None:
    make = rpc.CreateBudgetRequest(org=ORG, limit_nano=20 * EACH + 7, period="daily", name="tight")
    await call(context.nc, rpc.BUDGET_CREATE, make)
    runs = [f"run_{n % 5}" for n in range(50)]
    asked = (
        call(context.nc, rpc.COST_ROUTE, ask(run, f"s{n}", run_budget_nano=6 * EACH)) for n, run in enumerate(runs)
    )
    replies = await asyncio.gather(*asked, return_exceptions=True)
    refused = [reply for reply in replies if isinstance(reply, BudgetExceededError)]
    assert len(refused) == 30 and len(replies) == 50
    assert (await budget(context, "tight")).reserved_nano == 20 * EACH
    by_org = [error for error in refused if "'tight'" in error.message]  # the others: their run's budget was used up
    assert by_org and by_org[-1].problems[0].fix
    with pytest.raises(BudgetExceededError, match="the budget of this run"):
        await call(context.nc, rpc.COST_ROUTE, ask("run_9", run_budget_nano=5))


async def test_the_end_of_a_run_gives_back_and_closes(context: Context[CostSettings]) -> None:
    await call(
        context.nc,
        rpc.BUDGET_CREATE,
        rpc.CreateBudgetRequest(org=ORG, limit_nano=10**9, period="total", name="t"),
    )
    await call(context.nc, rpc.COST_ROUTE, ask())
    end = events.RunCancelled(org=ORG, run="run_1", ts=1)
    await publish(context, end, subjects.out_run(subjects.key_of(ORG, "run_1")))

    async def freed() -> bool:
        return (await budget(context, "t")).reserved_nano == 0

    await until(freed)
    with pytest.raises(TerminalError) as caught:
        await call(context.nc, rpc.COST_ROUTE, ask(attempt=2))
    assert caught.value.kind == "run_ended"


async def test_a_crash_between_settling_and_the_ledger_settles_once(
    settings: CostSettings, db_env: dict[str, str]
) -> None:
    async with service.running("cost", settings, app) as context:
        make = rpc.CreateBudgetRequest(org=ORG, limit_nano=10**9, period="total", name="t")
        await call(context.nc, rpc.BUDGET_CREATE, make)
        reply = await call(context.nc, rpc.COST_ROUTE, ask())
        other = await call(context.nc, rpc.COST_ROUTE, ask(step="b"))
        await publish(context, completed(reply, 100))
        await publish(context, completed(other, 200, step="b"))
        await until(lambda: _is(ledger(context), 2))
        entries = await context.log.read("af.cost.>", stream=subjects.COST_STREAM)
    # as if the process had died before it wrote the second entry and the acknowledgements
    nc = await nats.connect(settings.nats_url)
    await nc.jsm().delete_consumer(subjects.EVENTS_STREAM, subjects.durable("cost", "settle"))
    await nc.jsm().delete_msg(subjects.COST_STREAM, entries[1].seq)
    await nc.close()
    connection = await asyncpg.connect(
        host=db_env["DB_HOST"], port=int(db_env["DB_PORT"]), user=db_env["DB_USER"],
        password=db_env["DB_PASSWORD"] or None, database=db_env["DB_NAME"],
    )  # fmt: skip
    await connection.execute("UPDATE cost.settled SET published = false")
    async with service.running("cost", settings, app) as context:
        third = await call(context.nc, rpc.COST_ROUTE, ask(step="c"))
        await publish(context, completed(third, 300, step="c"))

        async def settled() -> bool:
            return (await budget(context, "t")).spent_nano == 600

        await until(settled)
        await until(lambda: _all_published(connection))
        assert [entry.step for entry in await ledger(context)].count("s") == 1
        assert (await budget(context, "t")).reserved_nano == 0
    await connection.close()


async def _all_published(connection: Any) -> bool:
    return bool(await connection.fetchval("SELECT count(*) = 3 AND bool_and(published) FROM cost.settled"))


async def test_poison_is_buried_and_settlement_goes_on(context: Context[CostSettings]) -> None:
    reply = await call(context.nc, rpc.COST_ROUTE, ask())
    key = subjects.key_of(ORG, "run_1")
    await context.log.append(Entry(subjects.run_in(key), b'{"type":"step.completed","llm":{"broken"'))
    await publish(context, completed(reply, -5))
    nul = completed(reply, 5)
    await context.log.append(
        Entry(subjects.run_in(key), events.encode(nul).replace(b'"org":"acme"', b'"org":"a\\u0000"'))
    )
    await publish(context, completed(reply, 70))
    await until(lambda: _is(ledger(context), 1))

    async def all_taken() -> bool:  # the acknowledgement comes after the ledger's entry
        info = await context.nc.jsm().consumer_info(subjects.EVENTS_STREAM, subjects.durable("cost", "settle"))
        return bool(info.num_ack_pending == 0 and info.num_pending == 0)

    await until(all_taken)
    buried = await context.log.read("af.dead.cost.>", stream=subjects.DEAD_STREAM)
    assert len(buried) == 3


async def test_a_budget_of_a_workflow_covers_its_runs_alone(context: Context[CostSettings]) -> None:
    make = rpc.CreateBudgetRequest(org=ORG, limit_nano=EACH, period="weekly", scope="workflow:big", name="big")
    await call(context.nc, rpc.BUDGET_CREATE, make)
    for run, workflow in (("run_1", "big"), ("run_2", "small")):
        await publish(context, events.RunSubmitted(org=ORG, run=run, ts=1, workflow=workflow, version=1, definition={}))
        await call(context.nc, rpc.COST_ROUTE, ask(run))
    assert (await budget(context, "big")).reserved_nano == EACH
    with pytest.raises(BudgetExceededError, match="'big'"):
        await call(context.nc, rpc.COST_ROUTE, ask("run_1", "other"))
    await call(context.nc, rpc.COST_ROUTE, ask("run_2", "other"))


async def test_identical_calls_are_answered_from_the_orgs_own_cache(context: Context[CostSettings]) -> None:
    put = rpc.CachePutRequest(org=ORG, cache_key="k", value={"text": "earlier"}, ttl_s=60)
    await call(context.nc, rpc.COST_CACHE_PUT, put)
    hit = await call(context.nc, rpc.COST_ROUTE, ask(cache_key="k"))
    assert (hit.cached, hit.reservation, hit.candidates) == ({"text": "earlier"}, "", ())
    assert (await call(context.nc, rpc.COST_ROUTE, ask(cache_key="other"))).cached is None
    assert (await call(context.nc, rpc.COST_ROUTE, ask())).cached is None


async def test_budgets_are_named_once_and_listed(context: Context[CostSettings]) -> None:
    make = rpc.CreateBudgetRequest(org=ORG, limit_nano=5, period="monthly")
    made = await call(context.nc, rpc.BUDGET_CREATE, make)
    with pytest.raises(AlreadyExistsError):
        await call(context.nc, rpc.BUDGET_CREATE, make)
    listed = await call(context.nc, rpc.BUDGET_LIST, rpc.ListBudgetsRequest(org=ORG))
    assert [b.id for b in listed.budgets] == [made.id]
    with pytest.raises(NotFoundError):
        await call(context.nc, rpc.BUDGET_GET, rpc.GetBudgetRequest(org="other", id=made.id))


async def test_prices_of_real_models_load_when_first_asked_for(context: Context[CostSettings]) -> None:
    reply = await call(context.nc, rpc.COST_ROUTE, ask(providers=("local", "openai", "anthropic"), quality="Gold"))
    assert [c.provider for c in reply.candidates] == ["anthropic", "openai"]
    assert reply.reserved_nano == max(c.est_cost_nano for c in reply.candidates)
    assert all(c.est_cost_nano > 0 for c in reply.candidates)
