"""Developments over time: the trace service sums, and the gateway says whose runs and until when."""

from __future__ import annotations

from typing import Any

from agentflow.v1 import trace_series_pb2 as pb
from agentflow_common import rpc
from agentflow_gateway import limits
from agentflow_gateway.api import convert
from agentflow_gateway.api.call import Call


async def get_trace_series(request: Any, call: Call) -> Any:
    """Answers GetTraceSeries."""
    question = rpc.TraceSeriesRequest(
        org=call.org,
        start_ms=request.start_ms,
        end_ms=request.end_ms or call.now_ms(),
        by=limits.check_text(request.by, "by", 16),
        workflow=limits.check_text(request.workflow, "workflow", 64),
        bucket_ms=request.bucket_ms,
    )
    reply = await call.ask(rpc.TRACE_SERIES, question)
    points = [convert.message_of(pb.TraceSeriesPoint, point, cost_nano_usd=point.cost_nano) for point in reply.points]
    return convert.message_of(pb.GetTraceSeriesResponse, reply, points=points)
