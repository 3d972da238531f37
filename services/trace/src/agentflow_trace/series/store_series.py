"""The SQL of developments over time. It reads the derived tables."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from agentflow_common.connections.clickhouse import ClickHouse
from agentflow_common.rpc.traces.series import TraceSeriesPoint, TraceSeriesRequest
from agentflow_trace.series.plan import SERIES_MAX

OTHER: Final = "(other)"


class _Source(NamedTuple):
    """The expressions over one table that give a series, its time, and what is summed."""

    table: str
    series: str
    at: str
    error: str
    latency: str
    ended: str
    more: str = ""


_RUNS: Final = _Source(
    "runs FINAL", "''", "submitted_at", "status = 'failed'", "duration_ms",
    "status IN ('completed', 'failed', 'cancelled')",
)  # fmt: skip
SOURCES: Final = {
    "": _RUNS,
    "workflow": _RUNS._replace(series="workflow"),
    "status": _RUNS._replace(series="status"),
    "node": _Source(
        "steps FINAL", "concat(workflow, '/', node)", "submitted_at", "status IN ('failed', 'outcome_unknown')",
        "duration_ms", "status IN ('completed', 'failed')", "AND attempt > 0",
    ),
    "model": _Source("llm_calls", "concat(provider, '/', model)", "at", "NOT ok", "latency_ms", "1"),
}  # fmt: skip
# The cost of a subworkflow's run is in the rows of its parent too, and counts once.
_OWN_COST: Final = {"runs FINAL": "if(parent_run = '', {}, 0)", "steps FINAL": "if(kind = 'subworkflow', 0, {})"}


class SeriesStore:
    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse

    async def points(self, request: TraceSeriesRequest) -> tuple[TraceSeriesPoint, ...]:
        """Returns the points of a checked request. Series beyond the largest ones are one."""
        source = SOURCES[request.by]
        own = _OWN_COST.get(source.table, "{}")
        workflow = "AND workflow = {workflow:String}" if request.workflow else ""
        if request.workflow and source.table == _RUNS.table:  # also the runs that another one has started
            own = "{}"
        rows = (
            f"SELECT {source.series} AS name, "  # noqa: S608
            f"intDiv(toUnixTimestamp64Milli({source.at}), {{length:Int64}}) AS bucket, "
            f"toUInt8({source.error}) AS error, {own.format('cost_nano')} AS cost, "
            f"{own.format('input_tokens + output_tokens')} AS tokens, "
            f"toFloat64({source.latency}) AS latency, toUInt8({source.ended}) AS ended "
            f"FROM {source.table} WHERE org = {{org:String}} "
            f"AND {source.at} >= fromUnixTimestamp64Milli({{start:Int64}}) "
            f"AND {source.at} < fromUnixTimestamp64Milli({{end:Int64}}) {source.more} {workflow}"
        )
        order = "sum(cost) DESC, count() DESC, name"
        largest = f"SELECT name FROM ({rows}) GROUP BY name ORDER BY {order} LIMIT {{most:UInt8}}"  # noqa: S608
        found = await self._clickhouse.query(
            f"SELECT if(name IN ({largest}), name, {{other:String}}) AS series, "  # noqa: S608
            "bucket, count(), sum(error), sum(cost), sum(tokens), "
            "quantileExactIf(0.5)(latency, ended = 1), quantileExactIf(0.95)(latency, ended = 1) "
            f"FROM ({rows}) GROUP BY series, bucket ORDER BY series, bucket",
            {
                "org": request.org, "start": request.start_ms, "end": request.end_ms, "length": request.bucket_ms,
                "other": OTHER, "most": SERIES_MAX, **({"workflow": request.workflow} if request.workflow else {}),
            },
        )  # fmt: skip
        return tuple(_point(row, request.bucket_ms) for row in found)


def _point(row: Any, length: int) -> TraceSeriesPoint:
    name, bucket, count, errors, cost, tokens, median, slow = row
    return TraceSeriesPoint(
        str(name), int(bucket) * length, int(count), int(errors), int(cost), int(tokens), _number(median), _number(slow)
    )


def _number(value: Any) -> float:
    """Returns a quantile; 0 if nothing had ended, of which ClickHouse makes NaN."""
    number = float(value)
    return number if number == number else 0.0  # noqa: PLR0124
