"""Reports of quick steps, which a worker keeps for a moment to write them together (ADR 0013).

A worker goes on with the steps that follow in a task (ADR 0009). The report of a quick step is kept, and the next step
begins in memory only. What is kept is written in one event, fenced with the task's sequence, by the first of these:

- a step ends with which the worker does not go on, or that was not quick, or that failed;
- what is kept has waited for KEPT_S_MAX. The event then names the running step as begun, so watchers see where the
  task is, and a lost worker takes only a few milliseconds of quick steps with it;
- the running step sends a heartbeat, or the worker stops.

The fence refuses the event if the scheduler has decided something since the task. Then only the oldest report is
written, as a report of one step. The steps after it have not begun as far as the log knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

import msgspec

from agentflow_common import events as ev
from agentflow_common.log.event_log import Ack
from agentflow_worker.tasks.task_chain import TaskChain

QUICK_MS: Final = 5.0  # compared with a step that took longer, the cost of its own report is small
KEPT_S_MAX: Final = 0.01  # how late watchers hear of a step, and what is run again after a lost worker
BYTES_MAX: Final = 64 * 1024  # of the outputs: the event stays far below the bound of a message
STOP_S: Final = 0.4  # how long a worker that stops waits for the log


class Written(NamedTuple):
    """The outcome of an attempt to write reports together."""

    ack: Ack
    whole: bool  # False: the fence has refused them, and the oldest report was written alone


class KeptReports:
    """The reports that are kept of one task, oldest first. The newest one names the step that runs now."""

    __slots__ = ("_bytes", "_chain", "_early", "_events", "_on_refused", "_since", "_timer", "_write")

    def __init__(
        self,
        chain: TaskChain,
        write: Callable[[TaskChain, Sequence[ev.StepCompleted]], Awaitable[Written]],
        on_refused: Callable[[TaskChain], None],
    ) -> None:
        self._chain = chain
        self._write = write
        self._on_refused = on_refused  # called if the running step has not begun as far as the log knows
        self._events: list[ev.StepCompleted] = []
        self._bytes = 0
        self._since = 0.0  # when the oldest one was kept, by the loop's clock
        self._timer: asyncio.TimerHandle | None = None
        self._early: asyncio.Task[Written] | None = None  # writes what was kept, while a step runs

    def keep(self, report: ev.StepCompleted) -> bool:
        """Keeps the report of a step whose worker goes on. Returns False if it is to be written now."""
        if report.duration_ms > QUICK_MS or report.llm is not None:
            return False
        loop = asyncio.get_running_loop()
        now = loop.time()
        size = len(msgspec.json.encode(report.output))
        if self._bytes + size > BYTES_MAX or (self._events and now - self._since > KEPT_S_MAX):
            return False
        if not self._events:
            self._since = now
            self._timer = loop.call_later(KEPT_S_MAX, self.flush)
        self._events.append(report)
        self._bytes += size
        return True

    async def write(self, report: ev.StepCompleted) -> Written:
        """Writes what is kept and this report, in one event."""
        events = self._take()
        events.append(report)
        return await self._write(self._chain, events)

    def flush(self) -> None:
        """Begins to write what is kept, with the running step as begun."""
        events = self._take()
        if events:
            self._early = asyncio.ensure_future(self._write_early(events))

    async def early(self) -> Written | None:
        """Waits until what was flushed is written. Returns None if nothing was flushed since this was asked last."""
        early = self._early
        if early is None:
            return None
        written = await asyncio.shield(early)
        self._early = None
        return written

    async def has_begun(self) -> bool:
        """Writes what is kept. Returns False if the running step has not begun as far as the log knows."""
        self.flush()
        if self._early is None:
            return True
        written = await asyncio.shield(self._early)
        return written.whole or written.ack.duplicate

    async def save(self) -> None:
        """Writes what is kept, in the short time that a worker has which stops."""
        self.flush()
        if self._early is not None:
            await asyncio.wait([self._early], timeout=STOP_S)

    def close(self) -> None:
        """Drops what is kept."""
        self._take()
        early, self._early = self._early, None
        if early is not None and not early.cancel() and not early.cancelled():
            early.exception()  # asyncio would log it otherwise

    def _take(self) -> list[ev.StepCompleted]:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        events, self._events, self._bytes = self._events, [], 0
        return events

    async def _write_early(self, events: list[ev.StepCompleted]) -> Written:
        try:
            written = await self._write(self._chain, events)
        except Exception:  # the log is away: the step can't be reported either
            self._on_refused(self._chain)
            raise
        if not written.whole and not written.ack.duplicate:
            self._on_refused(self._chain)
        return written
