"""Replays: a scheduler takes the decisions of a run again; the gateway says whose run it is."""

from __future__ import annotations

from typing import Any

from agentflow.v1 import trace_replay_pb2 as pb
from agentflow_common import rpc
from agentflow_common.errors import NotFoundError, RetryableError
from agentflow_gateway.api import convert
from agentflow_gateway.api.call import Call
from agentflow_gateway.runs import archive
from agentflow_gateway.runs.lookup import no_such_run, run_key


async def replay_trace(request: Any, call: Call) -> Any:
    """Answers ReplayTrace."""
    key = run_key(call, request.run_id)
    try:
        reply = await call.ask(
            rpc.REPLAY, rpc.ReplayRequest(org=key.org, run=key.name, history=request.include_history)
        )
    except NotFoundError:
        raise no_such_run(request.run_id) from None
    except RetryableError as error:
        if await archive.is_unlisted(call, key, error):
            raise no_such_run(request.run_id) from None
        raise
    return convert.message_of(pb.ReplayTraceResponse, reply, divergence=_divergence(reply.divergence))


def _divergence(found: rpc.ReplayDivergence | None) -> Any:
    if found is None:
        return None
    differences = [convert.message_of(pb.ReplayDifference, one) for one in found.differences]
    return convert.message_of(pb.ReplayDivergence, found, differences=differences)
