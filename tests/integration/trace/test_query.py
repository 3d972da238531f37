"""Queries find exactly the runs that match, in order, page by page, in a real ClickHouse."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import msgspec
import pytest

import agentflow_trace
from agentflow_common import package_files
from agentflow_common.connections.clickhouse import ClickHouse, migrate
from agentflow_common.errors import InvalidError
from agentflow_common.rpc import TraceQueryRequest
from agentflow_common.settings import ClickHouseSettings
from agentflow_trace.derive.store import DeriveStore
from agentflow_trace.derive.tables import Derived
from agentflow_trace.query.store import QueryStore
from agentflow_trace.store import Store
from tests.support import found_runs

pytestmark = pytest.mark.integration
RUNS = 300
QUESTIONS = 400


@pytest.fixture
async def clickhouse(tmp_path: Path) -> AsyncIterator[ClickHouse]:
    client = ClickHouse(ClickHouseSettings(clickhouse_path=str(tmp_path / "clickhouse")))
    await client.open()
    await migrate(client, package_files.find(agentflow_trace.__file__, "migrations"))
    yield client
    await client.close()


async def _all_pages(store: QueryStore, ask: TraceQueryRequest) -> list[str]:
    runs: list[str] = []
    while True:
        reply = await store.find(ask, ask.limit)
        assert len(reply.traces) <= ask.limit
        runs += [trace.run for trace in reply.traces]
        if not reply.after_run:
            return runs
        ask = msgspec.structs.replace(ask, after_value=reply.after_value, after_run=reply.after_run)


async def test_a_query_finds_what_its_filters_say(clickhouse: ClickHouse) -> None:
    rng = Random(11)
    planted = [found_runs.planted(rng, number) for number in range(RUNS)]
    older = [item.run._replace(status="pending", models=(), last_seq=0) for item in planted]  # what a row was before
    steps = [step for item in planted for step in item.steps]
    derive = DeriveStore(clickhouse)
    await derive.write(Derived(older, [], [], []))
    await derive.write(Derived([item.run for item in planted], steps, [], []))
    await Store(clickhouse).insert(found_runs.events(planted), 0)
    store, some = QueryStore(clickhouse), 0
    for _ in range(QUESTIONS):
        ask = found_runs.question(rng)
        expected = found_runs.matching(planted, ask)
        assert await _all_pages(store, ask) == expected, ask
        some += bool(expected)
    assert some > QUESTIONS / 4


async def test_a_run_is_found_with_what_it_used(clickhouse: ClickHouse) -> None:
    item = found_runs.planted(Random(4), 1)
    row = item.run._replace(
        org="acme",
        error_type="timeout",
        error="no result in time",
        models=("m-1", "m-2"),
        attempts=3,
        failed_attempts=1,
    )
    await DeriveStore(clickhouse).write(Derived([row], [], [], []))
    (found,) = (await QueryStore(clickhouse).find(TraceQueryRequest("acme"), 10)).traces
    assert (found.run, found.org, found.tags, found.models) == (row.run, "acme", row.tags, ("m-1", "m-2"))
    assert (found.error, found.attempts, found.failed_attempts) == ("timeout: no result in time", 3, 1)
    assert found.input_tokens == row.input_tokens and found.version == row.version


@pytest.mark.parametrize(("text", "fix"), [("!? ...", "letters or digits"), (" ".join("abcdefghijkl"), "at most 10")])
async def test_a_text_that_can_not_be_searched_is_refused(clickhouse: ClickHouse, text: str, fix: str) -> None:
    with pytest.raises(InvalidError) as refused:
        await QueryStore(clickhouse).find(TraceQueryRequest("acme", text=text), 10)
    assert fix in str(refused.value.problems)
