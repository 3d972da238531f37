"""The question of how cost, latency, errors, tokens and runs developed over time."""

from __future__ import annotations

from agentflow_common.rpc.verbs import Message, Verb


class TraceSeriesRequest(Message, frozen=True):
    """Sums over times of equal length. Times in ms since the epoch."""

    org: str
    start_ms: int
    end_ms: int
    by: str = ""  # one series for each `workflow`, `status`, `node`, `model`; empty: one of all
    workflow: str = ""  # only this one
    bucket_ms: int = 0  # the length of a time; 0: the service chooses


class TraceSeriesPoint(Message, frozen=True):
    """The sums of one series in one time."""

    series: str  # empty: all
    at: int  # when the time begins
    count: int  # runs; by node attempts of steps, by model calls
    errors: int  # those that failed
    cost_nano: int
    tokens: int
    latency_p50_ms: float  # of those that have ended
    latency_p95_ms: float


class TraceSeriesReply(Message, frozen=True):
    """Points in order of series and time. A time in which nothing happened has no point."""

    points: tuple[TraceSeriesPoint, ...]
    bucket_ms: int
    start_ms: int  # of the first time
    end_ms: int


TRACE_SERIES = Verb("trace", "series", TraceSeriesRequest, TraceSeriesReply, 20.0)
