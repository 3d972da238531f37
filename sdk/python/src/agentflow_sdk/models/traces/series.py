"""Developments of cost, latency, errors, tokens and runs over time."""

from __future__ import annotations

from dataclasses import dataclass

from agentflow_sdk.models.records import Priced, Record


@dataclass(frozen=True, slots=True)
class TraceSeriesPoint(Priced):
    """The sums of one series in one time."""

    series: str
    """The name of the series; empty for all together, `(other)` for those beyond the largest eight."""
    at: int
    """When the time begins, ms since the epoch."""
    count: int = 0
    """The number of runs; by node of attempts, by model of calls."""
    errors: int = 0
    """Those that failed."""
    cost_nano_usd: int = 0
    """The cost, nano-USD."""
    tokens: int = 0
    """The tokens that models read and wrote."""
    latency_p50_ms: float = 0.0
    """The median latency of those that have ended, ms."""
    latency_p95_ms: float = 0.0
    """The latency that 95% of those that have ended did not exceed, ms."""


@dataclass(frozen=True, slots=True)
class TraceSeries(Record):
    """A development over time. A time in which nothing happened has no point."""

    points: tuple[TraceSeriesPoint, ...] = ()
    """The points, in order of series and time."""
    bucket_ms: int = 0
    """The length of a time, ms."""
    start_ms: int = 0
    """When the first time begins, ms since the epoch."""
    end_ms: int = 0
    """When the last time ends, ms since the epoch."""
