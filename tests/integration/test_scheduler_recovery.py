"""What a scheduler finds when it starts: snapshots, the log after them, timers that must be set again."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from agentflow_common import subjects
from agentflow_common.runstate import RunStatus
from agentflow_common.service import running
from agentflow_scheduler.app import app as scheduler_app
from agentflow_scheduler.recovery import load_snapshot, recover
from agentflow_scheduler.settings import SchedulerSettings
from agentflow_worker.app import app as worker_app

pytestmark = pytest.mark.integration

QUICK = "name: quick\ndag:\n  nodes:\n    - {id: a, type: function, config: {function_name: t.add, inputs: {a: 1}}}\n"
SLOW = """
name: slow
dag:
  nodes:
    - {id: f, type: function, config: {function_name: t.flaky, inputs: {failures: 1}},
       policy: {retry: {initial_ms: 1500, jitter: 0}}}
    - {id: b, type: function, config: {function_name: t.add, inputs: {a: f.output}}}
  edges: [{from: f, to: b}]
"""


async def test_a_snapshot_and_the_tail_after_it_give_what_the_whole_log_gives(nats_url: str, harness: Any) -> None:
    settings = SchedulerSettings(nats_url=nats_url, SCHEDULER_SNAPSHOT_EVERY=100)
    async with contextlib.AsyncExitStack() as stack:
        worker = await stack.enter_async_context(running("worker", harness.worker_settings(nats_url), worker_app))
        engine = harness.EngineUnderTest(worker.nc, worker.log)
        store = await worker.nc.jetstream().object_store(subjects.SNAPSHOT_BUCKET)
        async with running("scheduler", settings, scheduler_app):
            slow = [await engine.submit(SLOW) for _ in range(5)]
            for key in [await engine.submit(QUICK) for _ in range(60)]:
                await engine.finished(key)
        covered = [(await load_snapshot(store, shard)).seq for shard in range(subjects.SHARDS)]
        assert min(covered) > 0, "a snapshot of every shard was taken"
        states, last = await recover(worker.log, store, range(subjects.SHARDS))
        assert last >= max(covered)
        assert {key.run for key in states} == {key.run for key in slow}
        for key, state in states.items():
            assert state.hash() == (await engine.state(key)).hash()
        await asyncio.sleep(0.1)
        async with running("scheduler", settings, scheduler_app):
            for key in slow:
                assert (await engine.finished(key)).status is RunStatus.COMPLETED
