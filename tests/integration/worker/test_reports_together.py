"""Reports of quick steps, which a worker writes in one event (ADR 0013), on a real log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.log.event_log import Entry
from agentflow_worker.tasks import in_hand, kept_reports, task_chain
from tests.support.chain_workers import ACK_WAIT_S, Worker, Workers
from tests.support.waiting import PATIENCE_S, until

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step is quick, and reports wait until something ends their wait, on a busy machine too."""
    monkeypatch.setattr(task_chain, "CHAIN_S_MAX", 60.0)
    monkeypatch.setattr(kept_reports, "QUICK_MS", 60_000.0)
    monkeypatch.setattr(kept_reports, "KEPT_S_MAX", 60.0)


@pytest.fixture
async def workers(nats_url: str) -> AsyncIterator[Workers]:
    async with AsyncExitStack() as stack:
        yield Workers(nats_url, stack)


async def pause(worker: Worker, key: subjects.EntityKey) -> None:
    paused = ev.RunPaused(org=key.org, run=key.name, ts=1)
    await worker.log.append(Entry(subjects.out_run(key), ev.encode(paused)))


async def written(worker: Worker, key: subjects.EntityKey) -> list[Any]:
    """The log's events, each as (its steps, what it begins) or by its type."""
    found: list[Any] = []
    for event in await worker.facts(key):
        if isinstance(event, ev.StepCompleted):
            steps = " ".join(report.step for report in event.reports())
            found.append((steps, event.begun.step if event.begun else ""))
        else:
            found.append(ev.event_type(event))
    return found


async def is_written(worker: Worker, key: subjects.EntityKey, *expected: Any) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while [one for one in await written(worker, key) if one != "step.started"] != list(expected):
            await asyncio.sleep(0.01)


async def test_a_chain_of_quick_steps_is_one_message(workers: Workers) -> None:
    worker = await workers.start("w")
    key = await worker.offer("r.count", "r.pass", "r.count", "r.pass")
    await worker.idle()
    (event,) = await worker.facts(key)
    reports = event.reports()
    assert [(one.step, one.attempt, one.output.value, one.worker) for one in reports] == [
        ("s0", 1, 1, "w"), ("s1", 1, 1, "w"), ("s2", 1, 1, "w"), ("s3", 1, 1, "w"),
    ]  # fmt: skip
    assert [one.begun and (one.begun.step, one.begun.kind) for one in reports] == [
        ("s1", "function"), ("s2", "function"), ("s3", "function"), None,
    ]  # fmt: skip
    assert sorted(one.ts for one in reports) == [one.ts for one in reports]
    assert all(0 < one.started_at <= one.ts and one.duration_ms > 0 for one in reports)


async def test_the_setting_switches_it_off(workers: Workers) -> None:
    worker = await workers.start("w", reports_together=False)
    key = await worker.offer("r.pass", "r.pass", "r.pass")
    await worker.idle()
    assert await written(worker, key) == [("s0", "s1"), ("s1", "s2"), ("s2", "")]


async def test_a_step_that_took_longer_is_reported_with_those_before_it(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = await workers.start("w")
    gate = worker.holds("s2")
    key = await worker.offer("r.pass", "r.pass", "r.pass", "r.pass", "r.pass")
    await worker.waits_in(key, "s2", known=False)
    assert await written(worker, key) == []
    monkeypatch.setattr(kept_reports, "QUICK_MS", 20.0)
    await asyncio.sleep(0.05)
    fifth = worker.holds("s3")
    gate.set()
    await worker.waits_in(key, "s3")
    assert ("s0 s1 s2", "s3") in await written(worker, key)
    monkeypatch.setattr(kept_reports, "QUICK_MS", 60_000.0)
    fifth.set()
    await worker.idle()
    await is_written(worker, key, ("s0 s1 s2", "s3"), ("s3 s4", ""))


async def test_watchers_hear_of_quick_steps_while_the_next_one_runs(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_reports, "KEPT_S_MAX", 0.2)
    worker = await workers.start("w")
    gate = worker.holds("s2")
    key = await worker.offer("r.pass", "r.pass", "r.pass", "r.pass")
    await worker.waits_in(key, "s2")
    await is_written(worker, key, ("s0 s1", "s2"))
    gate.set()
    await worker.idle()
    await is_written(worker, key, ("s0 s1", "s2"), ("s2 s3", ""))


async def test_a_heartbeat_comes_after_the_begin_of_its_step(workers: Workers) -> None:
    worker = await workers.start("w")
    gate = worker.holds("s1")
    key = await worker.offer("r.pass", "r.beat", "r.pass")
    await worker.waits_in(key, "s1")
    await is_written(worker, key, ("s0", "s1"), "step.progressed")
    gate.set()
    await worker.idle()
    await is_written(worker, key, ("s0", "s1"), "step.progressed", ("s1 s2", ""))


async def test_a_long_step_is_announced_after_its_begin(workers: Workers) -> None:
    worker = await workers.start("w")
    gate = worker.holds("s1")
    key = await worker.offer("r.pass", "r.pass")
    await worker.waits_in(key, "s1")
    async with asyncio.timeout(PATIENCE_S):
        while len(await worker.facts(key)) < 2:
            await asyncio.sleep(0.01)
    assert await written(worker, key) == [("s0", "s1"), "step.started"]
    gate.set()
    await worker.idle()


# --- the scheduler decides something in between ---


async def refused(workers: Workers, *steps: str) -> tuple[Worker, subjects.EntityKey]:
    """Returns (worker, run) once steps are done of which `s2` ran while the scheduler paused the run."""
    worker = await workers.start("w")
    gate = worker.holds("s2")
    key = await worker.offer(*steps)
    await worker.waits_in(key, "s2", known=False)
    await pause(worker, key)
    gate.set()
    await worker.idle()
    return worker, key


async def test_of_what_is_refused_only_the_oldest_report_is_written(workers: Workers) -> None:
    worker, key = await refused(workers, "r.count", "r.count", "r.pass", "r.pass")
    assert await written(worker, key) == [("s0", "")]
    assert worker.calls(key) == {"s0": 1, "s1": 1, "s2": 1, "s3": 1}


async def test_the_failure_of_a_step_that_never_began_is_dropped(workers: Workers) -> None:
    worker, key = await refused(workers, "r.pass", "r.pass", "r.flaky", "r.pass")
    assert await written(worker, key) == [("s0", "")]


async def test_a_running_step_that_never_began_is_stopped(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_reports, "KEPT_S_MAX", 1.0)
    worker = await workers.start("w")
    worker.holds("s2")
    key = await worker.offer("r.pass", "r.pass", "r.pass", "r.pass")
    await worker.waits_in(key, "s2", known=False)
    await pause(worker, key)
    await until(lambda: (key.name, "s2") in worker.module.STOPPED)
    await worker.idle()
    assert await written(worker, key) == [("s0", "")]


async def test_what_was_done_before_a_failure_is_written_first(workers: Workers) -> None:
    worker = await workers.start("w")
    key = await worker.offer("r.pass", "r.pass", "r.flaky", "r.pass")
    await worker.idle()
    assert await written(worker, key) == [("s0 s1", "s2"), "step.failed"]
    assert worker.calls(key) == {"s0": 1, "s1": 1, "s2": 1}


# --- workers come and go ---


async def test_a_worker_that_stops_writes_what_it_has_kept(workers: Workers) -> None:
    lost = await workers.start("lost")
    lost.holds("s2")
    key = await lost.offer("r.count", "r.count", "r.pass", "r.pass", "r.pass")
    await lost.waits_in(key, "s2", known=False)
    assert await written(lost, key) == []
    other = await workers.start("other")
    await lost.dies()
    await is_written(other, key, ("s0 s1", "s2"), ("s2", "s3"), ("s3", "s4"), ("s4", ""))
    assert other.calls(key) == {"s0": 1, "s1": 1, "s2": 2, "s3": 1, "s4": 1}
    await other.idle()


async def test_whoever_gets_the_task_goes_on_after_the_last_step_that_was_written(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And reports each step by itself: the log has to say which step ends its workers."""
    monkeypatch.setattr(kept_reports, "KEPT_S_MAX", 0.1)
    lost = await workers.start("lost")
    lost.goes_dumb()
    gate = lost.holds("s2")
    key = await lost.offer("r.count", "r.count", "r.pass", "r.pass", "r.pass")
    await lost.waits_in(key, "s2")
    monkeypatch.setattr(kept_reports, "QUICK_MS", 20.0)
    other = await workers.start("other")
    together = (("s0 s1", "s2"), ("s2", "s3"), ("s3", "s4"), ("s4", ""))
    await is_written(other, key, *together)
    gate.set()  # its report of s2 has been written by the other
    await other.idle()
    await asyncio.sleep(0.2)
    await is_written(other, key, *together)
    assert other.calls(key) == {"s0": 1, "s1": 1, "s2": 2, "s3": 1, "s4": 1}


async def test_who_was_taken_for_lost_writes_nothing_of_what_it_has_kept(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_hand, "STARTED_AFTER_S", 60.0)  # it would write what it has kept
    slow = await workers.start("slow")
    slow.goes_dumb()
    first = slow.holds("s2")
    key = await slow.offer("r.count", "r.count", "r.pass", "r.pass")
    await slow.waits_in(key, "s2", known=False)
    other = await workers.start("other")
    second = other.holds("s3")
    await other.waits_in(key, "s3")
    assert ("s0", "s1") in await written(other, key)
    first.set()
    await asyncio.sleep(2 * ACK_WAIT_S)
    await is_written(other, key, ("s0", "s1"), ("s1", "s2"), ("s2", "s3"))
    assert await slow.in_hand() == 1, "it did not acknowledge what the other has in hand"
    second.set()
    await other.until(key, ("s0", 2, "s1"), ("s1", 2, "s2"), ("s2", 2, "s3"), ("s3", 2, ""))
    await other.idle()
