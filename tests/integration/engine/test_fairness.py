"""Whose step is next when a worker pool is busy, and workflows that operators pause: on a real JetStream."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from agentflow_common import events as ev
from agentflow_common import ids, subjects
from agentflow_common.definition.parse import parse_text
from agentflow_common.events import Payload
from agentflow_common.log.event_log import Entry, Fence
from agentflow_common.runs.state import RunStatus
from agentflow_common.runtime.service import running
from agentflow_scheduler.app import app as scheduler_app
from agentflow_worker.app import app as worker_app
from agentflow_worker.settings import WorkerSettings
from tests.support.engine import ENGINE_STEPS, EngineUnderTest, scheduler_settings

pytestmark = pytest.mark.integration

TEXT = """
name: fair
dag:
  nodes:
    - {id: a, type: function, config: {function_name: t.sleep, inputs: {seconds: 0.02}}}
"""


@pytest.fixture
async def narrow(nats_url: str) -> AsyncIterator[Any]:
    """A worker that runs two steps at a time, and a scheduler that keeps its queue short."""
    settings = WorkerSettings(nats_url=nats_url, load=(str(ENGINE_STEPS),), concurrency=2)
    scheduling = scheduler_settings(nats_url, window_steps=4)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(running("scheduler", scheduling, scheduler_app))
        worker = await stack.enter_async_context(running("worker", settings, worker_app))
        yield EngineUnderTest(worker.nc, worker.log)


async def submit(engine: Any, org: str, priority: int = 0) -> subjects.EntityKey:
    definition = parse_text(TEXT)
    key = subjects.key_of(org, ids.new_run_id())
    event = ev.RunSubmitted(
        org=org, run=key.name, ts=1, workflow="fair", version=1, definition=definition.canonical(),
        inputs=Payload(value={}), priority=priority,
    )  # fmt: skip
    await engine.log.append(Entry(subjects.run_in(key), ev.encode(event), fence=Fence(0)))
    return key


async def waited_for(engine: Any, late: list[subjects.EntityKey], backlog: list[subjects.EntityKey]) -> int:
    """How many runs of the backlog ended between the submission of the late ones and the end of the last of these."""
    ends, submitted = {}, 0
    for key in [*backlog, *late]:
        await engine.finished(key)
        events = await engine.events(key)
        submitted = max(submitted, events[0][0])
        ends[key] = next(seq for seq, e in events if isinstance(e, ev.RunCompleted))
    return sum(submitted < ends[key] < max(ends[run] for run in late) for key in backlog)


async def test_a_small_org_does_not_wait_for_a_large_ones_backlog(narrow: Any) -> None:
    many = [await submit(narrow, "large") for _ in range(60)]
    few = [await submit(narrow, "small") for _ in range(3)]
    assert await waited_for(narrow, few, many) < 40


async def test_a_higher_priority_overtakes_the_backlog(narrow: Any) -> None:
    plain = [await submit(narrow, "acme") for _ in range(60)]
    urgent = await submit(narrow, "acme", priority=5)
    assert await waited_for(narrow, [urgent], plain) < 40


async def test_a_paused_workflow_offers_nothing_until_it_is_resumed(heard: Any, engine: Any) -> None:
    bucket = await engine.nc.jetstream().key_value(subjects.CONTROLS_BUCKET)
    await bucket.put("workflow.acme.fair", msgspec.json.encode({"paused": True}))
    await heard("workflow.acme.fair")
    held = await submit(engine, "acme")
    other = await submit(engine, "other")
    assert (await engine.finished(other)).status is RunStatus.COMPLETED
    state = await engine.state(held)
    assert (state.status, dict(state.steps)) == (RunStatus.RUNNING, {})
    await bucket.put("workflow.acme.fair", msgspec.json.encode({"paused": False}))
    assert (await engine.finished(held)).status is RunStatus.COMPLETED
