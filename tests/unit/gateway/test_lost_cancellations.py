"""Polls end in time, even if what they await loses the cancellation of `asyncio.timeout`, as `wait_for` may."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest

from agentflow_common import subjects
from agentflow_gateway.controls import commands
from agentflow_gateway.schedules import trigger_results
from agentflow_gateway.schedules.triggers import Triggered

LIMIT_S = 0.05


async def late_answer() -> str:
    """Returns an answer that comes in the very moment in which the time is over: the loop was busy until then."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    def come() -> None:
        time.sleep(2 * LIMIT_S)
        answer.set_result("running")

    loop.call_soon(come)
    return await asyncio.wait_for(answer, 60)


class Call:
    """A call whose log has nothing new."""

    def __init__(self) -> None:
        self.deps = self.log = self

    def timeout_s(self, longest_s: float) -> float:
        return longest_s

    async def messages(self, _subject: str, _after: int) -> AsyncIterator[Any]:
        await late_answer()
        for nothing in ():
            yield nothing


async def ended(work: Coroutine[Any, Any, Any]) -> Any:
    """Returns what the work returns, and fails if it goes on. The work itself may lose a cancellation, too."""
    task = asyncio.ensure_future(work)
    done, _ = await asyncio.wait([task], timeout=20)
    if not done:
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)
        pytest.fail("it never ends")
    return task.result()


async def test_a_pause_that_no_scheduler_sees_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    async def status_of(_call: Any, _run: str) -> str:
        return await late_answer()

    monkeypatch.setattr(commands, "status_of", status_of)
    monkeypatch.setattr(commands, "SETTLE_S_MAX", LIMIT_S)
    call: Any = Call()
    assert await ended(commands.wait_for_pause(call, "run_1", True, "running")) == "running"


async def test_a_trigger_whose_run_does_not_begin_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    async def earlier(_call: Any, _triggered: Triggered) -> trigger_results.TriggerResult:
        return trigger_results.TriggerResult("started", "run_1")

    monkeypatch.setattr(trigger_results, "_earlier", earlier)
    call: Any = Call()
    triggered = Triggered(subjects.key_of("o", "s"), "id", "run_1", "webhook", 1, False)
    found = await ended(trigger_results.learn(call, triggered, LIMIT_S))
    assert found == trigger_results.TriggerResult("started", "run_1")
