"""The call that compares groups of runs."""

from __future__ import annotations

from typing import Any, Final

from agentflow.v1 import trace_groups_pb2 as pb
from agentflow_sdk.convert.answers import reader
from agentflow_sdk.convert.requests import run_status_name
from agentflow_sdk.models.traces.groups import TraceGroup, TraceGroups
from agentflow_sdk.transport.call import Call, service

_METHOD: Final = service("TraceService", pb)


def diff_trace_groups(
    a: TraceGroup, b: TraceGroup, *, runs_min: int = 5, runs_max: int = 200, timeout: float | None = None
) -> Call[TraceGroups]:
    """Returns the differences of two groups of finished runs: medians, intervals, and which steps changed.

    Args:
        a: The first group.
        b: The second group.
        runs_min: The number of runs that each group needs before a difference is called significant.
        runs_max: The most runs of a group, up to 500. Of more runs the newest count.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The differences from `a` to `b`.

    Raises:
        InvalidArgumentError: A filter or a number of runs does not fit.
        PermissionDeniedError: The API key lacks the permission `read`.
    """
    request = pb.DiffTraceGroupsRequest(a=_group(a), b=_group(b), runs_min=runs_min, runs_max=runs_max)
    return Call(_METHOD("DiffTraceGroups"), request, reader(TraceGroups), timeout)


def _group(group: TraceGroup) -> Any:
    fields = {**group.to_dict(), "status": run_status_name(group.status or None)}
    return pb.TraceRunGroup(**fields)
