"""A worker pool's limit over two workers, changed and paused while they work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.lanes.controls import LIMIT_MAX, control_key
from agentflow_common.log.event_log import Entry, EventLog
from agentflow_common.log.streams import ensure_streams
from agentflow_common.runtime.service import running
from agentflow_worker.app import app as worker_app
from agentflow_worker.settings import WorkerSettings
from agentflow_worker.tasks import pool_queues
from tests.support.engine import WORKER_STEPS, loaded
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.integration
POOL = "slots"


class Pool:
    """Offers tasks in the pool and looks at its consumer."""

    def __init__(self, log: EventLog) -> None:
        self.log, self.nc = log, log.nc
        self.offered: list[subjects.EntityKey] = []

    async def set(self, name: str = POOL, raw: bytes | None = None, **setting: Any) -> None:
        bucket = await self.nc.jetstream().key_value(subjects.CONTROLS_BUCKET)
        await bucket.put(control_key(name), raw if raw is not None else msgspec.json.encode(setting))

    async def offer(self, count: int, seconds: float) -> None:
        for _ in range(count):
            key = subjects.key_of("test", f"run_{len(self.offered)}")
            task = ev.StepScheduled(
                org=key.org, run=key.name, ts=1, step="s", attempt=1, lane=POOL, kind="function",
                config={"function_name": "w.slot"}, inputs={"pool": POOL, "seconds": seconds},
            )  # fmt: skip
            await self.log.append(Entry(subjects.out_task(key, POOL), ev.encode(task)))
            self.offered.append(key)

    async def done(self) -> int:
        ends = [await self.log.read(subjects.run_in(key)) for key in self.offered]
        return sum(any(isinstance(ev.decode(s.data), ev.StepCompleted) for s in found) for found in ends)

    async def info(self) -> Any:
        return await self.nc.jsm().consumer_info(subjects.EVENTS_STREAM, subjects.pool_durable(POOL))

    async def until(self, holds: Callable[[Any], bool], timeout_s: float = PATIENCE_S) -> Any:
        async with asyncio.timeout(timeout_s):
            while not holds(info := await self.info()):
                await asyncio.sleep(0.02)
        return info

    async def all_done(self, timeout_s: float = PATIENCE_S) -> None:
        async with asyncio.timeout(timeout_s):
            while await self.done() < len(self.offered):
                await asyncio.sleep(0.05)


@pytest.fixture
async def pool(nats_url: str, log: Any) -> AsyncIterator[Pool]:
    await ensure_streams(log.nc)
    found = Pool(log)
    await found.set(limit=2)
    settings = [
        WorkerSettings(nats_url=nats_url, load=(str(WORKER_STEPS),), pools=(POOL,), concurrency=20, worker_id=name)
        for name in ("one", "two")
    ]
    async with running("worker", settings[0], worker_app), running("worker", settings[1], worker_app):
        loaded(WORKER_STEPS).MOST.clear()
        yield found


async def test_a_limit_holds_over_all_workers_and_follows_its_setting(pool: Pool) -> None:
    await pool.offer(10, 0.1)
    await pool.all_done()
    assert loaded(WORKER_STEPS).MOST[POOL] == 2, "set before the workers came"
    await pool.set(limit=5)
    await pool.until(lambda info: info.config.max_ack_pending == 5)
    await pool.offer(20, 0.4)
    await pool.all_done()
    assert loaded(WORKER_STEPS).MOST[POOL] == 5
    await pool.set(limit=1)
    await pool.until(lambda info: info.config.max_ack_pending == 1)
    loaded(WORKER_STEPS).MOST.clear()
    await pool.offer(4, 0.05)
    await pool.all_done()
    assert loaded(WORKER_STEPS).MOST[POOL] == 1


async def test_a_paused_pool_gives_out_nothing_ends_what_runs_and_goes_on(pool: Pool) -> None:
    await pool.offer(3, 2.0)  # long enough to pause the pool meanwhile
    await pool.until(lambda info: info.num_ack_pending == 2)
    await pool.set(limit=2, paused=True)
    await pool.until(lambda info: info.paused)
    before = await pool.until(lambda info: info.num_ack_pending == 0)
    assert await pool.done() == 2, "what ran came to its end"
    await pool.offer(3, 0.05)
    await asyncio.sleep(1.0)  # nothing is to happen: there is no condition to wait for
    after = await pool.info()
    assert (after.delivered.consumer_seq, after.num_pending) == (before.delivered.consumer_seq, 4)
    await pool.set(limit=2)
    await pool.all_done()
    assert loaded(WORKER_STEPS).MOST[POOL] == 2


async def test_a_worker_that_joins_leaves_limit_and_pause_as_they_are(pool: Pool, nats_url: str) -> None:
    await pool.set(limit=3, paused=True)
    await pool.until(lambda info: info.paused and info.config.max_ack_pending == 3)
    third = WorkerSettings(nats_url=nats_url, load=(str(WORKER_STEPS),), pools=(POOL,), concurrency=20)
    async with running("worker", third, worker_app):
        info = await pool.info()
        assert (info.paused, info.config.max_ack_pending) == (True, 3)
        await pool.offer(2, 0.01)
        await pool.set(limit=3)
        await pool.all_done()


async def test_a_deleted_setting_is_none_a_broken_one_changes_nothing_a_pattern_holds(pool: Pool) -> None:
    for broken in (b"{not json", b'{"limit": "\xed\xa0\x80"}', b"[" * 100_000, b"[]"):
        await pool.set(raw=broken)
    await pool.set(limit=4)
    await pool.until(lambda info: info.config.max_ack_pending == 4)
    bucket = await pool.nc.jetstream().key_value(subjects.CONTROLS_BUCKET)
    await bucket.delete(control_key(POOL))
    await pool.until(lambda info: info.config.max_ack_pending == LIMIT_MAX)
    await pool.set("sl*", limit=7)
    await pool.until(lambda info: info.config.max_ack_pending == 7)


async def test_a_consumer_that_somebody_changed_is_set_right_again(
    nats_url: str, log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_queues, "RECHECK_S", 0.3)
    settings = WorkerSettings(nats_url=nats_url, load=(str(WORKER_STEPS),), pools=(POOL,), concurrency=20)
    async with running("worker", settings, worker_app) as context:
        found = Pool(context.log)
        await context.nc.jsm().pause_consumer(
            subjects.EVENTS_STREAM, subjects.pool_durable(POOL), "2100-01-01T00:00:00Z"
        )
        await found.offer(1, 0.01)
        await found.all_done()
