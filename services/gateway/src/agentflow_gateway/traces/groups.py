"""The differences of two groups of runs: the trace service compares, and the gateway checks the filters."""

from __future__ import annotations

from typing import Any, Final

from agentflow.v1 import trace_groups_pb2 as pb
from agentflow_common import rpc
from agentflow_common.errors import InvalidError
from agentflow_common.rpc.traces.groups import RUNS_MAX, RUNS_MIN
from agentflow_gateway import limits
from agentflow_gateway.api import convert
from agentflow_gateway.api.call import Call

TAGS_MAX: Final = 8
RUNS_DEFAULT: Final = 200


async def diff_trace_groups(request: Any, call: Call) -> Any:
    """Answers DiffTraceGroups."""
    runs_max = request.runs_max or RUNS_DEFAULT
    runs_min = request.runs_min or min(RUNS_MIN, runs_max)
    if not 1 <= runs_min <= runs_max <= RUNS_MAX:
        fix = f"use 1 to {RUNS_MAX}, and no more than the greatest number of runs"
        raise InvalidError.at("runs_min", f"{runs_min} to {runs_max} runs can't be compared", fix)
    question = rpc.TraceGroupsRequest(
        org=call.org, a=_group(request.a, "a"), b=_group(request.b, "b"), runs_min=runs_min, runs_max=runs_max
    )
    reply = await call.ask(rpc.TRACE_GROUPS, question)
    return convert.message_of(
        pb.DiffTraceGroupsResponse,
        reply,
        a=convert.message_of(pb.TraceGroupSide, reply.a),
        b=convert.message_of(pb.TraceGroupSide, reply.b),
        measures=[convert.message_of(pb.TraceGroupMeasure, measure) for measure in reply.measures],
        steps=[_step(step) for step in reply.steps],
    )


def _group(group: Any, place: str) -> rpc.RunGroup:
    if len(group.tags) > TAGS_MAX:
        raise InvalidError.at(f"{place}.tags", f"a group may have {TAGS_MAX} tags", "use fewer")
    if group.start_ms < 0 or group.end_ms < 0 or 0 < group.end_ms < group.start_ms:
        raise InvalidError.at(f"{place}.end_ms", "the window ends before it starts", "swap the two times")
    return rpc.RunGroup(
        tags=tuple(limits.check_text(tag, f"{place}.tags", 400) for tag in group.tags),
        workflow=limits.check_text(group.workflow, f"{place}.workflow", 64),
        version=max(0, group.version),
        model=limits.check_text(group.model, f"{place}.model", 200),
        prompt=limits.check_text(group.prompt, f"{place}.prompt", 200),
        status=convert.RUN_STATUS.name(group.status),
        start_ms=group.start_ms,
        end_ms=group.end_ms,
    )


def _step(step: rpc.GroupStep) -> Any:
    measures = [convert.message_of(pb.TraceGroupMeasure, measure) for measure in step.measures]
    return convert.message_of(pb.TraceGroupStep, step, measures=measures)
