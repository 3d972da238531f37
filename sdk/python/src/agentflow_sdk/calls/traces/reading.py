"""The calls that read traces."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from agentflow.v1 import trace_pb2 as pb
from agentflow_sdk.calls.references import RunRef, run_id_of
from agentflow_sdk.convert.answers import record
from agentflow_sdk.models.traces.trace import Trace
from agentflow_sdk.transport.call import Call, Program, service

_METHOD: Final = service("TraceService", pb)
_PAGE: Final = 1_000  # events of a page


def get_trace(run: RunRef, *, bodies: bool = False, timeout: float | None = None) -> Program[Trace]:
    """Returns everything that happened to a run. A large trace takes several calls.

    Args:
        run: The id of the run, or an object that has one (`Submission`, `Run`, `RunSummary`).
        bodies: True to get the body of each event too.
        timeout: Seconds for each of the calls, retries included; None for the client's default.

    Returns:
        The trace. It contains everything that was in the log when it was asked for.

    Raises:
        NotFoundError: The org has no such run.
        ResourceExhaustedError: A page of events with their bodies is too large for one answer.
        PermissionDeniedError: The API key lacks the permission `read`.
    """
    request = pb.GetTraceRequest(run_id=run_id_of(run), include_bodies=bodies, page_size=_PAGE if bodies else 0)
    first: tuple[Trace, str] = yield Call(_METHOD("GetTrace"), request, _with_token, timeout)
    trace, token = first
    events = list(trace.events)
    while token:
        request = pb.GetTraceRequest(
            run_id=request.run_id, include_bodies=bodies, page_size=request.page_size, page_token=token
        )
        following: tuple[Trace, str] = yield Call(_METHOD("GetTrace"), request, _with_token, timeout)
        page, token = following
        events += page.events
        trace = dataclasses.replace(trace, events=tuple(events), truncated=page.truncated)
    return trace


def _with_token(reply: Any) -> tuple[Trace, str]:
    return record(Trace, reply), reply.next_page_token
