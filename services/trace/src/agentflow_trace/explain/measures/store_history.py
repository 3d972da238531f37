"""The SQL that reads what is usual for a workflow, from the derived tables `runs` and `steps`."""

from __future__ import annotations

from typing import Final

from agentflow_common.connections.clickhouse import ClickHouse
from agentflow_trace.explain.measures.history import SAMPLES_MAX, History, NodeHistory

_RUNS: Final = """
SELECT run, duration_ms, cost_nano, toUnixTimestamp64Milli(submitted_at) FROM runs FINAL
WHERE org = {org:String} AND workflow = {workflow:String} AND status = 'completed' AND run != {run:String}
    AND submitted_at < fromUnixTimestamp64Milli({before:Int64})
ORDER BY submitted_at DESC LIMIT {limit:UInt32}
"""
_STEPS: Final = """
SELECT node, max(duration_ms), max(wait_ms), sum(cost_nano) FROM steps FINAL
WHERE org = {org:String} AND run IN {runs:Array(String)} AND attempt > 0
    AND submitted_at >= fromUnixTimestamp64Milli({since:Int64})
    AND submitted_at < fromUnixTimestamp64Milli({before:Int64})
GROUP BY run, node
"""


class HistoryStore:
    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse

    async def read(self, org: str, workflow: str, run: str, before_ms: int) -> History:
        """Returns the measures of the newest runs of the workflow that completed and were submitted before."""
        place = {"org": org, "before": before_ms}
        found = await self._clickhouse.query(_RUNS, {**place, "workflow": workflow, "run": run, "limit": SAMPLES_MAX})
        if not found:
            return History()
        runs = [str(row[0]) for row in found]
        steps = await self._clickhouse.query(
            _STEPS, {**place, "runs": runs, "since": min(int(row[3]) for row in found)}
        )
        work: dict[str, list[float]] = {}
        wait: dict[str, list[float]] = {}
        cost: dict[str, list[float]] = {}
        for node, work_ms, wait_ms, cost_nano in steps:
            work.setdefault(str(node), []).append(float(work_ms))
            wait.setdefault(str(node), []).append(float(wait_ms))
            cost.setdefault(str(node), []).append(float(cost_nano))
        nodes = {node: NodeHistory(work[node], wait[node], cost[node]) for node in work}
        return History([float(row[1]) for row in found], [float(row[2]) for row in found], nodes)
