"""Answers questions about differences: wait until the rows are there, read the runs, compare."""

from __future__ import annotations

import asyncio
from typing import Final

from agentflow_common import rpc, subjects
from agentflow_common.errors import NotFoundError, RetryableError
from agentflow_common.rpc.bus import Route
from agentflow_trace.diff.compare import compare
from agentflow_trace.diff.records import RunRecord, read
from agentflow_trace.ingest import Ingest
from agentflow_trace.store import Store

WAIT_S_MAX: Final = 9.0  # for ClickHouse to open, and again for it to have `min_seq`


class DiffHandlers:
    """Answers from the start on. A question that comes before ClickHouse is open waits for it."""

    def __init__(self, store: Store, events: Ingest, opened: asyncio.Event) -> None:
        self._store = store
        self._events = events
        self._opened = opened

    def routes(self) -> list[Route]:
        return [(rpc.TRACE_DIFF, self.diff)]

    async def diff(self, request: rpc.TraceDiffRequest) -> rpc.TraceDiffReply:
        """Returns the differences of two runs.

        Raises NotFoundError for an unknown run and for a run of another org, with the same message.
        """
        await self._ready(request.min_seq)
        a = await self._record(request.org, request.a)
        b = a if request.b == request.a else await self._record(request.org, request.b)
        return await asyncio.to_thread(compare, a, b, values=request.values)

    async def _ready(self, min_seq: int) -> None:
        try:
            async with asyncio.timeout(WAIT_S_MAX):
                await self._opened.wait()
        except TimeoutError as error:
            raise RetryableError("ClickHouse is not open yet; see /readyz of trace", kind="trace_starting") from error
        if min_seq > 0:
            await self._events.wait_for(min_seq, WAIT_S_MAX)

    async def _record(self, org: str, run: str) -> RunRecord:
        rows = await self._store.run_rows(org, run)
        if not any(row.stream == subjects.EVENTS_STREAM for row in rows):
            raise NotFoundError(f"no trace of run {run[:80]!r}", kind="run_not_found")
        return await asyncio.to_thread(read, run, rows)
