"""Answers to the questions of other services: check, wait, load, fold."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from agentflow_common import rpc, subjects
from agentflow_common.errors import InvalidError, NotFoundError, RetryableError
from agentflow_common.rpc.bus import Route
from agentflow_trace import event_pages, machine
from agentflow_trace.derive.loop import Derive
from agentflow_trace.derive.rebuilding import Rebuilding
from agentflow_trace.ingest import Ingest
from agentflow_trace.retention import Retention
from agentflow_trace.store import RUN_ROWS_MAX, Store
from agentflow_trace.store_archive import ArchiveStore
from agentflow_trace.views.answer import with_views

WAIT_S_MAX: Final = 9.0  # for ClickHouse to open, and again for it to have `min_seq`; the verb's timeout is 20 s
MESSAGE_ROWS_MAX: Final = 1_000  # more steps than a worker reports in one message
PAGE_EVENTS: Final = 1_000
PAGE_BYTES_MAX: Final = 3 * 1024 * 1024  # characters; as JSON text they may take twice as many bytes


class Handlers:
    """Answers from the start on. A question that comes before ClickHouse is open waits for it."""

    def __init__(
        self,
        store: Store,
        streams: Sequence[Ingest],
        archive: ArchiveStore,
        retention: Retention,
        derive: Derive,
        rebuilding: Rebuilding,
    ) -> None:
        self._rebuilding = rebuilding
        self._store = store
        self._derive = derive
        self._archive = archive
        self._retention = retention
        self._streams = {ingest.stream: ingest for ingest in streams}
        self.opened = asyncio.Event()

    def routes(self) -> list[Route]:
        return [
            (rpc.TRACE_GET, self.get),
            (rpc.TRACE_COUNTS, self.counts),
            (rpc.ARCHIVED, self.archived),
            (rpc.RETENTION_GET, self.get_retention),
            (rpc.RETENTION_SET, self.set_retention),
            (rpc.TRACE_REBUILD, self.rebuild),
            (rpc.TRACE_PROGRESS, self.progress),
        ]

    async def open(self) -> None:
        """Waits until ClickHouse is open. Raises RetryableError if that takes too long."""
        try:
            async with asyncio.timeout(WAIT_S_MAX):
                await self.opened.wait()
        except TimeoutError as error:
            raise RetryableError("ClickHouse is not open yet; see /readyz of trace", kind="trace_starting") from error

    async def ready(self, min_seq: int, derived: bool = False) -> None:
        """Waits until ClickHouse is open and holds AF_EVENTS up to a sequence. derived: the derived tables, too."""
        await self.open()
        if min_seq > 0:
            await self._streams[subjects.EVENTS_STREAM].wait_for(min_seq, WAIT_S_MAX)
            if derived:
                await self._derive.wait_for(min_seq, WAIT_S_MAX)

    async def get(self, request: rpc.TraceRequest) -> rpc.TraceReply:
        """Returns the trace of a run.

        Raises NotFoundError for an unknown run and for a run of another org, with the same message.
        """
        await self.ready(request.min_seq)
        if request.after_stream:
            return await self._further(request)
        rows = await self._store.run_rows(request.org, request.run)
        if not any(row.stream == subjects.EVENTS_STREAM for row in rows):
            raise NotFoundError(f"no trace of run {request.run[:80]!r}", kind="run_not_found")
        reply = with_views(machine.reply(request.run, rows), rows)
        is_cut = len(rows) >= RUN_ROWS_MAX
        return event_pages.with_events(reply, rows, request, is_cut=is_cut)

    async def _further(self, request: rpc.TraceRequest) -> rpc.TraceReply:
        """Returns a page of events after the first one."""
        wanted = min(request.events_max or event_pages.EVENTS_MAX, event_pages.EVENTS_MAX)
        limit = wanted + MESSAGE_ROWS_MAX
        place = (request.after_stream, request.after_seq)
        rows = await self._store.run_rows_after(request.org, request.run, *place, limit)
        empty = machine.reply(request.run, ())
        return event_pages.with_events(empty, rows, request, is_cut=len(rows) >= limit)

    async def counts(self, request: rpc.TraceCountsRequest) -> rpc.TraceCountsReply:
        if request.stream not in self._streams:
            known = ", ".join(self._streams)
            raise InvalidError.at("stream", f"{request.stream[:40]!r} is not traced", f"use one of {known}")
        await self.open()
        counts = await self._store.counts(request.stream)
        derived = self._derive.derived if request.stream == subjects.EVENTS_STREAM else 0
        return msgspec.structs.replace(counts, derived_seq=derived)

    async def archived(self, request: rpc.ArchiveRequest) -> rpc.ArchiveReply:
        """Returns a page of a run's events.

        The caller folds them as it folds the log, to the same state.
        """
        await self.open()
        found = await self._archive.events(request.org, request.run, request.after_seq, PAGE_EVENTS)
        events: list[rpc.ArchivedEvent] = []
        left = PAGE_BYTES_MAX
        for seq, subject, body in found:
            left -= len(body)
            if events and left < 0:
                break
            events.append(rpc.ArchivedEvent(seq=seq, subject=subject, body=body))
        more = len(events) < len(found) or len(found) == PAGE_EVENTS
        return rpc.ArchiveReply(events=tuple(events), more=more)

    async def get_retention(self, request: rpc.Empty) -> rpc.RetentionReply:
        await self.open()
        return await self._retention.report(request)

    async def set_retention(self, request: rpc.SetRetentionRequest) -> rpc.RetentionReply:
        await self.open()
        return await self._retention.change(request)

    async def rebuild(self, _request: rpc.Empty) -> rpc.TraceProgressReply:
        await self.open()
        return await self._rebuilding.begin()

    async def progress(self, _request: rpc.Empty) -> rpc.TraceProgressReply:
        await self.open()
        return await self._rebuilding.progress()
