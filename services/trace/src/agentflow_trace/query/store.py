"""The SQL that finds runs, over the derived tables."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from agentflow_common.connections.clickhouse import ClickHouse
from agentflow_common.rpc import TraceQueryReply, TraceQueryRequest, TraceSummary
from agentflow_trace.query.conditions import VALUE_OF_SORT, conditions

_COLUMNS: Final = (
    "run, workflow, status, toUnixTimestamp64Milli(submitted_at), duration_ms, cost_nano, steps, org, version, tags, "
    "input_tokens, output_tokens, attempts, failed_attempts, providers, models, "
    "if(error = '', error_type, concat(error_type, ': ', error))"
)


class QueryStore:
    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse

    async def find(self, request: TraceQueryRequest, limit: int) -> TraceQueryReply:
        """Returns a page of the runs that match.

        Raises InvalidError for a text without words.
        """
        where, values = conditions(request)
        value = VALUE_OF_SORT[request.sort]
        if request.after_run:
            where += f" AND ({value}, run) < ({{after_value:Int64}}, {{after_run:String}})"
            values |= {"after_value": request.after_value, "after_run": request.after_run}
        found = await self._clickhouse.query(
            f"SELECT {value} AS place, {_COLUMNS} FROM runs FINAL WHERE {where} "  # noqa: S608 - this room's own text
            "ORDER BY place DESC, run DESC LIMIT {limit:UInt32}",
            {**values, "limit": limit + 1},
        )
        traces = tuple(_summary(*row[1:]) for row in found[:limit])
        if len(found) <= limit:
            return TraceQueryReply(traces)
        return TraceQueryReply(traces, int(found[limit - 1][0]), traces[-1].run)


def _summary(*values: Any) -> TraceSummary:
    found = TraceSummary(*values)
    return msgspec.structs.replace(found, providers=tuple(found.providers), models=tuple(found.models))
