"""The answer to the question why: read the run, and the runs around it that have a part in the cause."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from agentflow_common import rpc
from agentflow_common.errors import NotFoundError
from agentflow_common.rpc.bus import Route
from agentflow_trace.explain.explain import ROUNDS_MAX, RUNS_MAX, answer
from agentflow_trace.explain.measures import costs, slow
from agentflow_trace.explain.measures.history import History
from agentflow_trace.explain.measures.store_history import HistoryStore
from agentflow_trace.explain.open_runs import Around
from agentflow_trace.explain.run_log import Logs, RunLog
from agentflow_trace.store import Store

# waits until ClickHouse is open and holds AF_EVENTS up to a sequence; True: the derived tables, too
Ready = Callable[[int, bool], Awaitable[None]]


class ExplainHandlers:
    def __init__(self, store: Store, history: HistoryStore, ready: Ready) -> None:
        self._store = store
        self._history = history
        self._ready = ready

    def routes(self) -> list[Route]:
        return [(rpc.TRACE_EXPLAIN, self.explain)]

    async def explain(self, request: rpc.ExplainRequest) -> rpc.ExplainReply:
        """Returns the causes of a run's end.

        Raises NotFoundError for an unknown run and for a run of another org, with the same message.
        """
        await self._ready(request.min_seq, request.slow or request.cost)
        log = RunLog(request.run, await self._store.run_rows(request.org, request.run))
        if log.state is None:
            raise NotFoundError(f"no trace of run {request.run[:80]!r}", kind="run_not_found")
        logs = Logs()
        logs.put(log)
        around = Around(request.now_ms or log.entries[-1].ts, request.waiting)
        history = await self._usual(request, log) if request.slow or request.cost else History()
        reply = answer(logs, request.run, around)
        timed = slow.report(logs, log, history, around.now_ms) if request.slow else None
        for _ in range(ROUNDS_MAX):  # each round may find that a further run has a part in it
            if not await self._read_missing(request.org, logs):
                break
            reply = answer(logs, request.run, around)
            timed = slow.report(logs, log, history, around.now_ms) if request.slow else None
        spent = costs.report(log, history) if request.cost else None
        return msgspec.structs.replace(reply, slow=timed, cost=spent)

    async def _usual(self, request: rpc.ExplainRequest, log: RunLog) -> History:
        if log.state is None:
            return History()
        return await self._history.read(request.org, log.state.workflow, request.run, log.state.submitted_at)

    async def _read_missing(self, org: str, logs: Logs) -> bool:
        """Reads the runs that were asked for and are not there, while there is room. Returns False without any."""
        names = list(logs.missing)[: max(0, RUNS_MAX - len(logs))]
        for name in names:
            logs.put(RunLog(name, await self._store.run_rows(org, name)))
        return bool(names)
