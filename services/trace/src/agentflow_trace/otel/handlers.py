"""Answers to questions about spans, and what live export sends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from agentflow_common import rpc, subjects
from agentflow_common.errors import NotFoundError
from agentflow_common.rpc.bus import Route
from agentflow_trace.ingest import Ingest
from agentflow_trace.otel import answer
from agentflow_trace.otel.spans import Span
from agentflow_trace.settings import TraceSettings
from agentflow_trace.store import Store

WAIT_S_MAX: Final = 9.0


class RunSpans:
    """Reads the spans of runs. A submission's own span is their parent only if services send theirs, too."""

    def __init__(self, store: Store, events: Ingest, settings: TraceSettings) -> None:
        self._store = store
        self._events = events
        self._ratio = settings.trace_export_sample
        self._rooted = not settings.otlp_endpoint

    async def read(self, org: str, run: str, min_seq: int) -> list[Span]:
        """Raises NotFoundError for an unknown run and for a run of another org, with the same message."""
        if min_seq > 0:
            await self._events.wait_for(min_seq, WAIT_S_MAX)
        rows = await self._store.run_rows(org, run)
        if not any(row.stream == subjects.EVENTS_STREAM for row in rows):
            raise NotFoundError(f"no trace of run {run[:80]!r}", kind="run_not_found")
        return answer.spans_of_run(org, run, rows, rooted=self._rooted)

    async def exported(self, org: str, run: str, seq: int) -> list[bytes]:
        """Returns what live export sends about a run that has ended; nothing if it is not sampled."""
        found = await self.read(org, run, seq)
        return list(answer.messages(found)) if answer.is_sampled(found, self._ratio) else []


class SpanHandlers:
    """opened: waits until ClickHouse is open."""

    def __init__(self, spans: RunSpans, opened: Callable[[], Awaitable[None]]) -> None:
        self._spans = spans
        self._opened = opened

    def routes(self) -> list[Route]:
        return [(rpc.TRACE_SPANS, self.spans)]

    async def spans(self, request: rpc.SpansRequest) -> rpc.SpansReply:
        """Returns a part of the spans of a run."""
        await self._opened()
        found = await self._spans.read(request.org, request.run, request.min_seq)
        parts = list(answer.messages(found))
        part = parts[request.part] if request.part < len(parts) else b""
        return rpc.SpansReply(otlp=part, spans=len(found), more=request.part + 1 < len(parts))
