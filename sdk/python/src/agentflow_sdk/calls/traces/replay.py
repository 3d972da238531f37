"""The call that replays a run."""

from __future__ import annotations

from typing import Final

from agentflow.v1 import trace_replay_pb2 as pb
from agentflow_sdk.calls.references import RunRef, run_id_of
from agentflow_sdk.convert.answers import reader
from agentflow_sdk.models.traces.replay import TraceReplay
from agentflow_sdk.transport.call import Call, service

_METHOD: Final = service("TraceService", pb)


def replay_trace(run: RunRef, *, history: bool = False, timeout: float | None = None) -> Call[TraceReplay]:
    """Takes every decision of a run again with today's engine, and finds the first divergence. Executes nothing.

    Args:
        run: The id of the run, or an object that has one (`Submission`, `Run`, `RunSummary`).
        history: True to get the log too, for a replay without a server.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The replay: `same`, or `diverged` with the place and the fields.

    Raises:
        NotFoundError: The org has no such run.
        InvalidArgumentError: The log is incomplete, too large, or a value that it refers to is lost.
        PermissionDeniedError: The API key lacks the permission `read`.
    """
    request = pb.ReplayTraceRequest(run_id=run_id_of(run), include_history=history)
    return Call(_METHOD("ReplayTrace"), request, reader(TraceReplay), timeout)
