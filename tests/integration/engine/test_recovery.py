"""What a scheduler finds when it starts: snapshots, the log after them, timers that must be set again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.errors import RetryableError
from agentflow_common.log.event_log import Ack, Entry, EventLog
from agentflow_common.log.streams import ensure_streams
from agentflow_common.runs.fold import fold
from agentflow_common.runs.state import RunStatus
from agentflow_common.runtime.service import running
from agentflow_scheduler.app import app as scheduler_app
from agentflow_scheduler.replay.state_hash import state_hash
from agentflow_scheduler.settings import SchedulerSettings
from agentflow_scheduler.shards import snapshots
from agentflow_scheduler.shards.recovery import recover, reload
from agentflow_scheduler.shards.snapshots import load_snapshot, save_snapshot
from tests.support.engine import EngineUnderTest, working
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.integration

QUICK = "name: quick\ndag:\n  nodes:\n    - {id: a, type: function, config: {function_name: t.add, inputs: {a: 1}}}\n"
SLOW = """
name: slow
dag:
  nodes:
    - {id: f, type: function, config: {function_name: t.flaky, inputs: {failures: 1}},
       policy: {retry: {initial_ms: 1500, jitter: 0}}}
    - {id: b, type: function, config: {function_name: t.add, inputs: {a: f.output}}}
    - {id: hold, type: signal, config: {signal: go}}
  edges: [{from: f, to: b}]
"""


async def saved(store: Any) -> dict[int, int]:
    """The sequence up to which each shard is saved."""
    return {shard: (await load_snapshot(store, shard)).seq for shard in range(subjects.SHARDS)}


async def test_a_snapshot_and_the_tail_after_it_give_what_the_whole_log_gives(nats_url: str) -> None:
    settings = SchedulerSettings(nats_url=nats_url, SCHEDULER_SNAPSHOT_EVERY=100)
    async with contextlib.AsyncExitStack() as stack:
        worker = await stack.enter_async_context(working(nats_url))
        engine = EngineUnderTest(worker.nc, worker.log)
        store = await worker.nc.jetstream().object_store(subjects.SNAPSHOT_BUCKET)
        async with running("scheduler", settings, scheduler_app):
            slow = [await engine.submit(SLOW) for _ in range(5)]
            for key in [await engine.submit(QUICK) for _ in range(60)]:
                await engine.finished(key)
        covered = (await saved(store)).values()
        assert any(covered), "snapshots were taken"
        states, last, _ = await recover(worker.log, store, range(subjects.SHARDS))
        assert last >= max(covered)
        assert {key.name for key in states} == {key.name for key in slow}
        for key, state in states.items():
            whole = fold([(seq, event) for seq, event in await engine.events(key) if seq <= last])
            assert whole is not None and state_hash(state) == state_hash(whole)
        async with running("scheduler", settings, scheduler_app):
            for key in slow:
                signal = ev.SignalReceived(org=key.org, run=key.name, ts=1, name="go")
                await worker.log.append(Entry(subjects.run_in(key), ev.encode(signal)))
                assert (await engine.finished(key)).status is RunStatus.COMPLETED


def chain_of(steps: int) -> str:
    nodes = ["{id: s0, type: function, config: {function_name: t.add, inputs: {a: 1}}}"]
    nodes += [
        f"{{id: s{i}, type: function, config: {{function_name: t.add, inputs: {{a: s{i - 1}.output}}}}}}"
        for i in range(1, steps)
    ]
    edges = ", ".join(f"{{from: s{i - 1}, to: s{i}}}" for i in range(1, steps))
    return "name: chain\ndag:\n  nodes:\n" + "".join(f"    - {node}\n" for node in nodes) + f"  edges: [{edges}]\n"


async def test_what_workers_report_counts_for_a_snapshot_as_what_is_decided(nats_url: str) -> None:
    """Runs whose steps form a chain: three decisions each, whatever they report (ADR 0009)."""
    settings = SchedulerSettings(nats_url=nats_url, SCHEDULER_SNAPSHOT_EVERY=100)
    async with contextlib.AsyncExitStack() as stack:
        worker = await stack.enter_async_context(working(nats_url, reports_together=False))
        engine = EngineUnderTest(worker.nc, worker.log)
        store = await worker.nc.jetstream().object_store(subjects.SNAPSHOT_BUCKET)
        async with running("scheduler", settings, scheduler_app):
            for key in [await engine.submit(chain_of(20)) for _ in range(8)]:
                await engine.finished(key)
            out = [e for _, e in await engine.events(key) if isinstance(e, ev.Decision)]
            assert len(out) < 10, "so that decisions alone would not fill a snapshot"
            last = await worker.log.last_seq()
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    _, _, read = await recover(worker.log, store, range(subjects.SHARDS))
                    if sum(read.values()) <= 100:
                        break
                    await asyncio.sleep(0.1)
        assert last > 150


async def test_a_scheduler_that_is_killed_again_and_again_reads_no_more_each_time(nats_url: str) -> None:
    """Each of its lives is too short for a snapshot by what it does itself."""
    async with contextlib.AsyncExitStack() as stack:
        worker = await stack.enter_async_context(working(nats_url))
        engine = EngineUnderTest(worker.nc, worker.log)
        store = await worker.nc.jetstream().object_store(subjects.SNAPSHOT_BUCKET)
        seldom = SchedulerSettings(nats_url=nats_url, SCHEDULER_SNAPSHOT_EVERY=1_000_000)
        async with running("scheduler", seldom, scheduler_app):
            for key in [await engine.submit(QUICK) for _ in range(30)]:
                await engine.finished(key)
        assert not any((await saved(store)).values())
        settings = SchedulerSettings(nats_url=nats_url, SCHEDULER_SNAPSHOT_EVERY=100)
        async with running("scheduler", settings, scheduler_app), asyncio.timeout(PATIENCE_S):
            while sum((await recover(worker.log, store, range(subjects.SHARDS))).read.values()) > 100:
                await asyncio.sleep(0.1)


async def test_a_snapshot_that_is_replaced_while_it_is_read_is_read_again(nats_url: str) -> None:
    """The client's own read waits for ever for the parts of an object that is not there any more."""
    async with working(nats_url) as worker:
        store = await worker.nc.jetstream().object_store(subjects.SNAPSHOT_BUCKET)
        await save_snapshot(store, 3, 7, [])
        info = await store.get_info("shard-3")
        parts = f"$O.{subjects.SNAPSHOT_BUCKET}.C.{info.nuid}"
        await worker.nc.jsm().purge_stream(f"OBJ_{subjects.SNAPSHOT_BUCKET}", subject=parts)
        reading = asyncio.ensure_future(load_snapshot(store, 3))
        await asyncio.sleep(0.1)
        await save_snapshot(store, 3, 8, [])
        async with asyncio.timeout(PATIENCE_S):
            assert (await reading).seq == 8


async def test_a_store_that_fails_holds_up_no_run_and_what_was_not_saved_is_saved_later(
    nats_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(snapshots, "AGE_S_MAX", 0.2)
    settings = SchedulerSettings(nats_url=nats_url, SCHEDULER_SNAPSHOT_EVERY=100)
    async with contextlib.AsyncExitStack() as stack:
        worker = await stack.enter_async_context(working(nats_url))
        engine = EngineUnderTest(worker.nc, worker.log)
        await stack.enter_async_context(running("scheduler", settings, scheduler_app))
        await engine.finished(await engine.submit(QUICK))  # its shards are served
        await worker.nc.jsm().delete_stream(f"OBJ_{subjects.SNAPSHOT_BUCKET}")
        for key in [await engine.submit(QUICK) for _ in range(10)]:
            await engine.finished(key)
        async with asyncio.timeout(30):
            while "no snapshot of shard" not in caplog.text:
                await asyncio.sleep(0.05)
        await ensure_streams(worker.nc)
        store = await worker.nc.jetstream().object_store(subjects.SNAPSHOT_BUCKET)
        last_fact = (await engine.state(key)).facts_seq
        async with asyncio.timeout(60):
            while (await load_snapshot(store, key.shard)).seq < last_fact:
                await asyncio.sleep(0.05)
        assert "recovered again" not in caplog.text


async def test_a_timer_is_set_though_nobody_heard_that_it_was_decided(
    nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The append is written and its acknowledgement lost: the run is read again, and nothing is left to decide."""
    unheard: list[Ack] = []
    append_batch = EventLog.append_batch

    async def deaf(self: EventLog, entries: Sequence[Entry], timeout_s: float = 5.0) -> Ack:
        ack = await append_batch(self, entries, timeout_s)
        if unheard or not any(b'"timer.set"' in entry.data for entry in entries):
            return ack
        unheard.append(ack)
        raise RetryableError("no acknowledgement", kind="append_unknown")

    settings = SchedulerSettings(nats_url=nats_url)
    async with contextlib.AsyncExitStack() as stack:
        worker = await stack.enter_async_context(working(nats_url))
        engine = EngineUnderTest(worker.nc, worker.log)
        await stack.enter_async_context(running("scheduler", settings, scheduler_app))
        await engine.finished(await engine.submit(QUICK))  # its shards are served: a recovery would set all timers
        monkeypatch.setattr(EventLog, "append_batch", deaf)
        key = await engine.submit("name: w\ndag:\n  nodes: [{id: w, type: wait, config: {duration: 200ms}}]\n")
        assert (await engine.finished(key)).status is RunStatus.COMPLETED
    assert unheard


async def test_engine_04_a_fact_that_left_the_log_meanwhile_is_not_waited_for(log: EventLog) -> None:
    """A late cancel of a run that is purged before the scheduler reads about it."""
    await ensure_streams(log.nc)
    key = subjects.key_of("o", "run_1")
    late = ev.RunCancelRequested(org="o", run="run_1", ts=1, child_of=ev.ParentRef("run_0", "sub", 1))
    ack = await log.append(Entry(subjects.run_in(key), ev.encode(late)))
    await log.nc.jsm().purge_stream(subjects.EVENTS_STREAM, subject=subjects.run_all(key))
    assert await reload(log, key, ack.seq) is None
    assert await log.read(subjects.run_in(subjects.key_of("o", "run_0"))) == []  # what is gone says nothing
