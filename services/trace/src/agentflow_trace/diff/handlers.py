"""Answers questions about differences: wait until the rows are there, read the runs, compare."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from agentflow_common import rpc, subjects
from agentflow_common.errors import InvalidError, NotFoundError
from agentflow_common.rpc.bus import Route
from agentflow_common.rpc.traces.groups import RUNS_MAX
from agentflow_trace.derive.loop import Derive
from agentflow_trace.diff.compare import compare
from agentflow_trace.diff.groups import Sample, compare_groups
from agentflow_trace.diff.matching import match_nodes
from agentflow_trace.diff.records import RunRecord, read
from agentflow_trace.diff.store_groups import GroupStore
from agentflow_trace.ingest import Ingest
from agentflow_trace.store import Store

WAIT_S_MAX: Final = 9.0  # for the derived tables to have what the events have


class DiffHandlers:
    """ready: returns once ClickHouse is open and holds AF_EVENTS up to a sequence."""

    def __init__(
        self,
        store: Store,
        groups: GroupStore,
        events: Ingest,
        derive: Derive,
        ready: Callable[[int], Awaitable[None]],
    ) -> None:
        self._store = store
        self._groups = groups
        self._events = events
        self._derive = derive
        self._ready = ready

    def routes(self) -> list[Route]:
        return [(rpc.TRACE_DIFF, self.diff), (rpc.TRACE_GROUPS, self.groups)]

    async def groups(self, request: rpc.TraceGroupsRequest) -> rpc.TraceGroupsReply:
        """Returns the differences of two groups of runs."""
        if not 1 <= request.runs_min <= request.runs_max <= RUNS_MAX:
            fix = f"use at least 1 and at most {RUNS_MAX} runs, and no greater minimum than maximum"
            raise InvalidError.at("runs_max", f"{request.runs_min} to {request.runs_max} runs can't be compared", fix)
        await self._ready(request.min_seq)
        await self._derive.wait_for(max(request.min_seq, self._events.ingested), WAIT_S_MAX)
        a = await self._groups.sample(request.org, request.a, request.runs_max)
        b = await self._groups.sample(request.org, request.b, request.runs_max)
        nodes = await self._nodes(request.org, a, b)
        return await asyncio.to_thread(compare_groups, a, b, nodes, request.runs_min)

    async def _nodes(self, org: str, a: Sample, b: Sample) -> dict[str, str]:
        """Returns which node is which, by the definitions of the newest runs."""
        if not a.runs or not b.runs:
            return {}
        old = (await self._record(org, a.runs[0].run)).pinned
        new = (await self._record(org, b.runs[0].run)).pinned
        return {name: name for name in old.nodes} if old is new else match_nodes(old.nodes, new.nodes)

    async def diff(self, request: rpc.TraceDiffRequest) -> rpc.TraceDiffReply:
        """Returns the differences of two runs.

        Raises NotFoundError for an unknown run and for a run of another org, with the same message.
        """
        await self._ready(request.min_seq)
        a = await self._record(request.org, request.a)
        b = a if request.b == request.a else await self._record(request.org, request.b)
        return await asyncio.to_thread(compare, a, b, values=request.values)

    async def _record(self, org: str, run: str) -> RunRecord:
        rows = await self._store.run_rows(org, run)
        if not any(row.stream == subjects.EVENTS_STREAM for row in rows):
            raise NotFoundError(f"no trace of run {run[:80]!r}", kind="run_not_found")
        return await asyncio.to_thread(read, run, rows)
