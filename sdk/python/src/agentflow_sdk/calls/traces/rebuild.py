"""The calls about reading the log again."""

from __future__ import annotations

from typing import Final

from agentflow.v1 import trace_rebuild_pb2 as pb
from agentflow_sdk.convert.answers import reader
from agentflow_sdk.models.traces.progress import TraceProgress
from agentflow_sdk.transport.call import Call, service

_METHOD: Final = service("TraceService", pb)


def rebuild(*, timeout: float | None = None) -> Call[TraceProgress]:
    """Drops everything that ClickHouse has of all orgs, and reads the log again.

    Traces are incomplete until that is done. A second call while it goes on changes nothing.

    Args:
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The progress at the beginning.

    Raises:
        PermissionDeniedError: The API key lacks the permissions `admin` and `operator`.
    """
    return Call(_METHOD("RebuildTraces"), pb.RebuildTracesRequest(), reader(TraceProgress, "progress"), timeout)


def progress(*, timeout: float | None = None) -> Call[TraceProgress]:
    """Returns how much of the log is in ClickHouse.

    Args:
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The progress.

    Raises:
        PermissionDeniedError: The API key lacks the permission `admin`.
    """
    return Call(_METHOD("GetTraceProgress"), pb.GetTraceProgressRequest(), reader(TraceProgress, "progress"), timeout)
