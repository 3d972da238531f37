"""The call that gives the OpenTelemetry spans of a run."""

from __future__ import annotations

from typing import Any, Final

from agentflow.v1 import trace_spans_pb2 as pb
from agentflow_sdk.calls.references import RunRef, run_id_of
from agentflow_sdk.transport.call import Call, Program, service

_METHOD: Final = service("TraceService", pb)


def export_spans(run: RunRef, *, timeout: float | None = None) -> Program[list[bytes]]:
    """Returns the OpenTelemetry spans of what has ended in a run. They are the same whenever they are asked for.

    Args:
        run: The id of the run, or an object that has one (`Submission`, `Run`, `RunSummary`).
        timeout: Seconds for each of the calls, retries included; None for the client's default.

    Returns:
        Messages of the type `ExportTraceServiceRequest`, as a receiver of OTLP takes each of them. There is none if
        nothing has ended. One after the other they are a valid message, too.

    Raises:
        NotFoundError: The org has no such run.
        PermissionDeniedError: The API key lacks the permission `read`.
    """
    messages: list[bytes] = []
    request = pb.ExportTraceSpansRequest(run_id=run_id_of(run))
    while True:
        reply: Any = yield Call(_METHOD("ExportTraceSpans"), request, lambda answer: answer, timeout)
        if reply.otlp:
            messages.append(reply.otlp)
        if not reply.next_page_token:
            return messages
        request = pb.ExportTraceSpansRequest(run_id=request.run_id, page_token=reply.next_page_token)
