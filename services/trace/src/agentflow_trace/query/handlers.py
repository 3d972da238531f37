"""Answers to questions about many runs: check, wait until the derived tables have come along, find."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Collection
from typing import Final

from agentflow_common import rpc
from agentflow_common.errors import DeadlineError, InvalidError
from agentflow_common.rpc.bus import Route
from agentflow_trace import machine
from agentflow_trace.derive.loop import Derive
from agentflow_trace.ingest import Ingest
from agentflow_trace.query.store import QueryStore

LIMIT_MAX: Final = 1_000
BEHIND_S_MAX: Final = 2.0  # for the derived tables; then what they have is the answer


class QueryHandlers:
    """events: the ingestion of AF_EVENTS. opened: returns once ClickHouse is open."""

    def __init__(
        self, store: QueryStore, derive: Derive, events: Ingest, opened: Callable[[], Awaitable[None]]
    ) -> None:
        self._store = store
        self._derive = derive
        self._events = events
        self._opened = opened

    def routes(self) -> list[Route]:
        return [(rpc.TRACE_QUERY, self.query)]

    async def query(self, request: rpc.TraceQueryRequest) -> rpc.TraceQueryReply:
        """Returns a page of the runs that match. Runs are there within a second of their events."""
        _one_of("status", request.status, sorted(machine.RUN_STATUSES))
        _one_of("sort", request.sort, rpc.SORTS)
        if request.end_ms and request.end_ms < request.start_ms:
            raise InvalidError.at("end_ms", "the end of the range is before its start")
        await self._opened()
        with contextlib.suppress(DeadlineError):
            await self._derive.wait_for(self._events.ingested, BEHIND_S_MAX)
        return await self._store.find(request, min(max(request.limit, 1), LIMIT_MAX))


def _one_of(field: str, value: str, known: Collection[str]) -> None:
    if value and value not in known:
        raise InvalidError.at(field, f"{value[:40]!r} is not a {field} of runs", f"use one of {', '.join(known)}")
