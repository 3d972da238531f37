"""Reading the whole log again, and how far ClickHouse has come."""

from __future__ import annotations

from typing import Any

from agentflow.v1 import trace_rebuild_pb2 as pb
from agentflow_common import rpc
from agentflow_gateway import auth_rules
from agentflow_gateway.api.call import Call
from agentflow_gateway.api.convert import message_of


async def rebuild(_request: Any, call: Call) -> Any:
    auth_rules.require(call.identity, "operator", "RebuildTraces (the traces of all orgs are read again)")
    return pb.RebuildTracesResponse(progress=_progress(await call.ask(rpc.TRACE_REBUILD, rpc.Empty())))


async def progress(_request: Any, call: Call) -> Any:
    return pb.GetTraceProgressResponse(progress=_progress(await call.ask(rpc.TRACE_PROGRESS, rpc.Empty())))


def _progress(reply: rpc.TraceProgressReply) -> Any:
    streams = [message_of(pb.TraceStreamProgress, stream) for stream in reply.streams]
    return message_of(pb.TraceProgress, reply, streams=streams)
