"""The answer to TRACE_SERIES."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from agentflow_common import rpc
from agentflow_common.rpc.bus import Route
from agentflow_trace.series import plan
from agentflow_trace.series.store_series import SeriesStore


class SeriesHandlers:
    """opened: waits until ClickHouse is open, or raises RetryableError."""

    def __init__(self, store: SeriesStore, opened: Callable[[], Awaitable[None]]) -> None:
        self._store = store
        self._opened = opened

    def routes(self) -> list[Route]:
        return [(rpc.TRACE_SERIES, self.series)]

    async def series(self, request: rpc.TraceSeriesRequest) -> rpc.TraceSeriesReply:
        """Returns how cost, latency, errors, tokens and runs developed over time."""
        asked = plan.checked(request)
        await self._opened()
        points = await self._store.points(asked)
        return rpc.TraceSeriesReply(points, asked.bucket_ms, asked.start_ms, asked.end_ms)
