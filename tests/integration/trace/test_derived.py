"""The derived tables in a real ClickHouse are what a fold of the log gives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common import ids, rpc, subjects, tasks
from agentflow_common.connections import clickhouse
from agentflow_common.log.event_log import Entry, EventLog
from agentflow_common.log.streams import ensure_streams
from agentflow_common.runtime import service
from agentflow_trace import rebuild
from agentflow_trace.app import app
from agentflow_trace.derive import loop, store
from agentflow_trace.ingest import Ingest
from agentflow_trace.settings import TraceSettings
from tests.support import derived
from tests.support.derived import TS, a_run
from tests.support.waiting import PATIENCE_S, until

from .asking import ask

pytestmark = pytest.mark.integration


class World:
    """A log, and a trace service beside it."""

    def __init__(self, log: EventLog, settings: TraceSettings) -> None:
        self.log = log
        self.settings = settings

    async def publish(self, entries: list[Entry]) -> int:
        acks = [await (await self.log.publish(entry)) for entry in entries]
        return acks[-1].seq

    async def derived_to(self, seq: int) -> None:
        await derived.reached(self.log.nc, seq)

    async def check(self) -> derived.Tables:
        return await derived.check(self.settings, self.log)


@pytest.fixture
async def world(nats_url: str, tmp_path: Path) -> AsyncIterator[World]:
    nc = await service.connect(nats_url, "test")
    await ensure_streams(nc)
    settings = TraceSettings(
        nats_url=nats_url, clickhouse_path=str(tmp_path / "clickhouse"), retention_hours=0, trace_batch_age_ms=20
    )
    world = World(EventLog(nc), settings)
    await world.log.start()
    yield world
    await nc.close()


async def test_a_run_is_in_every_table(world: World) -> None:
    run = ids.new_run_id()
    entries = a_run(run, TS)
    async with service.running("trace", world.settings, app):
        for entry in entries[:-1]:  # one by one: each is a batch of its own
            await world.derived_to(await world.publish([entry]))
        late = ev.StepFailed(
            org="acme", run=run, ts=TS + 80, step="analyze[1]", attempt=1, error=ev.StepError("late", "x"),
            llm=ev.LlmUsage("openai", "m-1", "analyzer@3", 5, 0, 50),
        )  # fmt: skip
        last = await world.publish([entries[-1], Entry(subjects.run_in(subjects.key_of("acme", run)), ev.encode(late))])
        await world.derived_to(last)
    found = await world.check()
    (row,) = found.runs
    assert (row.run, row.workflow, row.version, row.status) == (run, "wf", 7, "failed")
    assert (row.submitted_at, row.started_at, row.finished_at, row.duration_ms) == (TS, TS + 1, TS + 70, 70)
    assert (row.cost_nano, row.input_tokens, row.output_tokens) == (4_250, 205, 30)
    assert (row.steps, row.attempts, row.failed_attempts, row.retries) == (4, 4, 2, 1)
    assert (row.tags, row.parent_run, row.parent_step, row.parent_attempt) == ({"team": "x"}, "run_p", "call", 2)
    assert (row.origin_kind, row.origin_run) == ("fork", "run_0")
    assert (list(row.providers), list(row.models)) == (["mistral", "openai"], ["m-2", "m-1"])
    assert (row.error_type, row.error, row.last_seq) == ("boom", "it broke", last)
    steps = {(one.step, one.attempt): one for one in found.steps}
    assert list(steps) == [("analyze", 0), ("analyze[0]", 1), ("analyze[0]", 2), ("analyze[1]", 1), ("read", 1)]
    failed, answered = steps["analyze[0]", 1], steps["analyze[0]", 2]
    assert (failed.node, failed.kind, failed.lane, failed.status) == ("analyze", "llm", "gpu", "failed")
    assert (failed.error_type, failed.error) == ("rate_limited", "a: b")
    assert (answered.wait_ms, answered.duration_ms, answered.provider, answered.prompt) == (
        5, 25.0, "mistral", "analyzer@3",
    )  # fmt: skip
    assert (steps["read", 1].kind, steps["analyze", 0].kind) == ("tool", "llm")
    calls = [
        (one.step, one.call, one.provider, one.ok, one.status, one.error_type, one.cost_nano) for one in found.calls
    ]
    assert calls == [
        ("analyze[0]", 1, "openai", False, 429, "rate_limited", 10),
        ("analyze[0]", 2, "mistral", True, 0, "", 4_190),
        ("analyze[1]", 1, "openai", False, 0, "late", 50),
    ]
    assert [(one.kind, one.cost_nano, one.workflow) for one in found.costs] == [
        ("step.completed", 4_200, "wf"), ("step.failed", 50, "wf"),
    ]  # fmt: skip


@pytest.mark.parametrize(("bulk", "queue"), [(10**9, 0), (5, 0), (10**9, 40_000)])
async def test_what_came_while_the_service_was_away_is_derived(
    world: World, monkeypatch: pytest.MonkeyPatch, bulk: int, queue: int
) -> None:
    """It is read from ClickHouse in the order of the log, or run by run, or comes from the ingestion."""
    monkeypatch.setattr(loop, "BULK_SEQS", bulk)
    monkeypatch.setattr(loop, "BULK_SEQS_MAX", 13)
    monkeypatch.setattr(loop, "QUEUE_ROWS_MAX", queue)
    monkeypatch.setattr(store, "PAGE_ROWS", 3)
    runs = [ids.new_run_id() for _ in range(4)]
    logs = [a_run(run, TS + number) for number, run in enumerate(runs)]
    mixed = [entry for entries in zip(*logs, strict=True) for entry in entries]
    for part in (mixed[:17], mixed[17:30], mixed[30:]):
        last = await world.publish(part)
        async with service.running("trace", world.settings, app):
            await world.derived_to(last)
        await world.check()


async def test_a_run_that_is_submitted_again_replaces_the_one_before(world: World) -> None:
    """Its old attempts are gone. What both have spent stays."""
    run = ids.run_id_for_key("acme", "key")
    async with service.running("trace", world.settings, app):
        await world.derived_to(await world.publish(a_run(run, TS, step="old")))
        await world.derived_to(await world.publish(a_run(run, TS + 1000, step="new", ended=False)))
    found = await world.check()
    assert [(row.run, row.submitted_at, row.status) for row in found.runs] == [(run, TS + 1000, "running")]
    assert {(row.step, row.submitted_at) for row in found.steps} == {
        (step, TS + 1000) for step in ("new", "analyze", "analyze[0]", "analyze[1]")
    }
    assert [cost.cost_nano for cost in found.costs] == [4_200, 4_200]


async def test_events_that_are_read_anew_are_derived_anew(world: World) -> None:
    last = await world.publish(a_run(ids.new_run_id(), TS))
    async with service.running("trace", world.settings, app):
        await world.derived_to(last)
    before = await world.check()
    await rebuild.rebuild(world.settings)
    async with service.running("trace", world.settings, app):
        await world.derived_to(last)
    assert await world.check() == before


async def test_a_rebuild_while_the_service_runs_gives_every_row_again(world: World) -> None:
    """It is asked twice, which is one rebuild, while events come in."""
    logs = [a_run(ids.new_run_id(), TS + number) for number in range(30)]
    last = await world.publish([entry for entries in logs for entry in entries])
    nc = world.log.nc
    async with service.running("trace", world.settings, app):
        await world.derived_to(last)
    before, events = await world.check(), await _events(world)
    async with service.running("trace", world.settings, app):
        await world.derived_to(last)
        first = await ask(nc, rpc.TRACE_REBUILD, rpc.Empty())
        assert (first.dropping, first.streams[0].last_seq) == (True, last)
        await ask(nc, rpc.TRACE_REBUILD, rpc.Empty())

        async def done() -> bool:
            reply = await ask(nc, rpc.TRACE_PROGRESS, rpc.Empty())
            there = all(part.ingested_seq == part.last_seq for part in reply.streams)
            return bool(there and reply.derived_seq == last and not reply.dropping)

        await until(done, PATIENCE_S, "the rebuild does not end")
    assert await world.check() == before
    assert await _events(world) == events
    more = await world.publish(a_run(ids.new_run_id(), TS + 99))
    async with service.running("trace", world.settings, app):
        await world.derived_to(more)
    assert len((await world.check()).runs) == 31


async def _events(world: World) -> list[tuple[Any, ...]]:
    client = clickhouse.ClickHouse(world.settings)
    await client.open()
    try:
        return await client.query("SELECT * FROM events ORDER BY stream, stream_seq, later DESC")
    finally:
        await client.close()


async def test_a_run_is_not_derived_without_events_that_clickhouse_lost(world: World) -> None:
    """They had been acknowledged. The rest of the run waits until they are there."""
    run = ids.new_run_id()
    last = await world.publish(a_run(run, TS))
    async with service.running("trace", world.settings, app):
        await world.derived_to(last)
    before = await world.check()
    client = clickhouse.ClickHouse(world.settings)
    await client.open()
    try:
        await client.command(f"ALTER TABLE events DELETE WHERE stream_seq > {last - 4} SETTINGS mutations_sync = 1")
        derive = loop.Derive(store.DeriveStore(client), _Ingested(last), lambda _part, _state: None)
        await derive.prepare()
        assert derive.derived == last - 4
        found = await derived.log_rows(world.log)
        derive.feed(found[-4:])
        going = asyncio.create_task(derive.run())
        await asyncio.sleep(1.0)
        assert (derive.derived, await derived.tables(client)) == (last - 4, before)
        await tasks.stop([going])
    finally:
        await client.close()
    async with service.running("trace", world.settings, app):
        await world.derived_to(await world.publish(a_run(ids.new_run_id(), TS + 1)))
    assert (await world.check()).runs[0] == before.runs[0]


class _Ingested(Ingest):
    """Says that ClickHouse has all events."""

    def __init__(self, seq: int) -> None:
        self.ingested = seq

    far_behind = False
