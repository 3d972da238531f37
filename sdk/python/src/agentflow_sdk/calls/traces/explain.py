"""The call that explains a run."""

from __future__ import annotations

from typing import Final

from agentflow.v1 import trace_explain_pb2 as pb
from agentflow_sdk.calls.references import RunRef, run_id_of
from agentflow_sdk.convert.answers import reader
from agentflow_sdk.models.traces.explanation import TraceExplanation
from agentflow_sdk.transport.call import Call, service

_METHOD: Final = service("TraceService", pb)


def explain_trace(
    run: RunRef, *, slow: bool = False, cost: bool = False, timeout: float | None = None
) -> Call[TraceExplanation]:
    """Returns why a run ended as it did, or why it has not ended.

    Args:
        run: The id of the run, or an object that has one (`Submission`, `Run`, `RunSummary`).
        slow: True to get where the time went, too.
        cost: True to get where the money went, too.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The causes with their evidence, the most likely first.

    Raises:
        NotFoundError: The org has no such run.
        PermissionDeniedError: The API key lacks the permission `read`.
    """
    request = pb.ExplainTraceRequest(run_id=run_id_of(run), slow=slow, cost=cost)
    return Call(_METHOD("ExplainTrace"), request, reader(TraceExplanation), timeout)
