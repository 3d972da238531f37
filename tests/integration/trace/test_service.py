"""The trace service on a real nats-server and a real ClickHouse (chDB): exactly once, whatever is killed."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import random
import sys
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from agentflow_common import events as ev
from agentflow_common import ids, rpc, subjects
from agentflow_common.connections import clickhouse
from agentflow_common.errors import DeadlineError, InvalidError, NotFoundError, RetryableError
from agentflow_common.log.event_log import Ack, Entry, EventLog
from agentflow_common.log.streams import ensure_streams
from agentflow_common.runtime import service
from agentflow_trace import rebuild, rows
from agentflow_trace.app import app
from agentflow_trace.settings import TraceSettings
from agentflow_trace.store import Store
from tests.support import derived, servers
from tests.support.waiting import PATIENCE_S, until

from .asking import ask

pytestmark = pytest.mark.integration
TS = 1_763_700_000_000
ALL = 10**9  # a decision that had seen every fact before it
TRACE = "00-" + "a1" * 16 + "-" + "b2" * 8 + "-01"
USAGE = ev.LlmUsage("openai", "m-1", "analyzer@3", 120, 30, 4_200)


class World:
    """A connection, a log, and runs written into it."""

    def __init__(self, nc: Client, settings: TraceSettings) -> None:
        self.nc = nc
        self.settings = settings
        self.log = EventLog(nc)

    async def publish(self, entries: list[Entry]) -> int:
        """Appends in order; returns the last sequence."""
        acks: list[Ack] = []
        for start in range(0, len(entries), 500):
            futures = [await self.log.publish(entry) for entry in entries[start : start + 500]]
            acks += await asyncio.gather(*futures)
        return acks[-1].seq

    async def ask(self, verb: rpc.Verb[Any], request: Any) -> Any:
        return await ask(self.nc, verb, request)

    async def counts(self, stream: str = subjects.EVENTS_STREAM) -> rpc.TraceCountsReply:
        reply: rpc.TraceCountsReply = await self.ask(rpc.TRACE_COUNTS, rpc.TraceCountsRequest(stream))
        return reply


@pytest.fixture
async def world(nats_url: str, tmp_path: Path) -> AsyncIterator[World]:
    nc = await service.connect(nats_url, "test")
    await ensure_streams(nc)
    settings = TraceSettings(nats_url=nats_url, clickhouse_path=str(tmp_path / "clickhouse"))
    world = World(nc, settings)
    await world.log.start()
    yield world
    await nc.close()


def _schedule(key: subjects.EntityKey, timer: str, fired: ev.TimerFired, seconds: float) -> Entry:
    at = datetime.datetime.fromtimestamp(time.time() + seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    headers = {"Nats-Schedule": f"@at {at}", "Nats-Schedule-Target": subjects.run_in(key)}
    return Entry(subjects.timer(key, timer), ev.encode(fired), headers=headers)


def _run(org: str, run: str, ts: int, workflow: str = "wf", *, ended: bool = True) -> list[Entry]:
    """The log of one run: two steps, the second one retried once, 12 messages with a claim and a timer."""
    key = subjects.key_of(org, run)
    own: dict[str, Any] = {"org": org, "run": run, "trace": TRACE}

    def fact(event: ev.Event) -> Entry:
        return Entry(subjects.run_in(key), ev.encode(event))

    def offered(step: str, attempt: int, at: int) -> Entry:
        event = ev.StepScheduled(
            **own, ts=at, seen=ALL, step=step, attempt=attempt, lane="default", kind="llm", config={}
        )
        return Entry(subjects.out_task(key, "default"), ev.encode(event))

    fired = ev.TimerFired(**own, ts=ts, timer="deadline", kind="deadline")
    entries = [
        fact(ev.RunSubmitted(**own, ts=ts, workflow=workflow, version=1, definition={}, redactions={"IBAN_CODE": 1})),
        Entry(
            subjects.out_run(key),
            ev.encode(ev.RunStarted(**own, ts=ts + 1, workflow=workflow, version=1, steps=2)),
        ),
        _schedule(key, "deadline", fired, 3600),
        offered("read", 1, ts + 2),
        Entry(
            subjects.claim(key, "read", 1),
            ev.encode(ev.ClaimTaken(**own, ts=ts + 3, step="read", attempt=1, worker="w1")),
        ),
        fact(ev.StepStarted(**own, ts=ts + 4, step="read", attempt=1, worker="w1")),
        fact(ev.StepCompleted(**own, ts=ts + 9, step="read", attempt=1, worker="w1", started_at=ts + 4, duration_ms=5)),
        offered("analyze", 1, ts + 10),
        fact(ev.StepFailed(**own, ts=ts + 20, step="analyze", attempt=1, error=ev.StepError("rate_limited", "wait"))),
        offered("analyze", 2, ts + 30),
        fact(
            ev.StepCompleted(
                **own, ts=ts + 60, step="analyze", attempt=2, started_at=ts + 35, llm=USAGE, redactions={"IBAN_CODE": 2}
            )
        ),
    ]  # fmt: skip
    if ended:
        event = ev.RunCompleted(**own, ts=ts + 70, seen=ALL, cost_nano=4_200, duration_ms=70)
        entries.append(Entry(subjects.out_run(key), ev.encode(event)))
    return entries


async def test_a_run_is_told_with_its_steps_cost_and_ledgers_to_its_org_alone(world: World) -> None:
    run, other = ids.new_run_id(), ids.new_run_id()
    await world.publish(_run("beta", other, TS, "elsewhere"))
    last = await world.publish(_run("acme", run, TS + 1000))
    settled = ev.CostSettled(
        org="acme", run=run, ts=TS, step="analyze", attempt=2, reservation="r", provider="openai", model="m-1",
        input_tokens=120, output_tokens=30, cost_nano=4_200, reserved_nano=9_000, source_seq=last,
    )  # fmt: skip
    audited = ev.AuditRecorded(org="acme", run=run, ts=TS, action="protect", actor="worker", counts={"IBAN_CODE": 2})
    await world.publish([Entry(subjects.cost_ledger("acme", run), ev.encode(settled))])
    await world.publish([Entry(subjects.audit("acme", run), ev.encode(audited))])
    async with service.running("trace", world.settings, app) as context:
        trace = await world.ask(rpc.TRACE_GET, rpc.TraceRequest("acme", run, last))
        assert (trace.workflow, trace.status, trace.trace_id) == ("wf", "completed", "a1" * 16)
        assert (trace.started_at, trace.finished_at) == (TS + 1000, TS + 1070)
        assert (trace.cost_nano, trace.input_tokens, trace.output_tokens) == (4_200, 120, 30)
        assert trace.redactions == {"IBAN_CODE": 3}
        steps = [(step.step, step.attempt, step.status, step.wait_ms, step.cost_nano) for step in trace.steps]
        assert steps == [
            ("read", 1, "completed", 2, 0),
            ("analyze", 1, "failed", 10, 0),
            ("analyze", 2, "completed", 5, 4200),
        ]
        assert (trace.steps[1].error, trace.steps[2].provider) == ("rate_limited: wait", "openai")
        events = [event for event in trace.events if event.stream == subjects.EVENTS_STREAM]
        assert [event.seq for event in events] == list(range(last - 11, last + 1))
        assert {"timer.schedule", "claim.taken"} <= {event.type for event in events}
        assert ev.decode(events[0].body.encode()).run == run

        for stream in (subjects.COST_STREAM, subjects.AUDIT_STREAM):
            await until(partial(_rows, world, stream))
        trace = await world.ask(rpc.TRACE_GET, rpc.TraceRequest("acme", run))
        assert [event.type for event in trace.events][-2:] == ["audit.recorded", "cost.settled"]
        assert trace.cost_nano == 4_200

        for org, unknown in (("beta", run), ("acme", other), ("acme", "run_none"), ("acme' OR 1=1 --", run)):
            with pytest.raises(NotFoundError):
                await world.ask(rpc.TRACE_GET, rpc.TraceRequest(org, unknown))
        assert context.health.ready


async def _rows(world: World, stream: str) -> int:
    return (await world.counts(stream)).rows


async def test_runs_are_found_by_time_provider_workflow_and_status(world: World) -> None:
    done, running, pending = ids.new_run_id(), ids.new_run_id(), ids.new_run_id()
    await world.publish(_run("acme", done, TS))
    await world.publish(_run("acme", running, TS + 1000, "other", ended=False))
    last = await world.publish(_run("acme", pending, TS + 2000)[:1])
    async with service.running("trace", world.settings, app):
        await world.ask(rpc.TRACE_GET, rpc.TraceRequest("acme", pending, last))

        async def found(org: str = "acme", **filters: Any) -> list[str]:
            reply = await world.ask(rpc.TRACE_QUERY, rpc.TraceQueryRequest(org, **filters))
            return [summary.run for summary in reply.traces]

        assert await found() == [pending, running, done]
        assert await found(limit=1) == [pending]
        assert await found("beta") == []
        assert await found(provider="openai") == [running, done]
        assert await found(provider="nobody' OR '1'='1") == []
        assert await found(workflow="other") == [running]
        assert await found(start_ms=TS + 1, end_ms=TS + 1500) == [running]
        assert [await found(status=name) for name in ("completed", "running", "pending")] == [
            [done],
            [running],
            [pending],
        ]
        assert await found(status="failed") == await found(status="waiting") == []
        assert await found(status="completed", provider="openai", workflow="wf") == [done]
        (first,) = (await world.ask(rpc.TRACE_QUERY, rpc.TraceQueryRequest("acme", status="completed"))).traces
        assert (first.run, first.workflow, first.status, first.started_at) == (done, "wf", "completed", TS)
        assert (first.duration_ms, first.cost_nano, first.steps, first.org) == (70, 4_200, 2, "acme")
        for wrong in ({"status": "finished"}, {"start_ms": 2, "end_ms": 1}):
            with pytest.raises(InvalidError):
                await found(**wrong)
        with pytest.raises(InvalidError):
            await world.counts("AF_NONE")


async def test_removed_schedules_unreadable_messages_and_deliveries_again_leave_no_gap(world: World) -> None:
    run = ids.new_run_id()
    key = subjects.key_of("acme", run)
    fired = ev.TimerFired(org="acme", run=run, ts=TS, timer="t", kind="retry", step="a", attempt=1)
    await world.publish(_run("acme", run, TS))
    await world.publish([_schedule(key, f"gone{number}", fired, 3600) for number in range(5)])
    await world.nc.jsm().purge_stream(subjects.EVENTS_STREAM, subject=subjects.run_timers(key))  # also `deadline`
    await world.publish([Entry(subjects.run_in(key), bad) for bad in (b"", b"\xff\xfe", b'{"type":1}', b"[]")])
    end = await world.publish([Entry(subjects.out_step(key), b'{"ts":1}')])
    async with service.running("trace", world.settings, app):
        await world.ask(rpc.TRACE_GET, rpc.TraceRequest("acme", run, end))
        last = await world.publish([_schedule(key, "late", fired, 3600)])
        trace = await world.ask(rpc.TRACE_GET, rpc.TraceRequest("acme", run, last))
        types = [event.type for event in trace.events]
        assert types.count(rows.UNDECODABLE) == 5
        assert types.count(rows.SCHEDULE) == 1
        counts = await world.counts()
        assert (counts.first_seq, counts.last_seq, counts.removed) == (1, last, 6)
        # a schedule comes due: its message is removed, the fact gets a sequence of its own
        last = await world.publish([_schedule(key, "soon", fired, 0.2)])
        await until(lambda: _is_past(world, last))
        trace = await world.ask(rpc.TRACE_GET, rpc.TraceRequest("acme", run, last + 1))
        assert [event.type for event in trace.events][-1] == "timer.fired"
        # a schedule purged at the very end of the log keeps nobody waiting
        end = await world.publish([_schedule(key, "end", fired, 3600)])
        await world.nc.jsm().purge_stream(subjects.EVENTS_STREAM, subject=subjects.run_timers(key))
        await world.ask(rpc.TRACE_GET, rpc.TraceRequest("acme", run, end))
        counts = await world.counts()
        assert counts.rows == counts.distinct == counts.last_seq


async def _is_past(world: World, seq: int) -> bool:
    return await world.log.last_seq() > seq


@contextlib.asynccontextmanager
async def _process(world: World, tmp_path: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = {**os.environ, "NATS_URL": world.settings.nats_url, "TRACE_BATCH_ROWS": "150"}
    environment["CLICKHOUSE_PATH"] = world.settings.clickhouse_path
    with (tmp_path / "trace.log").open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "agentflow_trace", env=environment, stdout=output, stderr=output
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


@pytest.mark.fault
async def test_killed_again_and_again_it_holds_every_message_once(world: World, tmp_path: Path) -> None:
    entries = [entry for number in range(450) for entry in _run("acme", f"run_{number:05d}", TS + number)]
    assert len(entries) > 5_000
    chance = random.Random(7)
    writing = asyncio.create_task(world.publish(entries[:3_000]))
    held: list[int] = []
    for _ in range(3):
        async with _process(world, tmp_path) as process:
            held.append((await world.counts()).rows)  # as soon as the process answers
            await asyncio.sleep(chance.uniform(0, 0.03))  # in the midst of the inserts
            process.kill()
            await process.wait()
    await writing
    last = await world.publish(entries[3_000:])
    async with _process(world, tmp_path):
        await world.ask(rpc.TRACE_GET, rpc.TraceRequest("acme", "run_00449", last))
        counts = await world.counts()
        assert (counts.rows, counts.distinct, counts.first_seq, counts.last_seq) == (last, last, 1, last)
        assert counts.removed == 0
        assert held == sorted(held)
        await derived.reached(world.nc, last)
    assert not list(Path(world.settings.clickhouse_path).glob("agentflow-inserts/*")), "what the killed ones left"
    await derived.check(world.settings, world.log)


async def test_dropped_rebuilt_or_damaged_rows_come_back_from_the_log(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = await world.publish([entry for number in range(40) for entry in _run("acme", f"run_{number}", TS)])

    async def whole() -> rpc.TraceReply:
        async with service.running("trace", world.settings, app):
            trace = await world.ask(rpc.TRACE_GET, rpc.TraceRequest("acme", "run_39", last))
            counts = await world.counts()
            assert (counts.rows, counts.distinct, counts.last_seq, counts.removed) == (last, last, last, 0)
            assert isinstance(trace, rpc.TraceReply)
            return trace

    before = await whole()
    monkeypatch.setattr(rebuild, "OPEN_S_MAX", 0.1)
    blocked = tmp_path / "a file"
    blocked.touch()
    with pytest.raises(RetryableError, match="can't be opened"):
        await rebuild.rebuild(world.settings.model_copy(update={"clickhouse_path": str(blocked)}))
    await rebuild.rebuild(world.settings)
    assert await whole() == before

    client = clickhouse.ClickHouse(world.settings)
    await client.open()
    await client.command("ALTER TABLE events DELETE WHERE stream_seq = 17 SETTINGS mutations_sync = 2")
    assert not (await Store(client).position(subjects.EVENTS_STREAM)).whole
    await client.close()
    assert await whole() == before

    client = clickhouse.ClickHouse(world.settings)
    await client.open()
    await Store(client).set_identity(subjects.EVENTS_STREAM, "another log")
    await client.close()
    assert await whole() == before

    client = clickhouse.ClickHouse(world.settings)
    await client.open()
    newest = {"seq": last}
    await client.command(
        "ALTER TABLE events UPDATE body = 'x' WHERE stream_seq = {seq:UInt64} SETTINGS mutations_sync = 2", newest
    )
    await client.close()
    assert await whole() == before


async def test_a_failing_clickhouse_is_outlived(world: World) -> None:
    await world.publish(_run("acme", "run_1", TS))
    async with service.running("trace", world.settings, app) as context:
        again = clickhouse.ClickHouse(world.settings)
        await again.open()
        await again.command("RENAME TABLE events TO hidden")
        last = await world.publish(_run("acme", "run_2", TS))
        async with asyncio.timeout(PATIENCE_S):
            while context.health.body()["status"] == "ready":
                await asyncio.sleep(0.02)
        await again.command("RENAME TABLE hidden TO events")
        await again.close()
        await world.ask(rpc.TRACE_GET, rpc.TraceRequest("acme", "run_2", last))
        await until(lambda: context.health.body()["status"] == "ready")
        counts = await world.counts()
        assert (counts.rows, counts.distinct, counts.last_seq) == (last, last, last)


@pytest.mark.slow
@pytest.mark.fault
async def test_a_killed_log_server_is_followed_again(world: World, nats_server: servers.NatsLike) -> None:
    await world.publish(_run("acme", "run_1", TS))
    async with service.running("trace", world.settings, app):
        await world.counts()
        nats_server.kill()
        nats_server.start()
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(RetryableError, DeadlineError):
                    last = await world.publish(_run("acme", "run_3", TS))
                    await world.ask(rpc.TRACE_GET, rpc.TraceRequest("acme", "run_3", last))
                    break
                await asyncio.sleep(0.1)
        counts = await world.counts()
        assert (counts.rows, counts.distinct, counts.last_seq) == (last, last, last)


async def test_a_long_stretch_of_removed_messages_is_filled_across_partitions(world: World) -> None:
    client = clickhouse.ClickHouse(world.settings)
    await client.open()
    folder = Path(rows.__file__).parents[2] / "migrations"
    assert await clickhouse.migrate(client, folder) == [file.name for file in sorted(folder.glob("*.sql"))]
    assert await clickhouse.migrate(client, folder) == []
    store = Store(client)
    edge = rows.PARTITION_ROWS
    await store.insert([rows.of("AF_EVENTS", "af.evt.1.o.r.in", b"x", edge - 2_001, TS)], 0)
    await store.fill("AF_EVENTS", edge - 2_000, edge + 2_000, TS)
    await store.insert([rows.removed("AF_COST", 5, TS)], 0)
    assert await store.position("AF_EVENTS") == (4_002, edge - 2_001, edge + 2_000)
    await store.drop_stream("AF_EVENTS")
    assert (await store.position("AF_EVENTS")).rows == 0
    assert await store.position("AF_COST") == (1, 5, 5)
    await client.close()


async def test_an_insert_of_many_blocks_is_one_part(world: World) -> None:
    client = clickhouse.ClickHouse(world.settings)
    await client.open()
    await clickhouse.migrate(client, Path(rows.__file__).parents[2] / "migrations")
    body = os.urandom(1500).hex().encode()
    batch = [rows.of("AF_EVENTS", "af.evt.1.o.r.in", body, seq, TS) for seq in range(1, 5_001)]
    await Store(client).insert(batch, 0)  # 15 MB: the driver sends it as several blocks
    parts = await client.query("SELECT count(), sum(rows) FROM system.parts WHERE table = 'events' AND active")
    assert parts == [(1, 5_000)]
    await client.close()
