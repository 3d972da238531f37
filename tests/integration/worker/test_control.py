"""A worker alone on a real log: what it reports of steps that are stopped, and of steps that say how far they are."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.log.event_log import Entry
from agentflow_common.runtime.service import running
from agentflow_worker.app import app as worker_app
from agentflow_worker.settings import WorkerSettings
from agentflow_worker.tasks import in_hand, reports
from tests.support.engine import WORKER_STEPS, loaded
from tests.support.waiting import PATIENCE_S, until

pytestmark = pytest.mark.integration
_numbers = itertools.count(1)


class Bench:
    """Offers tasks as the scheduler does and reads what the worker says of them."""

    def __init__(self, context: Any) -> None:
        self.log, self.nc = context.log, context.nc

    async def offer(self, name: str, inputs: dict[str, Any] | None = None, **more: Any) -> subjects.EntityKey:
        key = subjects.key_of("test", f"run_{next(_numbers)}")
        kind = "tool" if name in {"w.tidy", "w.finish", "w.stubborn", "w.slow_to_stop"} else "function"
        task = ev.StepScheduled(
            org=key.org, run=key.name, ts=1, step="s", attempt=1, lane="default", kind=kind,
            config={f"{kind}_name": name}, inputs=inputs or {}, **more,
        )  # fmt: skip
        await self.log.append(Entry(subjects.out_task(key, "default"), ev.encode(task)))
        return key

    async def facts(self, key: subjects.EntityKey) -> list[Any]:
        return [ev.decode(stored.data) for stored in await self.log.read(subjects.run_in(key))]

    async def until(self, key: subjects.EntityKey, kind: type[ev.Event], timeout_s: float = PATIENCE_S) -> Any:
        async with asyncio.timeout(timeout_s):
            while True:
                for fact in await self.facts(key):
                    if isinstance(fact, kind):
                        return fact
                await asyncio.sleep(0.02)

    async def stop(self, key: subjects.EntityKey, **more: Any) -> None:
        hint = {"run": key.name, "step": "s", "attempt": 1, **more}
        await self.nc.publish(subjects.control(key.name), msgspec.json.encode(hint))

    async def idle(self, timeout_s: float = PATIENCE_S) -> None:
        """Until every task is acknowledged."""
        async with asyncio.timeout(timeout_s):
            while True:
                info = await self.nc.jsm().consumer_info(subjects.EVENTS_STREAM, subjects.pool_durable("default"))
                if not info.num_ack_pending and not info.num_pending:
                    return
                await asyncio.sleep(0.02)


@pytest.fixture(params=["default", "fsync"])
async def bench(nats_url: str, request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    settings = WorkerSettings(nats_url=nats_url, load=(str(WORKER_STEPS),), concurrency=50, durability=request.param)
    async with running("worker", settings, worker_app) as context:
        yield Bench(context)


async def test_a_step_that_is_stopped_gently_tidies_up_and_is_reported(bench: Bench) -> None:
    key = await bench.offer("w.tidy")
    await bench.until(key, ev.StepStarted)
    await bench.stop(key, mode="graceful")
    failed = await bench.until(key, ev.StepFailed)
    assert (failed.error.type, failed.error.retryable) == ("cancelled", False)
    assert f"tidied {key.name}" in loaded(WORKER_STEPS).SEEN
    await bench.idle()


async def test_a_step_that_ends_all_the_same_has_a_result(bench: Bench) -> None:
    key = await bench.offer("w.finish")
    await bench.until(key, ev.StepStarted)
    await bench.stop(key, mode="graceful")
    assert (await bench.until(key, ev.StepCompleted)).output.value == "finished"


async def test_a_thread_sees_the_flag_and_has_its_say(bench: Bench) -> None:
    gives, raises = await bench.offer("w.thread"), await bench.offer("w.thread", {"raises": True})
    for key in (gives, raises):
        await bench.until(key, ev.StepStarted)
        await bench.stop(key, mode="graceful")
    assert (await bench.until(gives, ev.StepCompleted)).output.value == "stopped in time"
    assert (await bench.until(raises, ev.StepFailed)).error.type == "cancelled"
    await bench.idle()


async def test_a_step_that_is_stopped_by_force_is_not_waited_for(bench: Bench) -> None:
    """A hint without a mode is one by force: the scheduler has closed the attempt."""
    loaded(WORKER_STEPS).RELEASE.clear()
    tidy, deaf, stubborn = [await bench.offer(name) for name in ("w.tidy", "w.deaf", "w.stubborn")]
    for key in (tidy, deaf, stubborn):
        await bench.until(key, ev.StepStarted)
    await bench.stop(tidy)
    await bench.stop(deaf, mode="forced")
    await bench.stop(stubborn, mode="graceful")
    async with asyncio.timeout(PATIENCE_S):
        while f"ignored {stubborn.name}" not in loaded(WORKER_STEPS).SEEN:
            await asyncio.sleep(0.01)
    await bench.stop(stubborn, mode="graceful")  # a second gentle word does not disturb the cleaning up
    await bench.stop(stubborn, mode="forced")
    await bench.idle()
    loaded(WORKER_STEPS).RELEASE.set()
    marker = await bench.offer("w.thread_beats")  # what the thread that was left behind says is not heard
    await bench.until(marker, ev.StepCompleted)
    for key in (tidy, deaf, stubborn):
        assert [type(fact) for fact in await bench.facts(key)] == [ev.StepStarted]


async def test_a_worker_that_goes_while_a_step_tidies_up_leaves_it_to_another(nats_url: str) -> None:
    settings = WorkerSettings(nats_url=nats_url, load=(str(WORKER_STEPS),), ack_wait_s=1)
    async with running("worker", settings, worker_app) as context:
        first = Bench(context)
        key = await first.offer("w.slow_to_stop")
        await first.until(key, ev.StepStarted)
        await first.stop(key, mode="graceful")
        async with asyncio.timeout(PATIENCE_S):
            while f"ignored {key.name}" not in loaded(WORKER_STEPS).SEEN:
                await asyncio.sleep(0.01)
    async with running("worker", settings, worker_app) as context:
        second = Bench(context)
        assert (await second.until(key, ev.StepCompleted)).output.value == "again"
        await second.idle()


async def test_heartbeats_are_thinned_out_and_the_last_is_not_lost(bench: Bench) -> None:
    key = await bench.offer("w.beats", {"count": 50, "every_s": 0.05, "say": "page"})
    took_s = (await bench.until(key, ev.StepCompleted)).duration_ms / 1000
    beats = [fact for fact in await bench.facts(key) if isinstance(fact, ev.StepProgressed)]
    assert beats[0].detail == "the detail is withheld: the security service could not examine it"
    assert [round(beat.progress, 2) for beat in (beats[0], beats[-1])] == [0.02, 1.0]
    assert 3 <= len(beats) <= took_s + 2.5, "one a second, the first at once, and the last"
    order = [type(fact) for fact in await bench.facts(key)]
    assert order.index(ev.StepCompleted) == len(order) - 1


async def test_a_short_heartbeat_timeout_is_served_in_time(bench: Bench) -> None:
    key = await bench.offer("w.beats", {"count": 40, "every_s": 0.02, "say": "at"}, heartbeat_ms=300)
    took_s = (await bench.until(key, ev.StepCompleted)).duration_ms / 1000
    beats = [fact for fact in await bench.facts(key) if isinstance(fact, ev.StepProgressed)]
    assert 4 <= len(beats) <= took_s / 0.1 + 2.5, "every 100 ms"


async def test_a_thread_may_beat_and_nonsense_is_refused(bench: Bench) -> None:
    key = await bench.offer("w.thread_beats")
    await bench.until(key, ev.StepCompleted)
    last = [fact for fact in await bench.facts(key) if isinstance(fact, ev.StepProgressed)][-1]
    assert (last.progress, last.detail) == (0.25, "same progress")
    bad = (await bench.until(await bench.offer("w.bad_beat"), ev.StepFailed)).error
    assert (bad.type, bad.retryable) == ("invalid_heartbeat", False)


async def test_what_a_heartbeat_says_is_screened(bench: Bench) -> None:
    """No security service runs here: what would have to be examined is withheld."""
    address = "@".join(["ann", "example.org"])
    key = await bench.offer("w.beats", {"count": 1, "every_s": 0, "say": f"mail to {address}"})
    await bench.until(key, ev.StepCompleted)
    stored = b"".join(s.data for s in await bench.log.read(subjects.run_in(key)))
    assert b"step.progressed" in stored and address.encode() not in stored


async def test_a_start_that_the_log_refuses_is_announced_once_it_can_be(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise a long step would stay `scheduled` for those who look until it ends."""
    monkeypatch.setattr(reports, "PATIENCE_S", 0.0)
    monkeypatch.setattr(in_hand, "AGAIN_S", 0.05)
    jsm = bench.nc.jsm()
    info = await jsm.stream_info(subjects.EVENTS_STREAM)
    await jsm.update_stream(info.config.evolve(subjects=["af.evt.*.*.*.out.>"]))  # it takes tasks and no reports
    key = await bench.offer("w.tidy")
    await until(lambda: sum("the start of a step" in record.message for record in caplog.records) > 1)
    assert await bench.facts(key) == []
    await jsm.update_stream(info.config)
    await bench.until(key, ev.StepStarted)
    await bench.stop(key, mode="graceful")
    await bench.until(key, ev.StepFailed)
    await bench.idle()
    assert [type(fact) for fact in await bench.facts(key)] == [ev.StepStarted, ev.StepFailed]
