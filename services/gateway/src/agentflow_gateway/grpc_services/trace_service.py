"""TraceService: traces live in the trace service; the gateway adds how far the log had come when it asked."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from agentflow.v1 import trace_calls_pb2 as calls_pb
from agentflow.v1 import trace_pb2 as pb
from agentflow.v1 import trace_views_pb2 as pb_views
from agentflow_common import events, rpc
from agentflow_common.errors import NotFoundError, OverloadedError, RetryableError
from agentflow_gateway.api import convert
from agentflow_gateway.api.call import Call
from agentflow_gateway.api.pages import Page
from agentflow_gateway.definitions import check as definitions
from agentflow_gateway.runs import archive
from agentflow_gateway.runs.lookup import no_such_run, run_key
from agentflow_gateway.traces import explain, groups, query, rebuild, replay, series, spans
from agentflow_gateway.traces.diff import diff_traces, newest_seq

MESSAGE_BYTES_MAX: Final = 30 * 1024 * 1024  # below the 32 MiB that the server sends


class TraceService:
    async def RebuildTraces(self, request: Any, call: Call) -> Any:
        return await rebuild.rebuild(request, call)

    async def GetTraceProgress(self, request: Any, call: Call) -> Any:
        return await rebuild.progress(request, call)

    async def GetTrace(self, request: Any, call: Call) -> Any:
        key = run_key(call, request.run_id)
        page = Page(request, "trace", request.run_id, str(request.include_bodies), default=0)
        newest = 0 if page.after else await newest_seq(call, key)  # 0: only the archive may know it
        question = rpc.TraceRequest(
            org=call.org,
            run=request.run_id,
            min_seq=newest,
            bodies=request.include_bodies,
            events_max=page.limit,
            after_stream=page.after_name,
            after_seq=page.after.number if page.after else 0,
        )
        try:
            trace = await call.ask(rpc.TRACE_GET, question)
        except NotFoundError:
            raise no_such_run(request.run_id) from None
        except RetryableError as error:
            if not newest and await archive.is_unlisted(call, key, error):
                raise no_such_run(request.run_id) from None
            raise
        last = trace.events[-1] if trace.events else None
        version, unregistered = await _definition_of(call, trace)
        response = convert.message_of(
            pb.GetTraceResponse,
            trace,
            steps=[_step(step) for step in trace.steps],
            events=[_event(event, request.include_bodies) for event in trace.events],
            nodes=[convert.message_of(pb_views.TraceNode, node) for node in trace.nodes],
            critical_path=[convert.message_of(pb_views.TraceSegment, part) for part in trace.critical_path],
            version=version,
            unregistered=unregistered,
            next_page_token=page.token(last.seq, last.stream) if last is not None and trace.more else "",
        )
        if response.ByteSize() > MESSAGE_BYTES_MAX:
            text = "the trace with its bodies is too large for one answer; ask with a page_size, or a smaller one"
            raise OverloadedError(text, kind="trace_too_large")
        return response

    async def ExportTraceSpans(self, request: Any, call: Call) -> Any:
        key = run_key(call, request.run_id)
        return await spans.export(call, key, await newest_seq(call, key), request)

    async def GetTraceSeries(self, request: Any, call: Call) -> Any:
        return await series.get_trace_series(request, call)

    async def ExplainTrace(self, request: Any, call: Call) -> Any:
        key = run_key(call, request.run_id)
        return await explain.answer(call, key, await newest_seq(call, key), request)

    async def QueryTraces(self, request: Any, call: Call) -> Any:
        return await query.query(request, call)

    async def ReplayTrace(self, request: Any, call: Call) -> Any:
        return await replay.replay_trace(request, call)

    async def DiffTraces(self, request: Any, call: Call) -> Any:
        return await diff_traces(request, call)

    async def DiffTraceGroups(self, request: Any, call: Call) -> Any:
        return await groups.diff_trace_groups(request, call)


async def _definition_of(call: Call, trace: rpc.TraceReply) -> tuple[int, bool]:
    """Returns (the version of the run's definition, whether another one is registered under its name and version)."""
    first = next((event for event in trace.events if event.type == "run.submitted" and event.body), None)
    submitted = None if first is None else events.try_decode(first.body.encode())
    if not isinstance(submitted, events.RunSubmitted):
        return 0, False
    registered = await definitions.is_registered(call, submitted.workflow, submitted.version, submitted.definition)
    return submitted.version, not registered


def _step(step: rpc.TraceStep) -> Any:
    calls = [convert.message_of(calls_pb.TraceCall, call) for call in step.calls]
    return convert.message_of(pb.TraceStep, step, calls=calls)


def _event(event: rpc.TraceEvent, with_body: bool) -> Any:
    message = convert.message_of(pb.TraceEvent, event, body=None)
    if with_body and event.body:
        convert.set_struct(message.body, msgspec.json.decode(event.body))
    return message
