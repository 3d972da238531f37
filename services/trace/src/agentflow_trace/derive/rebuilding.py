"""Reads the whole log again while the service runs: the rows of all streams, and what is derived from them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from agentflow_common import rpc, tasks
from agentflow_common.log.event_log import EventLog
from agentflow_trace.derive.loop import Derive
from agentflow_trace.ingest import Ingest

log = logging.getLogger(__name__)

RETRY_S: Final = 1.0


class Work:
    """The background work of the service, which may be stopped and begun again."""

    def __init__(
        self,
        guarded: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        work: Sequence[Callable[[], Coroutine[Any, Any, None]]],
    ) -> None:
        self._guarded = guarded
        self._work = work
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self) -> None:
        self._tasks = [self._guarded(work()) for work in self._work]

    async def stop(self) -> None:
        await tasks.stop(self._tasks)
        self._tasks = []


class Rebuilding:
    """Drops the rows and reads the log again, once at a time.

    streams: that of the events first. If the service is killed in between, its next start goes on with the stream that
    it had dropped.
    """

    def __init__(self, streams: Sequence[Ingest], derive: Derive, work: Work, event_log: EventLog) -> None:
        self._streams = streams
        self._derive = derive
        self._work = work
        self._log = event_log
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> rpc.TraceProgressReply:
        """Begins, unless it has begun already. Returns how much is there now."""
        if self._task is None or self._task.done():
            log.warning("all rows are dropped and read from the log again")
            self._task = asyncio.create_task(self._rebuild(), name="trace-rebuild")
        return await self.progress()

    async def progress(self) -> rpc.TraceProgressReply:
        """Returns how much of each stream is in ClickHouse, and how much the log has."""
        dropping = self._task is not None and not self._task.done()
        streams: list[rpc.TraceStreamProgress] = []
        derived = 0
        for ingest in self._streams:
            last = await self._log.last_seq(ingest.stream)
            there = 0
            if not dropping:
                there = last if await ingest.has(last) else ingest.ingested
            streams.append(rpc.TraceStreamProgress(ingest.stream, there, last))
            if ingest is self._streams[0] and not dropping:
                derived = there if self._derive.derived >= ingest.ingested else self._derive.derived
        return rpc.TraceProgressReply(tuple(streams), derived, dropping)

    async def _rebuild(self) -> None:
        await self._work.stop()
        for ingest in self._streams:
            await self._repeated(lambda ingest=ingest: ingest.prepare(anew=True))  # type: ignore[misc]
        await self._repeated(self._derive.prepare)
        self._work.begin()

    async def _repeated(self, act: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Acts until it succeeds: the work may only begin again with rows that are whole."""
        while True:
            try:
                await act()
            except Exception as error:
                log.warning("a rebuild goes on later", extra={"error_type": type(error).__name__})
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def stop(self) -> None:
        if self._task is not None:
            await tasks.stop([self._task])
