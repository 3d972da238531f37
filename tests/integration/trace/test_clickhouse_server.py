"""The trace service on a ClickHouse server over HTTP: the answers of the embedded engine, and nothing twice."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from agentflow_common import events as ev
from agentflow_common import rpc, subjects
from agentflow_common.connections import clickhouse
from agentflow_common.errors import RetryableError
from agentflow_common.log.event_log import Entry, EventLog
from agentflow_common.log.streams import ensure_streams
from agentflow_common.runtime import service
from agentflow_common.settings import ClickHouseSettings
from agentflow_trace import rows
from agentflow_trace.app import app
from agentflow_trace.settings import TraceSettings
from agentflow_trace.store import Store
from tests.support.clickhouse_server import ClickHouseServer
from tests.support.tls_front import Authority, plain_front, server_context
from tests.support.waiting import PATIENCE_S

from .asking import ask

pytestmark = pytest.mark.integration
TS = 1_763_700_000_000
MIGRATIONS = Path(rows.__file__).parents[2] / "migrations"
PASSWORD = "-".join(("only", "a", "test"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ClickHouseServer]:
    with ClickHouseServer(tmp_path / "server", PASSWORD) as server:
        yield server


@pytest.fixture
async def nc(nats_url: str) -> AsyncIterator[Client]:
    nc = await service.connect(nats_url, "test")
    await ensure_streams(nc)
    yield nc
    await nc.close()


def _settings(nats_url: str, port: int, **more: Any) -> TraceSettings:
    there = {"clickhouse_host": "localhost", "clickhouse_port": port, "clickhouse_password": PASSWORD}
    return TraceSettings.model_validate({"nats_url": nats_url, **there, **more})


async def _publish(nc: Client, runs: range) -> int:
    """Appends runs of four events. Returns the last sequence."""
    log = EventLog(nc)
    await log.start()
    futures = []
    for number in runs:
        key = subjects.key_of("acme", f"run_{number}")
        own: dict[str, Any] = {"org": "acme", "run": f"run_{number}", "ts": TS + number}
        usage = ev.LlmUsage("openai", "m-1", "", 10, 5, 700)
        entries = [
            Entry(subjects.run_in(key), ev.encode(ev.RunSubmitted(**own, workflow="wf", version=1, definition={}))),
            Entry(subjects.out_run(key), ev.encode(ev.RunStarted(**own, workflow="wf", version=1, steps=1))),
            Entry(subjects.run_in(key), ev.encode(ev.StepCompleted(**own, step="a", attempt=1, llm=usage))),
            Entry(subjects.out_run(key), ev.encode(ev.RunCompleted(**own, cost_nano=700, duration_ms=7))),
        ]
        futures += [await log.publish(entry) for entry in entries]
    return (await asyncio.gather(*futures))[-1].seq


async def _counts(nc: Client) -> rpc.TraceCountsReply:
    reply: rpc.TraceCountsReply = await ask(nc, rpc.TRACE_COUNTS, rpc.TraceCountsRequest(subjects.EVENTS_STREAM))
    return reply


async def _answers(nc: Client, last: int) -> list[Any]:
    trace = await ask(nc, rpc.TRACE_GET, rpc.TraceRequest("acme", "run_3", last))
    listed = await ask(nc, rpc.TRACE_QUERY, rpc.TraceQueryRequest("acme", provider="openai", status="completed"))
    counts = await _counts(nc)
    return [trace, listed, (counts.rows, counts.distinct, counts.first_seq, counts.last_seq, counts.removed)]


async def test_a_server_behind_tls_gives_the_answers_of_the_embedded_engine(
    nats_url: str, nc: Client, server: ClickHouseServer, tmp_path: Path
) -> None:
    last = await _publish(nc, range(30))
    authority = Authority(tmp_path / "authority")

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", server.port)

    async with plain_front(server_context(authority.issue("clickhouse", "localhost")), connect) as port:
        settings = _settings(nats_url, port, clickhouse_secure=True, clickhouse_ca_cert=authority.ca)
        async with service.running("trace", settings, app):
            from_server = await _answers(nc, last)
    embedded = TraceSettings(nats_url=nats_url, clickhouse_path=str(tmp_path / "embedded"))
    async with service.running("trace", embedded, app):
        assert await _answers(nc, last) == from_server
    assert from_server[2] == (last, last, 1, last, 0)
    assert len(from_server[1].traces) == 30


async def test_a_wrong_password_is_said(nats_url: str, server: ClickHouseServer) -> None:
    client = clickhouse.ClickHouse(_settings(nats_url, server.port, clickhouse_password="wrong"))
    with pytest.raises(RetryableError, match="user and password"):
        await client.open(timeout_s=1)
    await client.close()
    client = clickhouse.ClickHouse(_settings(nats_url, server.port))
    await client.open(timeout_s=PATIENCE_S)
    assert await client.query("SELECT 1") == [(1,)]
    await client.close()


async def test_a_server_that_was_gone_gets_all_that_came_meanwhile(
    nats_url: str, nc: Client, server: ClickHouseServer
) -> None:
    await _publish(nc, range(10))
    async with service.running("trace", _settings(nats_url, server.port), app) as context:
        await _counts(nc)
        server.kill()
        last = await _publish(nc, range(10, 60))
        async with asyncio.timeout(PATIENCE_S):
            while context.health.ready:
                await asyncio.sleep(0.05)
        server.start()
        await ask(nc, rpc.TRACE_GET, rpc.TraceRequest("acme", "run_59", last))
        counts = await _counts(nc)
        assert (counts.rows, counts.distinct, counts.first_seq, counts.last_seq) == (last, last, 1, last)
        async with asyncio.timeout(PATIENCE_S):
            while not context.health.ready:
                await asyncio.sleep(0.05)


class Cutting:
    """A front that passes requests on. While `cutting`, it closes the connection instead of answering an insert."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.cutting = False
        self.cuts = 0
        self._tasks: set[asyncio.Task[Any]] = set()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.sleep(0)  # what was aborted closes its socket in the next turn of the loop

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        insert = False

        async def forth() -> None:
            nonlocal insert
            while data := await reader.read(65536):
                if data.startswith((b"POST", b"GET")):
                    insert = b"INSERT" in data.partition(b"\r\n\r\n")[0] and b"events" in data
                far_writer.write(data)

        async def back() -> None:
            while data := await far_reader.read(65536):
                if insert and self.cutting:
                    self.cuts += 1
                    break
                writer.write(data)

        going = asyncio.create_task(forth())
        try:
            with contextlib.suppress(OSError):
                await back()
        finally:
            going.cancel()
            await asyncio.gather(going, return_exceptions=True)
            writer.transport.abort()
            far_writer.transport.abort()


async def test_an_insert_whose_answer_is_lost_is_there_once(
    nats_url: str, nc: Client, server: ClickHouseServer
) -> None:
    front = Cutting(server.port)
    async with front.serving() as port, service.running("trace", _settings(nats_url, port), app):
        await _counts(nc)
        front.cutting = True
        last = await _publish(nc, range(20))
        async with asyncio.timeout(PATIENCE_S):
            while front.cuts < 2:
                await asyncio.sleep(0.05)
                last = await _publish(nc, range(100, 101))
        front.cutting = False
        await ask(nc, rpc.TRACE_GET, rpc.TraceRequest("acme", "run_19", last))
        counts = await _counts(nc)
        assert (counts.rows, counts.distinct, counts.last_seq) == (last, last, last)


def _rows(first: int, last: int) -> list[rows.Row]:
    return [rows.of("AF_EVENTS", "af.evt.1.o.r.in", b"x", seq, TS) for seq in range(first, last + 1)]


async def _two_writers(first: clickhouse.ClickHouse, second: clickhouse.ClickHouse) -> None:
    one, two = Store(first), Store(second)
    await one.insert(_rows(1, 3), 0)
    with pytest.raises(Exception, match="another writer") as caught:  # it begins late, with other borders
        await two.insert(_rows(1, 2), 0)
    assert clickhouse.refused(caught.value)
    with pytest.raises(Exception, match="another writer"):
        await two.insert(_rows(3, 5), 2)
    await two.insert(_rows(4, 5), 3)
    with pytest.raises(Exception, match="another writer"):  # the first one does not know of the second
        await one.insert(_rows(4, 9), 3)
    assert await one.position("AF_EVENTS") == (5, 1, 5)


async def test_a_writer_that_was_replaced_writes_nothing(nats_url: str, server: ClickHouseServer) -> None:
    clients = [clickhouse.ClickHouse(_settings(nats_url, server.port)) for _ in range(2)]
    for client in clients:
        await client.open(PATIENCE_S)
        await clickhouse.migrate(client, MIGRATIONS)
    await _two_writers(*clients)
    for client in clients:
        await client.close()


async def test_of_two_inserts_at_once_one_takes_effect(tmp_path: Path) -> None:
    """Two connections to one engine, whose inserts do run at the same time."""
    settings = ClickHouseSettings(clickhouse_path=str(tmp_path / "clickhouse"))
    clients = [clickhouse.ClickHouse(settings) for _ in range(2)]
    for client in clients:
        await client.open(PATIENCE_S)
        await clickhouse.migrate(client, MIGRATIONS)
    stores = [Store(client) for client in clients]
    after, both = 0, 0
    for number in range(40):
        ends = (after + 50 + number % 2, after + 51 - number % 2)
        done = await asyncio.gather(
            *(store.insert(_rows(after + 1, end), after) for store, end in zip(stores, ends, strict=True)),
            return_exceptions=True,
        )
        assert all(one is None or clickhouse.refused(one) for one in done), done
        both += done == [None, None]  # both passed the condition, and one of them did nothing
        count, _, after = await stores[0].position("AF_EVENTS")
        assert count == after
    assert both, "no two inserts ran at the same time"
    await clients[0].query("SELECT 1")
    for client in clients:
        await client.close()


async def test_rows_that_clickhouse_lost_after_their_acknowledgement_are_written_again(
    nats_url: str, nc: Client, tmp_path: Path
) -> None:
    """ClickHouse remembers the token of an insert whose rows are gone, as after a loss of power."""
    settings = TraceSettings(nats_url=nats_url, clickhouse_path=str(tmp_path / "clickhouse"))
    async with service.running("trace", settings, app):
        last = await _publish(nc, range(5))
        await ask(nc, rpc.TRACE_GET, rpc.TraceRequest("acme", "run_4", last))
        client = clickhouse.ClickHouse(settings)
        await client.open()
        await client.command("ALTER TABLE events DELETE WHERE stream = 'AF_EVENTS' SETTINGS mutations_sync = 2")
        await client.close()
        last = await _publish(nc, range(5, 9))
        await ask(nc, rpc.TRACE_GET, rpc.TraceRequest("acme", "run_8", last))
        counts = await _counts(nc)
        assert (counts.rows, counts.distinct, counts.last_seq) == (last, last, last)
