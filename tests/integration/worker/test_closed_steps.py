"""Steps that the scheduler has closed while they waited in a worker pool's queue: they do not begin any more."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.log.event_log import Entry
from agentflow_common.runtime.service import running
from agentflow_worker import machine
from agentflow_worker.app import app as worker_app
from agentflow_worker.settings import WorkerSettings
from tests.support.engine import EngineUnderTest, scheduling, working
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.integration
KEY = subjects.key_of("test", "run_closed")


def task(step: str, attempt: int = 1) -> Entry:
    event = ev.StepScheduled(
        org=KEY.org, run=KEY.name, ts=1, step=step, attempt=attempt, lane="default", kind="function",
        config={"function_name": "t.add"}, inputs={"a": 1, "b": 1},
    )  # fmt: skip
    return Entry(subjects.out_task(KEY, "default"), ev.encode(event))


def closed(kind: type[ev.StepCancelled | ev.StepTimedOut], step: str, attempt: int = 1, **more: Any) -> Entry:
    event = kind(org=KEY.org, run=KEY.name, ts=1, step=step, attempt=attempt, **more)
    return Entry(subjects.out_step(KEY), ev.encode(event))


async def completed(log: Any, marker: str) -> list[tuple[str, int]]:
    """Returns what the worker has reported once it has reported the marker, the last step of the queue."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            facts = [ev.decode(stored.data) for stored in await log.read(subjects.run_in(KEY))]
            steps = [(fact.step, fact.attempt) for fact in facts if isinstance(fact, ev.StepCompleted)]
            if (marker, 1) in steps:
                return steps
            await asyncio.sleep(0.02)


async def test_a_step_that_was_closed_while_no_worker_was_there_does_not_begin(nats_url: str) -> None:
    async with scheduling(nats_url) as context:
        log = context.log
        await log.append(task("lost"))
        await log.append(task("late"))
        await log.append(closed(ev.StepTimedOut, "late", timeout_ms=5))
        await log.append(task("late", 2))
        await log.append(closed(ev.StepCancelled, "lost"))
        await log.append(task("marker"))
        await asyncio.sleep(machine.STALE_MS / 1000 + 0.3)
        async with working(nats_url, concurrency=1):
            assert await completed(log, "marker") == [("late", 2), ("marker", 1)]


async def test_a_notice_closes_a_step_that_was_offered_a_moment_ago(nats_url: str) -> None:
    settings = WorkerSettings(nats_url=nats_url, load=(), concurrency=1)
    async with running("worker", settings, worker_app) as context:
        hint = {"run": KEY.name, "step": "lost", "attempt": 1}
        await context.nc.publish(subjects.control(KEY.name), msgspec.json.encode(hint))
        await context.nc.flush()
        await asyncio.sleep(0.1)
        for step in ("lost", "marker"):
            event = msgspec.structs.replace(
                ev.decode(task(step).data), config={"function_name": "text_stats"}, inputs={"text": "a b"}
            )
            await context.log.append(Entry(subjects.out_task(KEY, "default"), ev.encode(event)))
        assert await completed(context.log, "marker") == [("marker", 1)]


RACE = """
name: race
dag:
  nodes:
    - {id: block, type: function, config: {function_name: t.sleep, inputs: {seconds: 2.5}}}
    - {id: first, type: wait, config: {duration: 100ms}}
    - {id: charge, type: function, config: {function_name: t.add, inputs: {a: 1, b: 2}}}
    - {id: decide, type: function, join: any, depends_on: [first, charge],
       config: {function_name: t.add, inputs: {a: 3, b: 4}}}
"""


async def test_a_step_that_lost_its_race_in_the_queue_does_not_begin(nats_url: str) -> None:
    async with scheduling(nats_url) as context, working(nats_url, concurrency=1):
        engine = EngineUnderTest(context.nc, context.log)
        key = await engine.submit(RACE)
        state = await engine.finished(key)
        assert state.steps["charge"].status == "cancelled"
        reports = [e for _, e in await engine.events(key) if isinstance(e, ev.StepCompleted) and e.step == "charge"]
        assert not reports
