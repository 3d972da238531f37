"""Runs that new rows start: a real PostgreSQL, scheduler, gateway, worker and NATS; nobody runs the steps."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import msgspec
import pytest

from agentflow.v1 import schedule_pb2 as pb
from agentflow_common.errors import AgentFlowError
from agentflow_common.rpc import ReadRowsRequest
from agentflow_worker.settings import WorkerSettings
from agentflow_worker.sources import rows
from tests.support.engine import working
from tests.support.gateway_schedules import SchedulesUnderTest
from tests.support.row_sources import TABLE, dsn_of
from tests.support.waiting import until

pytestmark = pytest.mark.integration
INSERT = "INSERT INTO orders (customer) VALUES ($1)"


@pytest.fixture
async def dsn(db_env: dict[str, str]) -> str:
    found = dsn_of(db_env)
    connection = await asyncpg.connect(found)
    await connection.execute(TABLE)
    await connection.close()
    return found


@pytest.fixture
async def shop(dsn: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


def a_worker(nats_url: str, dsn: str) -> Any:
    return working(nats_url, trigger_databases={"shop": dsn}, pools=("nobody",))


async def watch(schedules: SchedulesUnderTest, **given: Any) -> None:
    told = {"database": "shop", "table": "orders", "notify": "orders", "every": "1s", **given}
    inputs = {"text": "{{trigger.payload.row.customer}}"}
    await schedules.create(cron=(), overlap="allow", trigger={"rows": told}, inputs=inputs)


async def looked(schedules: SchedulesUnderTest) -> Any:
    async def done() -> Any:
        found = (await schedules.get()).watch
        return found if found.looked_at else None

    return await until(done)


async def customers(schedules: SchedulesUnderTest, count: int) -> list[str]:
    """The customers of the rows that started runs, once there are so many."""
    state = await schedules.until(lambda state: state.number >= count)
    assert state.number == count and not state.skipped
    return [(await schedules.submitted(fire.child)).inputs.value["text"] for fire in state.recent]


async def test_each_new_row_is_one_run(schedules: SchedulesUnderTest, nats_url: str, dsn: str, shop: Any) -> None:
    await shop.execute(INSERT, "before")
    async with a_worker(nats_url, dsn):
        await watch(schedules, every="1h")  # only the notice wakes it in time
        await looked(schedules)
        await shop.execute(INSERT, "ann")
        assert await customers(schedules, 1) == ["ann"]
        async with shop.transaction():
            await shop.execute(INSERT, "bob")
            await shop.execute(INSERT, "cid")
        undone = shop.transaction()
        await undone.start()
        await shop.execute(INSERT, "nobody")
        await undone.rollback()
        assert await customers(schedules, 3) == ["ann", "bob", "cid"]
    await shop.execute(INSERT, "dan")  # nobody listens
    await shop.execute("UPDATE orders SET customer = 'Ann' WHERE customer = 'ann'")  # not a new row
    async with a_worker(nats_url, dsn):
        assert await customers(schedules, 4) == ["ann", "bob", "cid", "dan"]
        await shop.execute("UPDATE orders SET customer = 'Bob', txid = DEFAULT WHERE customer = 'bob'")
        assert await customers(schedules, 5) == ["ann", "bob", "cid", "dan", "Bob"]
    found = (await schedules.get()).watch
    assert (found.kind, found.taken, found.refused) == ("row", 5, 0)


async def test_what_commits_late_is_not_passed_over(
    schedules: SchedulesUnderTest, nats_url: str, dsn: str, shop: Any
) -> None:
    late = await asyncpg.connect(dsn)
    async with a_worker(nats_url, dsn):
        await watch(schedules, existing="take")
        await looked(schedules)
        drawn = await late.fetchval("SELECT nextval('orders_id_seq')")  # before it has a transaction id
        transaction = late.transaction()
        await transaction.start()
        await late.execute(INSERT, "late")
        await shop.execute(INSERT, "early")
        await asyncio.sleep(1.5)  # several looks, while the first transaction is open
        assert (await schedules.state()).number == 0
        await transaction.commit()
        assert await customers(schedules, 2) == ["late", "early"]
        await late.execute("INSERT INTO orders (id, customer) VALUES ($1, 'small number')", drawn)
        assert await customers(schedules, 3) == ["late", "early", "small number"]
    await late.close()


async def test_a_long_list_is_taken_in_pieces_one_row_once(
    schedules: SchedulesUnderTest, nats_url: str, dsn: str, shop: Any
) -> None:
    await shop.execute("INSERT INTO orders (customer) SELECT 'c' || n FROM generate_series(1, 130) AS n")
    async with a_worker(nats_url, dsn):
        await watch(schedules, existing="take")
        state = await schedules.until(lambda state: state.number == 130)
        assert not state.skipped
        await shop.execute(INSERT, "last")
        state = await schedules.until(lambda state: state.number == 131)
        run = await schedules.submitted(state.recent[-1].child)
        assert run.inputs.value["text"] == "last"


async def read_all(dsn: str, stop: asyncio.Event) -> list[str]:
    """What a reader finds while others write, and after that."""
    settings = WorkerSettings(trigger_databases={"shop": dsn})
    request = ReadRowsRequest(database="shop", table="orders", key="id", position="txid", after="1", limit=7)
    found: list[str] = []
    while True:
        over = stop.is_set()
        reply = await rows.read(request, settings)
        found += [row.key for row in reply.rows]
        if reply.rows:
            last = reply.rows[-1]
            request = ReadRowsRequest(
                database="shop", table="orders", key="id", position="txid", after=last.position, after_key=last.key,
                limit=7,
            )  # fmt: skip
        elif over:
            return found


async def test_no_row_is_passed_over_or_read_twice_while_many_write(dsn: str, shop: Any) -> None:
    stop = asyncio.Event()

    async def write(seed: int) -> None:
        chance = random.Random(seed)
        connection = await asyncpg.connect(dsn)
        for _ in range(12):
            transaction = connection.transaction()
            await transaction.start()
            for _ in range(chance.randrange(1, 4)):
                await connection.execute(INSERT, "x")
                await asyncio.sleep(chance.random() / 10)
            await (transaction.commit() if chance.random() < 0.8 else transaction.rollback())
        await connection.close()

    reader = asyncio.create_task(read_all(dsn, stop))
    await asyncio.gather(*(write(seed) for seed in range(6)))
    stop.set()
    found = await reader
    expected = [str(row["id"]) for row in await shop.fetch("SELECT id FROM orders ORDER BY txid, id")]
    assert found == expected and len(expected) > 60
    assert found != sorted(found, key=int), "the transactions did not commit in the order of their numbers"


@pytest.mark.parametrize(
    ("request_", "kind"),
    [
        ({"database": "other"}, "database_not_configured"),
        ({"table": "none"}, "table_not_found"),
        ({"table": "a.b.c"}, "invalid_argument"),
        ({"table": 'orders"; DROP TABLE orders; --'}, "table_not_found"),
        ({"key": "none"}, "column_not_found"),
        ({"position": "id"}, "position_not_xid8"),
        ({"after": "9000000000000"}, "position_lost"),
    ],
)
async def test_what_can_not_be_read_is_told(dsn: str, request_: dict[str, Any], kind: str) -> None:
    plain: dict[str, Any] = {"database": "shop", "table": "orders", "key": "id", "position": "txid"}
    with pytest.raises(AgentFlowError) as caught:
        await rows.read(ReadRowsRequest(**{**plain, **request_}), WorkerSettings(trigger_databases={"shop": dsn}))
    assert caught.value.kind == kind


async def test_who_may_not_read_is_told_without_the_address(dsn: str, shop: Any) -> None:
    request = ReadRowsRequest(database="shop", table="orders", key="id", position="txid", after="1")
    role = f"reader_{time.monotonic_ns()}"
    await shop.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'secret-7'")
    try:
        head, _, tail = dsn.partition("@")
        del head
        settings = WorkerSettings(trigger_databases={"shop": f"postgresql://{role}:secret-7@{tail}"})
        with pytest.raises(AgentFlowError) as caught:
            await rows.read(request, settings)
        assert caught.value.kind == "rows_denied" and "secret-7" not in caught.value.message
    finally:
        await shop.execute(f"DROP ROLE {role}")
    away = WorkerSettings(trigger_databases={"shop": "postgresql://u:secret-7@127.0.0.1:1/x"})
    with pytest.raises(AgentFlowError) as caught:
        await rows.read(request, away)
    assert caught.value.kind == "rows_unavailable" and "secret-7" not in caught.value.message
    assert "secret-7" not in repr(away)


async def test_names_are_quoted_and_large_rows_are_left_out(dsn: str, shop: Any) -> None:
    await shop.execute(
        'CREATE SCHEMA "Odd one"; CREATE TABLE "Odd one"."Or""ders" '
        '("The key" uuid DEFAULT gen_random_uuid(), data text, txid xid8 NOT NULL DEFAULT pg_current_xact_id())'
    )
    await shop.execute('INSERT INTO "Odd one"."Or""ders" (data) VALUES (\'small\'), (repeat(\'x\', 300000))')
    request = ReadRowsRequest(
        database="shop", table='Odd one.Or"ders', key="The key", position="txid", after="1"
    )  # fmt: skip
    reply = await rows.read(request, WorkerSettings(trigger_databases={"shop": dsn}))
    assert sorted((row.row or {}).get("data", "too large") for row in reply.rows) == ["small", "too large"]


ODD = ['{"n": 1e400}', '{"n": %s}' % ("9" * 5_000), "[" * 61 + "]" * 61, "[" * 3_000 + "]" * 3_000, '"\\ud83d"']


async def test_a_row_that_the_log_can_not_hold_keeps_no_other_back(
    schedules: SchedulesUnderTest, nats_url: str, dsn: str, shop: Any
) -> None:
    await shop.execute("ALTER TABLE orders ADD COLUMN more json, ADD COLUMN amount numeric")
    for text in ODD:
        await shop.execute("INSERT INTO orders (customer, more) VALUES ('odd', $1)", text)
    deep = "[" * 50 + "]" * 50
    await shop.execute("INSERT INTO orders (customer, amount) VALUES ('odd', '1e4000'), ('nan', 'NaN')")
    await shop.execute("INSERT INTO orders (customer, more) VALUES ('deep', $1)", deep)
    await shop.execute("INSERT INTO orders (customer, more) VALUES ('nul', $1)", '{"a": "\\u0000"}')
    request = ReadRowsRequest(database="shop", table="orders", key="id", position="txid", after="1")
    found = (await rows.read(request, WorkerSettings(trigger_databases={"shop": dsn}))).rows
    assert [(row.row or {}).get("customer") for row in found] == [None] * (len(ODD) + 1) + ["nan", "deep", "nul"]
    inputs = {"text": "{{trigger.payload.key}} {{trigger.payload.row.customer}}"}
    rows_ = {"database": "shop", "table": "orders", "every": "1s", "existing": "take"}
    async with a_worker(nats_url, dsn):
        await schedules.create(cron=(), overlap="allow", trigger={"rows": rows_}, inputs=inputs)
        taken = await customers(schedules, len(found))
    assert taken == [f"{row.key} {(row.row or {}).get('customer') or 'null'}" for row in found]


async def test_a_row_without_a_key_is_told_and_never_passed_over(dsn: str, shop: Any) -> None:
    await shop.execute("CREATE TABLE loose (id int, txid xid8 NOT NULL DEFAULT pg_current_xact_id())")
    await shop.execute("INSERT INTO loose VALUES (1), (2), (NULL)")
    async with refused_after_two(dsn, "loose", "key_is_null", "name the primary key in `key`, or correct the row"):
        await shop.execute("UPDATE loose SET id = 3 WHERE id IS NULL")


async def test_a_row_without_a_position_is_told_and_keeps_no_other_back(dsn: str, shop: Any) -> None:
    await shop.execute("CREATE TABLE late (id int PRIMARY KEY, txid xid8 DEFAULT pg_current_xact_id())")
    await shop.execute("INSERT INTO late VALUES (1), (2); INSERT INTO late VALUES (3, NULL)")
    text = "the column 'txid' of the table 'late' is null in a row"
    async with refused_after_two(dsn, "late", "position_is_null", text):
        await shop.execute("UPDATE late SET txid = DEFAULT WHERE txid IS NULL")


@contextlib.asynccontextmanager
async def refused_after_two(dsn: str, table: str, kind: str, text: str) -> AsyncIterator[None]:
    """Reads rows 1 and 2, then the error about row 3, and row 3 itself once the block has corrected it."""
    settings = WorkerSettings(trigger_databases={"shop": dsn})
    request = ReadRowsRequest(database="shop", table=table, key="id", position="txid", after="1")
    found = (await rows.read(request, settings)).rows
    assert [row.key for row in found] == ["1", "2"]
    request = msgspec.structs.replace(request, after=found[-1].position, after_key="2")
    with pytest.raises(AgentFlowError, match=text) as caught:
        await rows.read(request, settings)
    assert caught.value.kind == kind
    yield
    assert [row.key for row in (await rows.read(request, settings)).rows] == ["3"]


async def test_a_schedule_shows_that_a_row_has_no_position(
    schedules: SchedulesUnderTest, nats_url: str, dsn: str, shop: Any
) -> None:
    await shop.execute("CREATE TABLE late (id int PRIMARY KEY, customer text, txid xid8 DEFAULT pg_current_xact_id())")
    await shop.execute("INSERT INTO late VALUES (1, 'ana', NULL)")

    async def told() -> Any:
        found = (await schedules.get()).watch
        return found if found.error.type else None

    async with a_worker(nats_url, dsn):
        await watch(schedules, table="late")
        found = await until(told)
        assert (found.error.type, "give the row a value" in found.error.message) == ("position_is_null", True)
        await shop.execute("INSERT INTO late VALUES (2, 'bo')")
        assert await customers(schedules, 1) == ["bo"]


async def test_columns_may_have_the_names_that_the_query_uses(dsn: str, shop: Any) -> None:
    await shop.execute(
        "CREATE TABLE names (key text PRIMARY KEY, position xid8 NOT NULL DEFAULT pg_current_xact_id(), t text, "
        "data json, found int, id bytea)"
    )
    await shop.execute("INSERT INTO names (key, t, data, found) VALUES ('a', 'plain', '[1]', 3)")
    request = ReadRowsRequest(database="shop", table="names", key="key", position="position", after="1")
    (row,) = (await rows.read(request, WorkerSettings(trigger_databases={"shop": dsn}))).rows
    assert row.row == {"key": "a", "position": row.position, "t": "plain", "data": [1], "found": 3, "id": None}


async def test_an_address_that_is_none_is_told(dsn: str) -> None:
    request = ReadRowsRequest(database="shop", table="orders", key="id", position="txid", after="1")
    with pytest.raises(AgentFlowError, match="write postgresql://USER:PASSWORD@HOST/NAME") as caught:
        await rows.read(request, WorkerSettings(trigger_databases={"shop": "not an address"}))
    assert caught.value.kind == "database_refused"


async def test_an_update_of_the_definition_begins_anew_elsewhere(
    schedules: SchedulesUnderTest, nats_url: str, dsn: str, shop: Any
) -> None:
    await shop.execute("CREATE TABLE others (LIKE orders INCLUDING ALL)")
    async with a_worker(nats_url, dsn):
        await watch(schedules)
        await looked(schedules)
        await shop.execute("INSERT INTO others (customer) VALUES ('old')")
        spec = {
            "name": "nightly", "workflow": "report", "overlap": "allow",
            "inputs": {"text": "{{trigger.payload.row.customer}}"},
            "trigger": {"rows": {"database": "shop", "table": "others", "every": "1s", "existing": "take"}},
        }  # fmt: skip
        source = pb.ScheduleSource(text=json.dumps(spec))
        await schedules.call("UpdateSchedule", pb.UpdateScheduleRequest(source=source))
        assert await customers(schedules, 1) == ["old"]
