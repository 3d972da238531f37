"""The calls that compare runs."""

from __future__ import annotations

from typing import Final

from agentflow.v1 import trace_diff_pb2 as pb
from agentflow_sdk.calls.references import RunRef, run_id_of
from agentflow_sdk.convert.answers import reader
from agentflow_sdk.models.traces.diff import TraceDiff
from agentflow_sdk.transport.call import Call, service

_METHOD: Final = service("TraceService", pb)


def diff_traces(a: RunRef, b: RunRef, *, values: bool = True, timeout: float | None = None) -> Call[TraceDiff]:
    """Returns the differences of two runs: steps by meaning, and how much each added to cost and duration.

    Args:
        a: The id of the first run, or an object that has one (`Submission`, `Run`, `RunSummary`).
        b: The id of the second run, or an object that has one.
        values: False to leave out what differs inside of inputs and outputs.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The differences from `a` to `b`.

    Raises:
        NotFoundError: The org does not have one of the runs.
        PermissionDeniedError: The API key lacks the permission `read`.
    """
    request = pb.DiffTracesRequest(a=run_id_of(a), b=run_id_of(b), omit_values=not values)
    return Call(_METHOD("DiffTraces"), request, reader(TraceDiff), timeout)
