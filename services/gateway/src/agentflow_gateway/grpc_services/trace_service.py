"""TraceService: traces live in the trace service; the gateway says how far the log had come when it asks."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import nats.errors

from agentflow.v1 import trace_pb2 as pb
from agentflow.v1 import trace_pb2_grpc
from agentflow_common import events, rpc, subjects
from agentflow_common.errors import InvalidError, NotFoundError, OverloadedError, Problem, RetryableError
from agentflow_gateway import limits
from agentflow_gateway.api import call_context, convert, pages
from agentflow_gateway.definitions import check as definitions
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.runs import archive
from agentflow_gateway.runs.submit import no_such_run, run_key

MESSAGE_BYTES_MAX: Final = 30 * 1024 * 1024  # below the 32 MiB that the server sends


class TraceService(trace_pb2_grpc.TraceServiceServicer):
    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def GetTrace(self, request: Any, _context: Any) -> Any:  # noqa: N802
        call = call_context.current()
        key = run_key(call, request.run_id)
        newest = await _newest_seq(self._deps, key)  # 0: only the archive may know it
        question = rpc.TraceRequest(org=call.org, run=request.run_id, min_seq=newest)
        try:
            found = await call.ask(self._deps.nc, rpc.TRACE_GET, question)
        except NotFoundError:
            raise no_such_run(request.run_id) from None
        except RetryableError as error:
            if not newest and await archive.unheard_of(self._deps, key, error):
                raise no_such_run(request.run_id) from None
            raise
        response = pb.GetTraceResponse(
            run_id=found.run,
            workflow=found.workflow,
            status=convert.run_status(found.status),
            trace_id=found.trace_id,
            started_at=found.started_at,
            finished_at=found.finished_at,
            cost_nano_usd=found.cost_nano,
            input_tokens=found.input_tokens,
            output_tokens=found.output_tokens,
            redactions=found.redactions,
            steps=[_step(step) for step in found.steps],
        )
        await _tell_definition(self._deps, call.org, found, response)
        for event in found.events:
            response.events.append(_event(event, request.include_bodies))
        if response.ByteSize() > MESSAGE_BYTES_MAX:
            raise OverloadedError(
                "the trace with its bodies is too large for one answer; ask without include_bodies",
                kind="trace_too_large",
            )
        return response

    async def QueryTraces(self, request: Any, _context: Any) -> Any:  # noqa: N802
        call = call_context.current()
        if request.start_ms < 0 or request.end_ms < 0 or (0 < request.end_ms < request.start_ms):
            problem = Problem(
                "end_ms", "the window ends before it starts", "give start_ms <= end_ms, or 0 for no bound"
            )
            raise InvalidError(str(problem), problems=(problem,))
        provider = limits.check_text(request.provider, "provider", 64)
        workflow = limits.check_text(request.workflow, "workflow", 64)
        status = convert.run_status_name(request.status)
        filters = (str(request.start_ms), str(request.end_ms), provider, workflow, status)
        place = pages.read(request.page_token, pages.TracePlace)
        if place is not None:
            pages.check_filters(place.filters, filters)
        question = rpc.TraceQueryRequest(
            org=call.org,
            start_ms=request.start_ms,
            end_ms=request.end_ms,
            provider=provider,
            workflow=workflow,
            status=status,
            limit=pages.page_size(request.page_size),
            after_ms=place.submitted_at if place is not None else 0,
            after_run=place.run if place is not None else "",
        )
        reply = await call.ask(self._deps.nc, rpc.TRACE_QUERY, question)
        more = pages.TracePlace(reply.after_ms, reply.after_run, filters)
        return pb.QueryTracesResponse(
            next_page_token=pages.token(more) if reply.after_run else "",
            traces=[
                pb.TraceSummary(
                    run_id=trace.run,
                    workflow=trace.workflow,
                    status=convert.run_status(trace.status),
                    started_at=trace.started_at,
                    duration_ms=trace.duration_ms,
                    cost_nano_usd=trace.cost_nano,
                    steps=trace.steps,
                )
                for trace in reply.traces
            ],
        )


async def _tell_definition(deps: Deps, org: str, found: rpc.TraceReply, response: Any) -> None:
    """Sets the version of the run's definition, and whether it is the one that is registered under it."""
    first = next((event for event in found.events if event.type == "run.submitted" and event.body), None)
    if first is None:
        return
    submitted = events.try_decode(first.body.encode())
    if isinstance(submitted, events.RunSubmitted):
        response.version = submitted.version
        known = await definitions.is_registered(deps, org, submitted.workflow, submitted.version, submitted.definition)
        response.unregistered = not known


async def _newest_seq(deps: Deps, key: subjects.EntityKey) -> int:
    """The sequence of the run's newest event of any kind; 0 if there is none."""
    subject = f"$JS.API.DIRECT.GET.{subjects.EVENTS_STREAM}"
    body = msgspec.json.encode({"last_by_subj": subjects.run_all(key)})
    try:
        reply = await deps.nc.request(subject, body, timeout=call_context.current().timeout_s(10.0))
    except (nats.errors.TimeoutError, nats.errors.NoRespondersError) as error:
        raise RetryableError("the event log is not reachable", kind="log_unavailable") from error
    return int((reply.headers or {}).get("Nats-Sequence", "0"))


def _step(step: rpc.TraceStep) -> Any:
    return pb.TraceStep(
        step=step.step,
        attempt=step.attempt,
        status=convert.step_status(step.status),
        scheduled_at=step.scheduled_at,
        started_at=step.started_at,
        finished_at=step.finished_at,
        wait_ms=step.wait_ms,
        duration_ms=step.duration_ms,
        cost_nano_usd=step.cost_nano,
        provider=step.provider,
        model=step.model,
        prompt=step.prompt,
        input_tokens=step.input_tokens,
        output_tokens=step.output_tokens,
        cache_hit=step.cache_hit,
        worker=step.worker,
        error=step.error,
        redactions=step.redactions,
        finish_reason=step.finish_reason,
    )


def _event(event: rpc.TraceEvent, with_body: bool) -> Any:
    message = pb.TraceEvent(
        stream=event.stream, sequence=event.seq, ts=event.ts, type=event.type, step=event.step, attempt=event.attempt
    )
    if with_body and event.body:
        convert.set_struct(message.body, msgspec.json.decode(event.body))
    return message
