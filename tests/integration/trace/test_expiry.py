"""What is old leaves ClickHouse by itself, if the settings say so."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agentflow_common import package_files
from agentflow_common.connections.clickhouse import ClickHouse, migrate
from agentflow_trace import app, rows
from agentflow_trace.derive.fold import fold
from agentflow_trace.derive.store import TABLES, DeriveStore
from agentflow_trace.derive.store_expiry import ExpiryStore
from agentflow_trace.rows import Row
from agentflow_trace.settings import TraceSettings
from agentflow_trace.store import Store
from tests.support.derived import a_run
from tests.support.waiting import PATIENCE_S, until

pytestmark = pytest.mark.integration


def _rows(run: str, at: int, first: int) -> list[Row]:
    return [rows.of("AF_EVENTS", entry.subject, entry.data, seq, at) for seq, entry in enumerate(a_run(run, at), first)]


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[ClickHouse]:
    client = ClickHouse(TraceSettings(clickhouse_path=str(tmp_path)))
    await client.open()
    await migrate(client, package_files.find(app.__file__, "migrations"))
    yield client
    await client.close()


async def test_old_bodies_and_derived_rows_expire_and_new_ones_stay(client: ClickHouse) -> None:
    now = round(time.time() * 1000)
    old = _rows("run_old", now - 10 * 86_400_000, 1)
    new = _rows("run_new", now, 1 + len(old))
    store, derive, expiry = Store(client), DeriveStore(client), ExpiryStore(client)
    await store.insert([*old, *new], 0)
    await derive.write(fold([*old, *new]))

    async def left() -> list[int]:
        counts = await client.query("SELECT countIf(body != ''), count() FROM events")
        tables = [await client.query(f"SELECT count() FROM {table}") for table in TABLES]
        return [*counts[0], *(found[0][0] for found in tables)]

    whole = await left()
    await expiry.apply(0, 0)
    assert await left() == whole

    async def half() -> bool:
        count, rows_left, *derived = await left()
        return count == len(new) and rows_left == len(old) + len(new) and derived == [n // 2 for n in whole[2:]]

    await expiry.apply(9, 8)
    await until(half, PATIENCE_S, "nothing expires")
    assert await store.body_at("AF_EVENTS", 1) is None
    assert await store.body_at("AF_EVENTS", 1 + len(old)) == new[0].body
    await expiry.apply(9, 8)
    changes = await client.query("SELECT count() FROM system.mutations WHERE NOT is_done")
    assert changes == [(0,)], "nothing is set again"
    await expiry.apply(0, 0)
    queries = await client.query("SELECT create_table_query FROM system.tables WHERE database = currentDatabase()")
    assert not [sql for (sql,) in queries if "toIntervalDay" in sql]
