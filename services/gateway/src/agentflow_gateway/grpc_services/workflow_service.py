"""WorkflowService: registers and checks definitions, submits, shows, lists, watches, awaits and cancels runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, Final

import msgspec

from agentflow.v1 import workflow_pb2 as pb
from agentflow_common import events as ev
from agentflow_common import tasks, telemetry
from agentflow_common.errors import InvalidError, Problem
from agentflow_gateway.api import convert, errors
from agentflow_gateway.api.call import Call
from agentflow_gateway.api.convert import message_of, optional
from agentflow_gateway.api.pages import Page
from agentflow_gateway.controls import commands
from agentflow_gateway.definitions import check as definitions
from agentflow_gateway.definitions.check import Source
from agentflow_gateway.grpc_services import run_answers
from agentflow_gateway.grpc_services.run_answers import RunAnswers
from agentflow_gateway.runs import listing, submit
from agentflow_gateway.runs import view as run_view
from agentflow_gateway.runs.submission import Submission
from agentflow_gateway.runs.wait import Waiters
from agentflow_gateway.runs.watch import Piece, Place, Seen, Token, Watchers
from agentflow_gateway.store.runs import RunFilter, RunRow

SUBMISSIONS_MAX: Final = 100  # of one call
EVENT_BYTES_MAX: Final = 3_500_000  # of a watched event, below the 4 MiB that clients take by default
COMPACT_BYTES_MAX: Final = 1024 * 1024  # of the events of one answer
WAITS_MAX: Final = 100  # of one call
ANSWERS_GATHER_S: Final = 0.003  # from the end of a run until it is answered where others are waited for, too
GATHER_S: Final = 0.02  # between two compact answers about a run that goes on


class WorkflowService:
    def __init__(self) -> None:
        self._watchers = Watchers()
        self._waiters = Waiters()
        self._answers = RunAnswers()

    async def RegisterWorkflow(self, request: Any, call: Call) -> Any:
        checked, created = await definitions.register(call, _source(request), allow_unknown=request.allow_unknown)
        definition = checked.definition
        return pb.RegisterWorkflowResponse(
            name=definition.name,
            version=definition.version,
            digest=checked.digest,
            created=created,
            warnings=_problems(checked.warnings),
        )

    async def ValidateWorkflow(self, request: Any, call: Call) -> Any:
        source, allow_unknown = _source(request), request.allow_unknown
        checked, problems = await definitions.problems_of(call, source, allow_unknown=allow_unknown)
        if checked is None:
            return pb.ValidateWorkflowResponse(problems=_problems(problems))
        definition = checked.definition
        return pb.ValidateWorkflowResponse(
            valid=True,
            name=definition.name,
            version=definition.version,
            steps=len(definition.dag.nodes),
            warnings=_problems(checked.warnings),
        )

    async def SubmitWorkflow(self, request: Any, call: Call) -> Any:
        submission = Submission(
            idempotency_key=request.idempotency_key,
            tags=dict(request.tags),
            priority=request.priority,
            budget_cents=optional(request, "budget_cents"),
            deadline_ms=optional(request, "deadline_ms"),
            unregistered=request.unregistered,
            break_at=tuple(request.break_at),
            step_by_step=request.step_by_step,
        )
        inputs = convert.from_struct(request.inputs, "inputs")
        run, deduplicated = await submit.submit(call, _source(request), inputs, submission)
        return pb.SubmitWorkflowResponse(run_id=run, deduplicated=deduplicated)

    async def SubmitWorkflows(self, request: Any, call: Call) -> Any:
        if len(request.submissions) > SUBMISSIONS_MAX:
            text = f"{len(request.submissions):,} submissions are too many"
            raise InvalidError.at("submissions", text, f"send at most {SUBMISSIONS_MAX} in one call")
        results = await asyncio.gather(*(self._submitted(item, call) for item in request.submissions))
        return pb.SubmitWorkflowsResponse(results=results)

    async def _submitted(self, request: Any, call: Call) -> Any:
        """Returns the result of one submission of several."""
        with telemetry.span("submission", "", "server", agentflow__org=call.org) as span:
            own = Call(call.deps, call.identity, span.traceparent, call.deadline_at)
            try:
                return pb.SubmissionResult(submitted=await self.SubmitWorkflow(request, own))
            except Exception as error:
                return pb.SubmissionResult(error=errors.to_details(errors.for_client(error)))

    async def GetRun(self, request: Any, call: Call) -> Any:
        if request.reveal:
            view = await run_view.view(call, request.run_id, reveal=True, reason=request.reveal_reason)
            return pb.GetRunResponse(run=run_answers.message(view))
        return pb.GetRunResponse(run=await self._answers.get(call, request.run_id))

    async def WaitRun(self, request: Any, call: Call) -> Any:
        waited = await self._waiters.wait(call, request.run_id, request.timeout_ms, request.follow_chain)
        return pb.WaitRunResponse(run=await self._answers.get(call, waited.run, waited.seq, waited.whole))

    async def WaitRuns(self, request: Any, call: Call) -> AsyncIterator[Any]:
        if len(request.waits) > WAITS_MAX:
            text = f"{len(request.waits):,} waits are too many"
            raise InvalidError.at("waits", text, f"send at most {WAITS_MAX} in one call")
        ended: asyncio.Queue[Any] = asyncio.Queue()

        async def wait(number: int, item: Any) -> None:
            try:
                result = pb.WaitResult(number=number, waited=await self.WaitRun(item, call))
            except Exception as error:
                result = pb.WaitResult(number=number, error=errors.to_details(errors.for_client(error)))
            ended.put_nowait(result)

        waits = [asyncio.create_task(wait(*item)) for item in enumerate(request.waits)]
        try:
            left = len(waits)
            while left:
                response = pb.WaitRunsResponse(results=[await ended.get()])
                if left > 1:  # runs that end together are answered together
                    await asyncio.sleep(ANSWERS_GATHER_S)
                while not ended.empty() and response.ByteSize() < COMPACT_BYTES_MAX:
                    response.results.append(ended.get_nowait())
                left -= len(response.results)
                yield response
        finally:
            await tasks.stop(waits)

    async def ListRuns(self, request: Any, call: Call) -> Any:
        status = convert.RUN_STATUS.name(request.status)
        chosen = RunFilter(
            statuses=(status,) if status else (),
            workflow=request.workflow,
            tags=dict(request.tags),
            run_prefix=request.run_id_prefix,
        )
        page = Page(request, "runs", *listing.filters_of(chosen))
        rows, token = await listing.find(call, chosen, page)
        versions = list(dict.fromkeys((row.workflow, row.version) for row in rows))
        registered = await call.store.definitions.registered(call.org, versions)
        runs = [summary(row, (row.workflow, row.version) not in registered) for row in rows]
        return pb.ListRunsResponse(runs=runs, next_page_token=token)

    async def WatchRun(self, request: Any, call: Call) -> AsyncIterator[Any]:
        gather_s = GATHER_S if request.compact else 0.0
        after = Place(request.after_sequence, request.after_part if request.parts else None)
        pieces = self._watchers.watch(
            call, request.run_id, after, request.include_tokens, gather_s, request.follow_chain
        )
        responses = _compact if request.compact else _single
        try:
            async for piece in pieces:
                for response in responses(piece):
                    yield response
        finally:
            await pieces.aclose()

    async def CancelRun(self, request: Any, call: Call) -> Any:
        status = await commands.cancel(
            call, request.run_id, request.reason, grace_ms=request.grace_ms, force=request.force
        )
        return pb.CancelRunResponse(status=convert.RUN_STATUS.number(status))


def summary(row: RunRow, unregistered: bool = False) -> Any:
    """Returns a run for a list. unregistered: nothing is registered under its definition's name and version."""
    return message_of(pb.RunSummary, row, unregistered=unregistered or definitions.UNREGISTERED_TAG in row.tags)


def _problems(problems: Iterable[Problem]) -> list[Any]:
    return [message_of(pb.Problem, problem) for problem in problems]


def _source(request: Any) -> Source:
    kind = request.WhichOneof("source")
    if kind == "definition_text":
        return Source(text=request.definition_text)
    if kind == "definition":
        return Source(data=convert.from_struct(request.definition, "definition"))
    return Source(ref=request.workflow if kind == "workflow" else "")


def _single(piece: Piece) -> Iterator[Any]:
    """Yields an answer for each event and token."""
    for item in piece:
        yield _token(item) if isinstance(item, Token) else pb.WatchRunResponse(event=_event(item))


def _compact(piece: Piece) -> Iterator[Any]:
    """Yields answers with several events each, in order."""
    response, size = pb.WatchRunResponse(), 0
    for item in piece:
        if response.events and (isinstance(item, Token) or size + len(item.data) > COMPACT_BYTES_MAX):
            yield response
            response, size = pb.WatchRunResponse(), 0
        if isinstance(item, Token):
            yield _token(item)
        else:
            cut = len(item.data) > EVENT_BYTES_MAX
            body = msgspec.json.encode(_cut(item)) if cut else item.data
            response.events.append(_head(item, body_json=body))
            size += len(body)
    if response.events:
        yield response


def _token(item: Token) -> Any:
    return pb.WatchRunResponse(token=message_of(pb.TokenChunk, item))


def _event(seen: Seen) -> Any:
    event = _head(seen, body_json=b"")
    convert.set_struct(event.body, msgspec.json.decode(seen.data))
    if event.ByteSize() > EVENT_BYTES_MAX:
        event.body.Clear()
        convert.set_struct(event.body, _cut(seen))
    return event


def _head(seen: Seen, body_json: bytes) -> Any:
    event = seen.event
    attempt = getattr(event, "attempt", 0)
    return message_of(
        pb.RunEvent,
        seen,
        type=ev.event_type(event),
        ts=event.ts,
        step=getattr(event, "step", ""),
        attempt=attempt if 0 <= attempt < 2**31 else 0,  # another program may have written it
        body=None,
        body_json=body_json,
    )


def _cut(seen: Seen) -> dict[str, Any]:
    """Returns what stands for the body of an event that is too large for an answer."""
    return {"type": ev.event_type(seen.event), "$truncated": len(seen.data)}
