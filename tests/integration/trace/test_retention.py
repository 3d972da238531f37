"""Finished runs leave the log once the archive holds them, on a real nats-server, scheduler, worker and ClickHouse."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from agentflow_common import events as ev
from agentflow_common import rpc, subjects
from agentflow_common.errors import InvalidError, NotFoundError
from agentflow_common.log.event_log import Entry, EventLog, Fence
from agentflow_common.runs.fold import RunFold, fold, readable
from agentflow_common.runs.state import RunState
from agentflow_common.runtime import service
from agentflow_scheduler.replay.state_hash import state_hash
from agentflow_trace import rebuild, retention, rows
from agentflow_trace.app import app
from agentflow_trace.settings import TraceSettings
from tests.support.engine import EngineUnderTest, scheduling, working
from tests.support.paths import GOLDEN
from tests.support.waiting import PATIENCE_S, until

from .asking import ask

pytestmark = pytest.mark.integration
TS = 1_763_700_000_000
ALL = 10**9  # a decision that had seen every fact before it


class World:
    """A connection, and what is asked of the trace service. Its retention is a second, its sweeps are constant."""

    def __init__(self, nc: Client, folder: Path) -> None:
        self.nc = nc
        self.log = EventLog(nc)
        self.folder = folder
        url = f"nats://{nc.connected_url.netloc}" if nc.connected_url else ""
        self.settings = TraceSettings(
            nats_url=url, clickhouse_path=str(folder), retention_hours=0, retention_min_s=0, retention_sweep_s=0.05
        )

    async def ask(self, verb: rpc.Verb[Any], request: Any) -> Any:
        return await ask(self.nc, verb, request)

    async def keep(self, ms: int) -> rpc.RetentionReply:
        request = rpc.SetRetentionRequest(keep_ms=ms, by="test")
        reply: rpc.RetentionReply = await self.ask(rpc.RETENTION_SET, request)
        return reply

    async def report(self) -> rpc.RetentionReply:
        reply: rpc.RetentionReply = await self.ask(rpc.RETENTION_GET, rpc.Empty())
        return reply

    async def held(self, key: subjects.EntityKey) -> int:
        return len(await self.log.read(subjects.run_all(key)))

    async def gone(self, key: subjects.EntityKey) -> None:
        async with asyncio.timeout(2 * PATIENCE_S):
            while await self.held(key):
                await asyncio.sleep(0.02)

    async def archived(self, key: subjects.EntityKey) -> RunState | None:
        """The state that the archive's events fold to."""
        run, after = RunFold(), 0
        while True:
            request = rpc.ArchiveRequest(org=key.org, run=key.name, after_seq=after)
            page = await self.ask(rpc.ARCHIVED, request)
            for event in page.events:
                read = readable(event.subject, event.body.encode())
                if read is not None:
                    run.add(read, event.seq)
                after = event.seq
            if not page.more:
                return run.finish()

    async def folded(self, key: subjects.EntityKey) -> RunState:
        """The state that the log folds to."""
        read = [(s.seq, readable(s.subject, s.data)) for s in await self.log.read(subjects.run_all(key))]
        state = fold((seq, event) for seq, event in read if event is not None)
        assert state is not None
        return state

    async def whole(self) -> rpc.TraceCountsReply:
        """The counts, once ClickHouse has caught up; they are contiguous at any time."""
        last = await self.log.last_seq()
        async with asyncio.timeout(2 * PATIENCE_S):
            while True:
                counts = await self.ask(rpc.TRACE_COUNTS, rpc.TraceCountsRequest())
                assert counts.rows == counts.distinct == counts.last_seq - counts.first_seq + 1 or not counts.rows
                if counts.last_seq == last:
                    assert isinstance(counts, rpc.TraceCountsReply)
                    return counts
                await asyncio.sleep(0.05)


@pytest.fixture
async def world(nats_url: str, tmp_path: Path) -> AsyncIterator[World]:
    nc = await service.connect(nats_url, "test")
    from agentflow_common.log.streams import ensure_streams

    await ensure_streams(nc)
    world = World(nc, tmp_path / "clickhouse")
    await world.log.start()
    yield world
    await nc.close()


def _messages(key: subjects.EntityKey, ts: int, *, ended: bool = True) -> list[Entry]:
    own: dict[str, Any] = {"org": key.org, "run": key.name}
    task = ev.StepScheduled(**own, ts=ts, seen=ALL, step="a", attempt=1, lane="default", kind="function", config={})
    entries: list[tuple[str, ev.Event]] = [
        (subjects.run_in(key), ev.RunSubmitted(**own, ts=ts, workflow="wf", version=1, definition={})),
        (subjects.out_run(key), ev.RunStarted(**own, ts=ts, seen=ALL, workflow="wf", version=1, steps=1)),
        (subjects.out_task(key, "default"), task),
        (subjects.run_in(key), ev.StepCompleted(**own, ts=ts, step="a", attempt=1, output=ev.Payload({"at": ts}))),
        (subjects.out_run(key), ev.RunCompleted(**own, ts=ts, seen=ALL)),
    ]
    return [Entry(subject, ev.encode(event)) for subject, event in entries[: None if ended else -1]]


async def _write(world: World, entries: list[Entry]) -> int:
    acks = [await future for future in [await world.log.publish(entry) for entry in entries]]
    return acks[-1].seq


async def test_a_real_run_is_the_same_in_the_archive_as_it_was_in_the_log(world: World) -> None:
    text = (
        "name: w\ndag:\n  nodes:\n"
        "    - {id: n, type: function, config: {function_name: t.numbers, inputs: {width: 3}}}\n"
        "    - {id: p, type: function, config: {function_name: t.add, parallel: true, for_each: a, "
        "inputs: {a: n.output, b: 1}}}\n"
        "    - {id: f, type: function, config: {function_name: t.flaky, inputs: {failures: 1}}, "
        "policy: {retry: {max_attempts: 3, initial_ms: 20}}}\n"
        "    - {id: big, type: function, config: {function_name: t.big, inputs: {size: 30000}}}\n"
        "  edges: [{from: n, to: p}]\n"
    )
    url = world.settings.nats_url
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(scheduling(url))
        await stack.enter_async_context(working(url))
        await stack.enter_async_context(service.running("trace", world.settings, app))
        engine = EngineUnderTest(world.nc, world.log)
        key = await engine.submit(text)
        open_key = await engine.submit("name: o\ndag:\n  nodes:\n    - {id: s, type: function, config: "
                                       "{function_name: t.sleep, inputs: {seconds: 600}}}\n  edges: []\n")  # fmt: skip
        await engine.finished(key)
        await engine.until(open_key, ev.StepScheduled)
        before = await world.folded(key)
        assert before.status == "completed"
        trace = await world.ask(rpc.TRACE_GET, rpc.TraceRequest(key.org, key.name, await world.log.last_seq()))
        open_messages = await world.held(open_key)
        stream_before = (await world.report()).log_messages
        reply = await world.keep(1)
        assert (reply.keep_ms, reply.set_by) == (1, "test")
        await world.gone(key)
        await until(lambda: _is(world, archived_runs=1))
        after = await world.archived(key)
        assert after is not None and state_hash(after) == state_hash(before)
        assert await world.held(open_key) >= open_messages, "a run that is not over stays"
        assert (await world.report()).log_messages < stream_before
        again = await world.ask(rpc.TRACE_GET, rpc.TraceRequest(key.org, key.name))
        assert (again.steps, again.status, len(again.events)) == (trace.steps, trace.status, len(trace.events))
        with_it = await world.ask(rpc.TRACE_QUERY, rpc.TraceQueryRequest(key.org))
        assert {summary.run for summary in with_it.traces} == {key.name, open_key.name}
        assert await world.archived(subjects.key_of("beta", key.name)) is None, "another org's"

        # late words do not bring it back, and stop nobody
        late = ev.StepCompleted(org=key.org, run=key.name, ts=TS, step="n", attempt=1)
        fired = ev.TimerFired(org=key.org, run=key.name, ts=TS, timer="deadline", kind="deadline")
        for event in (late, fired):
            await world.log.append(Entry(subjects.run_in(key), ev.encode(event)))
        next_key = await engine.submit(text)
        assert (await engine.finished(next_key)).status == "completed"
        await world.gone(key)
        await world.gone(next_key)
        assert not await world.log.read(subjects.out_run(key)), "nothing was decided about the run that was purged"
        await world.whole()


async def _is(world: World, because: str = "", **fields: Any) -> bool:
    report = await world.report()
    return because in report.waiting_for and all(getattr(report, name) == value for name, value in fields.items())


async def test_what_is_not_safe_to_purge_stays_and_is_told(world: World) -> None:
    """A consumer that has not seen it, a snapshot that calls it unfinished, a word since: each holds a run back."""
    from agentflow_scheduler.shards.snapshots import save_snapshot

    slow, snapped, spoken, free, running = (subjects.key_of("acme", f"run_{name}") for name in "abcde")
    jsm, js = world.nc.jsm(), world.nc.jetstream()
    from nats.js import api

    for key in (snapped, spoken, free):
        await _write(world, _messages(key, TS))
    await _write(world, _messages(running, TS, ended=False))
    state = RunState(org="acme", run=snapped.name)
    snapshots = await js.object_store(subjects.SNAPSHOT_BUCKET)
    await save_snapshot(snapshots, snapped.shard, 1, [state])
    async with service.running("trace", world.settings, app):
        assert (await world.report()).keep_ms == 0
        with pytest.raises(InvalidError):
            await world.keep(-1)
        await world.keep(1)
        await world.gone(free)
        await world.gone(spoken)
        await until(lambda: _is(world, "snapshot", archived_runs=2, waiting_runs=1))
        assert await world.held(snapped) == 5 and await world.held(running) == 4
        await save_snapshot(snapshots, snapped.shard, 100, [])
        await world.gone(snapped)

        config = api.ConsumerConfig(durable_name="AF_COST_settle", filter_subject=subjects.ALL_INS,
                                    ack_policy=api.AckPolicy.EXPLICIT)  # fmt: skip
        await jsm.add_consumer(subjects.EVENTS_STREAM, config)
        lane = api.ConsumerConfig(
            durable_name=subjects.pool_durable("default"),
            filter_subject=subjects.pool_tasks("default"),
            ack_policy=api.AckPolicy.EXPLICIT,
        )
        await jsm.add_consumer(subjects.EVENTS_STREAM, lane)
        await _write(world, _messages(slow, TS))
        await until(lambda: _is(world, "consumer", archived_runs=3, waiting_runs=1))
        assert await world.held(slow) == 5
        sub = await js.pull_subscribe_bind(durable="AF_COST_settle", stream=subjects.EVENTS_STREAM)
        for message in await sub.fetch(100, timeout=5):
            await message.ack_sync()
        await world.gone(slow)
        await until(lambda: _is(world, archived_runs=4, waiting_runs=0))
        await world.keep(0)
        await _write(world, _messages(free, TS))
        await world.whole()
        swept = (await world.report()).swept_at
        await until(lambda: _swept_after(world, swept))
        assert await world.held(free) == 5, "0: forever"


async def _swept_after(world: World, moment: int) -> bool:
    return (await world.report()).swept_at > moment


async def test_an_old_key_begins_a_new_run_that_is_told_apart(world: World) -> None:
    key = subjects.key_of("acme", "run_kept")
    async with service.running("trace", world.settings, app):
        await _write(world, _messages(key, TS))
        await world.keep(1)
        await world.gone(key)
        await until(lambda: _is(world, archived_runs=1))
        first = _messages(key, TS + 7)
        await world.log.append(Entry(first[0].subject, first[0].data, fence=Fence(0)))
        await _write(world, first[1:])
        await world.gone(key)
        await until(lambda: _is(world, archived_runs=2))
        state = await world.archived(key)
        assert state is not None and state.submitted_at == TS + 7
        assert state.steps["a"].output == ev.Payload({"at": TS + 7})
        (summary,) = (await world.ask(rpc.TRACE_QUERY, rpc.TraceQueryRequest("acme"))).traces
        assert (summary.started_at, summary.steps) == (TS + 7, 1)
        assert len((await world.ask(rpc.TRACE_GET, rpc.TraceRequest("acme", key.name))).events) == 5


async def test_dropped_rows_come_back_with_those_of_purged_runs(world: World) -> None:
    """The log is no longer the only copy: a rebuild puts aside what it can't read again, wherever it is cut short."""
    keys = [subjects.key_of("acme", f"run_{number}") for number in range(30)]
    last = 0
    for number, key in enumerate(keys):
        last = await _write(world, _messages(key, TS, ended=number % 3 != 2))
    async with service.running("trace", world.settings, app):
        await world.whole()
        before = {key: await world.folded(key) for key in keys}
        await world.keep(1)
        for number, key in enumerate(keys):
            if number % 3 != 2:
                await world.gone(key)
        await until(lambda: _is(world, archived_runs=20))
        counts = await world.whole()
        assert (counts.rows, counts.first_seq, counts.removed) == (last, 1, 0)
    await rebuild.rebuild(world.settings)
    await rebuild.rebuild(world.settings)
    async with service.running("trace", world.settings, app):
        counts = await world.whole()
        assert (counts.rows, counts.distinct, counts.first_seq, counts.last_seq) == (last, last, 1, last)
        assert counts.removed == 0
        for key in keys:
            state = await world.archived(key)
            assert state is not None and state_hash(state) == state_hash(before[key])
        assert (await world.report()).archived_runs == 20
        found = await world.ask(rpc.TRACE_QUERY, rpc.TraceQueryRequest("acme"))
        assert len(found.traces) == 30
        assert (await world.report()).lost_to_seq == 0
    # the log is made anew: what was archived of the old one is still told
    await world.nc.jsm().delete_stream(subjects.EVENTS_STREAM)
    from agentflow_common.log.streams import ensure_streams

    await ensure_streams(world.nc)
    await _write(world, _messages(subjects.key_of("acme", "run_new"), TS))
    async with service.running("trace", world.settings, app):
        state = await world.archived(keys[0])
        assert state is not None and state_hash(state) == state_hash(before[keys[0]])
        assert await world.archived(keys[2]) is None, "it was not over, and its log is gone"


async def test_an_older_clickhouse_says_what_it_never_saw(world: World, tmp_path: Path) -> None:
    old, new = subjects.key_of("acme", "run_old"), subjects.key_of("acme", "run_new")
    held = await _write(world, _messages(old, TS))
    async with service.running("trace", world.settings, app):
        await world.whole()
    shutil.copytree(world.folder, tmp_path / "backup", symlinks=True)
    last = await _write(world, _messages(new, TS))
    async with service.running("trace", world.settings, app):
        await world.keep(1)
        await world.gone(new)
        await until(lambda: _is(world, archived_runs=2))
    shutil.rmtree(world.folder)
    shutil.copytree(tmp_path / "backup", world.folder, symlinks=True)
    end = await _write(world, _messages(subjects.key_of("acme", "run_third"), TS, ended=False))
    for _ in range(2):  # also after another start
        async with service.running("trace", world.settings, app):
            report = await world.report()
            assert (report.lost_from_seq, report.lost_to_seq) == (held + 1, last)
            counts = await world.whole()
            assert (counts.rows, counts.last_seq, counts.removed) == (end, end, 5)
            assert await world.archived(old) is not None
            assert await world.archived(new) is None
            with pytest.raises(NotFoundError):
                await world.ask(rpc.TRACE_GET, rpc.TraceRequest("acme", new.name))


@contextlib.asynccontextmanager
async def _process(world: World, tmp_path: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = {**os.environ, "NATS_URL": world.settings.nats_url, "CLICKHOUSE_PATH": str(world.folder)}
    environment |= {"RETENTION_MIN_S": "0", "RETENTION_SWEEP_S": "0.01", "TRACE_BATCH_ROWS": "100"}
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
async def test_killed_while_it_purges_it_goes_on_and_loses_nothing(world: World, tmp_path: Path) -> None:
    keys = [subjects.key_of("acme", f"run_{number:04d}") for number in range(300)]
    states: dict[subjects.EntityKey, str] = {}
    for key in keys:
        await _write(world, _messages(key, TS))
    for key in keys[::50]:
        states[key] = state_hash(await world.folded(key))
    last = await world.log.last_seq()
    bucket = await world.nc.jetstream().key_value(subjects.CONTROLS_BUCKET)
    await bucket.put(retention.KEEP_KEY, b'{"keep_ms": 1}')

    async def left() -> int:
        return (await world.nc.jsm().stream_info(subjects.EVENTS_STREAM)).state.messages

    held = await left()
    cut_short = 0
    while held:
        async with _process(world, tmp_path) as process:
            async with asyncio.timeout(3 * PATIENCE_S):
                while (now := await left()) > max(0, held - 500) and now:
                    await asyncio.sleep(0.001)
            process.kill()  # between two purges, or between a purge and its note
            await process.wait()
            held = await left()
            cut_short += held > 0
    assert cut_short, "it was killed while it purged"
    async with service.running("trace", world.settings, app):
        await until(lambda: _is(world, archived_runs=300, waiting_runs=0))
        counts = await world.ask(rpc.TRACE_COUNTS, rpc.TraceCountsRequest())
        assert (counts.rows, counts.distinct, counts.last_seq, counts.removed) == (last, last, last, 0)
        for key, digest in states.items():
            state = await world.archived(key)
            assert state is not None and state_hash(state) == digest


def test_every_event_type_has_a_row_of_its_own(request: pytest.FixtureRequest) -> None:
    golden = GOLDEN
    names = [path for path in golden.glob("*.v1*.json") if path.name != "api.v1.json"]
    assert len(names) > 30
    for path in names:
        event = ev.decode(path.read_bytes())
        row = rows.of("AF_EVENTS", "af.evt.1.acme.r.in", path.read_bytes(), 1, TS)
        assert row.type == ev.event_type(event), path.name
