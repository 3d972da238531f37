"""Runs that go on as new ones, and what comes too late for the one before, with a real scheduler and worker."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.log.event_log import Entry
from agentflow_common.runs.state import RunStatus
from tests.support.engine import EngineUnderTest, scheduling, working

pytestmark = pytest.mark.integration

TEXT = """
name: w
inputs: {first: {type: boolean, default: true}}
dag:
  nodes:
    - {id: again, type: continue_as_new, condition: first, config: {inputs: {first: false}}}
    - {id: rest, type: signal, condition: "!first", config: {signal: never}}
"""


async def waiting(engine: Any) -> tuple[subjects.EntityKey, subjects.EntityKey]:
    """A run that is over, and the one that goes on in its place."""
    first = await engine.submit(TEXT)
    second = subjects.key_of(first.org, (await engine.finished(first)).continued_as)
    await engine.until(second, ev.StepWaiting)
    return first, second


def cancel(key: subjects.EntityKey) -> Entry:
    return Entry(subjects.run_in(key), ev.encode(ev.RunCancelRequested(org=key.org, run=key.name, ts=1, reason="late")))


async def test_a_cancel_that_comes_too_late_is_for_the_run_that_goes_on(engine: Any) -> None:
    first, second = await waiting(engine)
    await engine.log.append(cancel(first))
    state = await engine.finished(second)
    assert (state.status, state.cancel_reason) == (RunStatus.CANCELLED, "late")
    assert (await engine.state(first)).status is RunStatus.COMPLETED


async def test_so_it_is_if_it_came_while_no_scheduler_was_there(nats_url: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        worker = await stack.enter_async_context(working(nats_url))
        engine = EngineUnderTest(worker.nc, worker.log)
        async with scheduling(nats_url):
            first, second = await waiting(engine)
        await worker.log.append(cancel(first))
        async with scheduling(nats_url):
            assert (await engine.finished(second)).status is RunStatus.CANCELLED
