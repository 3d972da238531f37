"""What a worker keeps of the quick steps of a task, and when it writes it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common.errors import RetryableError
from agentflow_common.events import BegunStep, LlmUsage, Payload
from agentflow_common.log.event_log import Ack
from agentflow_common.subjects import key_of
from agentflow_worker.tasks import kept_reports
from agentflow_worker.tasks.kept_reports import KeptReports, Written
from agentflow_worker.tasks.task_chain import TaskChain
from tests.support.events import base
from tests.support.waiting import until

WHOLE, REFUSED = Written(Ack("s", 1), whole=True), Written(Ack("s", 1), whole=False)


def report(number: int, **fields: Any) -> ev.StepCompleted:
    begun = BegunStep(f"s{number + 1}", "function")
    return ev.StepCompleted(**{**base(step=f"s{number}", attempt=1, duration_ms=0.1, begun=begun), **fields})


class Log:
    """Takes what is written, as the log would answer."""

    def __init__(self, answer: Written | Exception = WHOLE) -> None:
        task = ev.StepScheduled(**base(step="s0", attempt=1), lane="default", kind="function", config={})
        self.chain = TaskChain(key_of("o", "r"), task, None)  # type: ignore[arg-type]
        self.kept = KeptReports(self.chain, self.write, self.refused)
        self.answer = answer
        self.gate = asyncio.Event()
        self.gate.set()
        self.written: list[list[str]] = []
        self.stopped: list[TaskChain] = []

    async def write(self, _chain: TaskChain, reports: Sequence[ev.StepCompleted]) -> Written:
        self.written.append([one.step for one in reports])
        await self.gate.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def refused(self, chain: TaskChain) -> None:
        self.stopped.append(chain)


async def test_quick_steps_are_written_with_the_next_one_that_is_not_kept() -> None:
    log = Log()
    assert log.kept.keep(report(0))
    assert log.kept.keep(report(1))
    assert not log.kept.keep(report(2, duration_ms=kept_reports.QUICK_MS + 0.1))
    assert log.written == []
    assert await log.kept.write(report(2)) == WHOLE
    assert log.kept.keep(report(3))
    assert await log.kept.write(report(4)) == WHOLE
    assert log.written == [["s0", "s1", "s2"], ["s3", "s4"]]
    await asyncio.sleep(2 * kept_reports.KEPT_S_MAX)
    assert len(log.written) == 2, "nothing is left for the timer"


async def test_a_step_that_cost_money_is_written_at_once() -> None:
    assert not Log().kept.keep(report(0, llm=LlmUsage("p", "m", "", 1, 1, 9)))


async def test_outputs_are_kept_up_to_a_bound() -> None:
    log = Log()
    half = Payload("x" * (kept_reports.BYTES_MAX // 2))
    assert log.kept.keep(report(0, output=half))
    assert not log.kept.keep(report(1, output=half))
    await log.kept.write(report(1, output=half))
    assert log.kept.keep(report(2, output=half)), "what was written takes no room"
    assert not Log().kept.keep(report(0, output=Payload("x" * kept_reports.BYTES_MAX)))


async def test_steps_that_never_pause_are_written_in_time() -> None:
    """Their loop has no turn for the timer."""
    log = Log()
    assert log.kept.keep(report(0))
    loop = asyncio.get_running_loop()
    over = loop.time() + 1.2 * kept_reports.KEPT_S_MAX
    while loop.time() < over:
        pass
    assert not log.kept.keep(report(1))
    log.kept.close()


async def test_what_waits_is_written_while_the_next_step_runs() -> None:
    log = Log()
    log.kept.keep(report(0))
    log.kept.keep(report(1))
    await until(lambda: log.written == [["s0", "s1"]])
    assert await log.kept.early() == WHOLE
    assert await log.kept.early() is None, "it is told once"
    assert log.stopped == []


async def test_the_running_step_is_stopped_if_it_never_began() -> None:
    log = Log(REFUSED)
    log.kept.keep(report(0))
    assert not await log.kept.has_begun()
    assert log.stopped == [log.chain]
    assert await log.kept.early() == REFUSED


@pytest.mark.parametrize("whole", [True, False])
async def test_another_workers_report_stops_nothing(whole: bool) -> None:
    """The step may have begun after all: the executor asks the log."""
    log = Log(Written(Ack("s", 1, duplicate=True), whole))
    log.kept.keep(report(0))
    assert await log.kept.has_begun()
    assert log.stopped == []


async def test_a_log_that_is_away_stops_the_running_step() -> None:
    log = Log(RetryableError("away"))
    log.kept.keep(report(0))
    log.kept.flush()
    with pytest.raises(RetryableError):
        await log.kept.early()
    assert log.stopped == [log.chain]
    log.kept.close()


async def test_a_step_without_anything_before_it_has_begun() -> None:
    log = Log()
    assert await log.kept.has_begun()
    log.kept.flush()
    await log.kept.save()
    assert await log.kept.early() is None
    assert log.written == []


async def test_a_worker_that_stops_writes_what_it_has_kept_but_does_not_wait_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = Log()
    log.kept.keep(report(0))
    await log.kept.save()
    assert log.written == [["s0"]]
    log.kept.close()

    monkeypatch.setattr(kept_reports, "STOP_S", 0.02)
    away = Log()
    away.gate.clear()
    away.kept.keep(report(0))
    await away.kept.save()
    away.kept.close()
    assert away.written == [["s0"]]


async def test_what_is_dropped_is_never_written() -> None:
    log = Log()
    log.kept.keep(report(0))
    log.kept.close()
    await asyncio.sleep(2 * kept_reports.KEPT_S_MAX)
    assert log.written == []
