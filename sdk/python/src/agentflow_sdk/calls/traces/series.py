"""The call for developments over time."""

from __future__ import annotations

from typing import Final

from agentflow.v1 import trace_series_pb2 as pb
from agentflow_sdk.convert.answers import reader
from agentflow_sdk.models.traces.series import TraceSeries
from agentflow_sdk.transport.call import Call, service

_METHOD: Final = service("TraceService", pb)


def get_series(
    *,
    start_ms: int,
    end_ms: int = 0,
    by: str = "",
    workflow: str = "",
    bucket_ms: int = 0,
    timeout: float | None = None,
) -> Call[TraceSeries]:
    """Returns how cost, latency, errors, tokens and runs developed over time.

    Args:
        start_ms: The first time, ms since the epoch.
        end_ms: The last time, ms since the epoch; 0 for now.
        by: One series for each `workflow`, `status`, `node` or `model`; empty for one series of all.
        workflow: Only this workflow.
        bucket_ms: The length of a time, ms; 0 for about 60 times.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The points of at most nine series.

    Raises:
        InvalidArgumentError: The kind of series is not known, the end is not after the start, or there are more than
            1,000 times.
        PermissionDeniedError: The API key lacks the permission `read`.
    """
    request = pb.GetTraceSeriesRequest(start_ms=start_ms, end_ms=end_ms, by=by, workflow=workflow, bucket_ms=bucket_ms)
    return Call(_METHOD("GetTraceSeries"), request, reader(TraceSeries), timeout)
