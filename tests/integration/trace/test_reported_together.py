"""Steps that were reported in one event, through a real nats-server and a real ClickHouse (chDB)."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agentflow_common import rpc, subjects
from agentflow_common.connections import clickhouse
from agentflow_common.log.event_log import Entry, EventLog
from agentflow_common.log.streams import ensure_streams
from agentflow_common.runs.fold import RunFold, readable
from agentflow_common.runtime import service
from agentflow_scheduler.replay.state_hash import state_hash
from agentflow_trace import rebuild
from agentflow_trace.app import app
from agentflow_trace.settings import TraceSettings
from agentflow_trace.store import Store
from agentflow_trace.store_archive import ArchiveStore, Purged
from tests.support import reported_together
from tests.support.waiting import PATIENCE_S, until

from .asking import ask

pytestmark = pytest.mark.integration
ROWS = 8  # of the run's six messages: the report of three steps has three


class World:
    """A log, and a trace service whose inserts are smaller than the rows of one message."""

    def __init__(self, log: EventLog, folder: Path) -> None:
        self.log = log
        url = f"nats://{log.nc.connected_url.netloc}" if log.nc.connected_url else ""
        self.settings = TraceSettings(
            nats_url=url, clickhouse_path=str(folder), retention_hours=0, retention_min_s=0, retention_sweep_s=0.05,
            trace_batch_rows=2,
        )  # fmt: skip

    async def publish(self, entries: list[Entry]) -> int:
        return [(await self.log.append(entry)).seq for entry in entries][-1]

    async def trace(self, run: str, seq: int = 0) -> rpc.TraceReply:
        reply: rpc.TraceReply = await ask(self.log.nc, rpc.TRACE_GET, rpc.TraceRequest("acme", run, seq))
        return reply

    async def counts(self) -> rpc.TraceCountsReply:
        reply: rpc.TraceCountsReply = await ask(self.log.nc, rpc.TRACE_COUNTS, rpc.TraceCountsRequest())
        return reply

    async def archived(self, run: str) -> list[rpc.ArchivedEvent]:
        page = await ask(self.log.nc, rpc.ARCHIVED, rpc.ArchiveRequest("acme", run))
        return list(page.events)

    async def gone(self, run: str) -> bool:
        return not await self.log.read(subjects.run_all(subjects.key_of("acme", run)))


@pytest.fixture
async def world(nats_url: str, tmp_path: Path) -> AsyncIterator[World]:
    nc = await service.connect(nats_url, "test")
    await ensure_streams(nc)
    log = EventLog(nc)
    await log.start()
    yield World(log, tmp_path / "clickhouse")
    await nc.close()


def told(reply: rpc.TraceReply) -> dict[str, Any]:
    """What a trace says beside the name of the run and the places of its events in the log."""
    events = [msgspec.structs.replace(event, seq=0, part=0, body="") for event in reply.events]
    bodies = [{**msgspec.json.decode(event.body), "run": ""} for event in reply.events]
    return {**msgspec.to_builtins(reply), "run": "", "events": (events, bodies)}


async def test_each_step_is_traced_as_if_it_had_been_reported_by_itself(world: World) -> None:
    first = await world.publish(reported_together.messages("acme", "run_t")) - 5
    last = await world.publish(reported_together.messages("acme", "run_s", singly=True))
    async with service.running("trace", world.settings, app):
        together, singly = await world.trace("run_t", last), await world.trace("run_s", last)
        assert told(together) == told(singly)
        assert [(step.step, step.status) for step in together.steps] == [
            (name, "completed") for name in reported_together.NAMES
        ]
        assert together.redactions == {"PHONE_NUMBER": 3}
        where = [(event.seq - first, event.part) for event in together.events]
        assert where == [(0, 0), (1, 0), (2, 0), (3, 0), (3, 1), (3, 2), (4, 0), (5, 0)]
        assert [event.part for event in singly.events] == [0] * ROWS
        found = await ask(world.log.nc, rpc.TRACE_QUERY, rpc.TraceQueryRequest("acme"))
        assert sorted((summary.run, summary.steps) for summary in found.traces) == [("run_s", 4), ("run_t", 4)]
        counts = await world.counts()
        assert counts.rows == counts.distinct == counts.last_seq == last


async def test_the_rows_of_a_message_are_inserted_together_and_once(world: World) -> None:
    async with service.running("trace", world.settings, app):
        client = clickhouse.ClickHouse(world.settings)
        await client.open()
        await world.counts()
        await client.command("SYSTEM STOP MERGES events")
        for number in range(3):
            last = await world.publish(reported_together.messages("acme", f"run_{number}"))
            await world.trace(f"run_{number}", last)
        parts = await client.query("SELECT uniqExact(_part) FROM events GROUP BY stream_seq")
        assert [int(count) for (count,) in parts] == [1] * last
        assert (await client.query("SELECT uniqExact(_part) > 6 FROM events"))[0][0], "an insert has few rows"
        await client.close()
    async with service.running("trace", world.settings, app):  # goes on after the newest one
        last = await world.publish(reported_together.messages("acme", "run_3"))
        await world.trace("run_3", last)
        client = clickhouse.ClickHouse(world.settings)
        await client.open()
        rows = await client.query("SELECT count(), uniqExact((stream_seq, later)) FROM events")
        assert [int(count) for count in rows[0]] == [4 * ROWS, 4 * ROWS]
        counts = await world.counts()
        assert counts.rows == counts.distinct == counts.last_seq == last
        await client.close()


async def test_what_counts_messages_counts_this_one_once(world: World) -> None:
    entries = reported_together.messages("acme", "run_t")
    last = await world.publish(entries)
    async with service.running("trace", world.settings, app):
        await world.trace("run_t", last)
    client = clickhouse.ClickHouse(world.settings)
    await client.open()
    store, archive = Store(client), ArchiveStore(client)
    held = await store.position(subjects.EVENTS_STREAM)
    assert (held, held.whole) == ((last, 1, last), True), "so a start does not read everything again"
    assert await store.body_at(subjects.EVENTS_STREAM, 4) == entries[3].data.decode()
    log = await store.identity(subjects.EVENTS_STREAM)
    (ended,) = await archive.details(log, [("acme", "run_t", last)])
    assert (ended.rows, ended.newest_seq) == (len(entries), last)
    await archive.note(log, [Purged("acme", "run_t", 3, 3, 3, True)])
    assert await archive.late(log, 2**42, 0, 10) == [("acme", "run_t", last, len(entries) - 3)]
    await client.close()


async def test_a_message_without_its_own_row_is_read_again(world: World) -> None:
    """A part of its rows says nothing about the message: the position would pass over the rest."""
    last = await world.publish(reported_together.messages("acme", "run_t")[:4])
    async with service.running("trace", world.settings, app):
        before = await world.trace("run_t", last)
    client = clickhouse.ClickHouse(world.settings)
    await client.open()
    await client.command(
        "ALTER TABLE events DELETE WHERE later = 0 AND stream_seq = {seq:UInt64} SETTINGS mutations_sync = 2",
        {"seq": last},
    )
    await client.close()
    async with service.running("trace", world.settings, app):
        assert await world.trace("run_t", last) == before


async def test_the_archive_has_the_message_once_and_comes_back_whole(world: World) -> None:
    entries = reported_together.messages("acme", "run_t")
    last = await world.publish(entries)
    log = RunFold()
    for number, entry in enumerate(entries, 1):
        event = readable(entry.subject, entry.data)
        assert event is not None
        log.add(event, number)
    state = log.finish()
    assert state is not None and state.steps["clean"].output is not None

    async def whole() -> rpc.TraceReply:
        archived = await world.archived("run_t")
        assert [(event.seq, event.body.encode()) for event in archived] == [
            (number, entry.data) for number, entry in enumerate(entries, 1)
        ]
        fold = RunFold()
        for item in archived:
            event = readable(item.subject, item.body.encode())
            assert event is not None
            fold.add(event, item.seq)
        found = fold.finish()
        assert found is not None and state_hash(found) == state_hash(state)
        return await world.trace("run_t")

    async with service.running("trace", world.settings, app):
        before = await world.trace("run_t", last)
        await ask(world.log.nc, rpc.RETENTION_SET, rpc.SetRetentionRequest(keep_ms=1, by="test"))
        await until(lambda: world.gone("run_t"), 2 * PATIENCE_S)
        assert await whole() == before
    await rebuild.rebuild(world.settings)
    end = await world.publish(reported_together.messages("acme", "run_end")[:1])
    async with service.running("trace", world.settings, app):
        await world.trace("run_end", end)
        assert await whole() == before
        counts = await world.counts()
        assert (counts.rows, counts.distinct, counts.last_seq, counts.removed) == (end, end, end, 0)


async def test_a_rebuild_keeps_what_an_earlier_version_has_purged(world: World, tmp_path: Path) -> None:
    """It has written its tables without the columns of later versions."""
    shipped = Path(rebuild.__file__).parents[2] / "migrations"
    earlier = tmp_path / "migrations"
    earlier.mkdir()
    for file in shipped.glob("*.sql"):
        if file.name <= "0003_finish_reason.sql":
            shutil.copy(file, earlier)
    client = clickhouse.ClickHouse(world.settings)
    await client.open()
    await clickhouse.migrate(client, earlier)
    columns = {"stream": "String", "stream_seq": "UInt64", "org": "String", "run": "String", "type": "String"}
    await client.insert("events", columns, [["AF_EVENTS"], [7], ["acme"], ["run_old"], ["run.submitted"]])
    await ArchiveStore(client).note("log", [Purged("acme", "run_old", 7, 7, 1, True)])
    await client.close()
    await rebuild.rebuild(world.settings)
    client = clickhouse.ClickHouse(world.settings)
    await client.open()
    assert await client.query("SELECT log, run, stream_seq, later FROM archive") == [("log", "run_old", 7, 0)]
    await client.close()
