"""WorkflowService: registers and checks definitions, submits, shows, lists, watches and cancels runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec

from agentflow.v1 import workflow_pb2 as pb
from agentflow_common import telemetry
from agentflow_common.errors import InvalidError
from agentflow_common.events import LlmUsage
from agentflow_common.runs.state import SETTLED, RunState, RunStatus, StepState, StepStatus
from agentflow_gateway.api import convert, errors
from agentflow_gateway.api.call import Call
from agentflow_gateway.api.convert import message_of, optional
from agentflow_gateway.api.pages import Page
from agentflow_gateway.controls import commands
from agentflow_gateway.definitions import check as definitions
from agentflow_gateway.definitions.check import Source
from agentflow_gateway.runs import listing, submit
from agentflow_gateway.runs import view as run_view
from agentflow_gateway.runs.submission import Submission
from agentflow_gateway.runs.watch import Seen, Token, Watchers
from agentflow_gateway.store.runs import RunFilter, RunRow

MESSAGE_BYTES_MAX: Final = 15 * 1024 * 1024  # of an answer; a JSON number takes eleven bytes as a protobuf Value
SUBMISSIONS_MAX: Final = 100  # of one call
EVENT_BYTES_MAX: Final = 3_500_000  # of a watched event, below the 4 MiB that clients take by default


class WorkflowService:
    def __init__(self) -> None:
        self._watchers = Watchers()

    async def RegisterWorkflow(self, request: Any, call: Call) -> Any:
        checked, created = await definitions.register(call, _source(request))
        definition = checked.definition
        return pb.RegisterWorkflowResponse(
            name=definition.name, version=definition.version, digest=checked.digest, created=created
        )

    async def ValidateWorkflow(self, request: Any, call: Call) -> Any:
        checked, problems = await definitions.problems_of(call, _source(request))
        if checked is None:
            return pb.ValidateWorkflowResponse(problems=[message_of(pb.Problem, problem) for problem in problems])
        definition = checked.definition
        return pb.ValidateWorkflowResponse(
            valid=True, name=definition.name, version=definition.version, steps=len(definition.dag.nodes)
        )

    async def SubmitWorkflow(self, request: Any, call: Call) -> Any:
        submission = Submission(
            idempotency_key=request.idempotency_key,
            tags=dict(request.tags),
            priority=request.priority,
            budget_cents=optional(request, "budget_cents"),
            deadline_ms=optional(request, "deadline_ms"),
            unregistered=request.unregistered,
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
        view = await run_view.view(call, request.run_id, reveal=request.reveal, reason=request.reveal_reason)
        response = pb.GetRunResponse(run=_run(view))
        if response.ByteSize() > MESSAGE_BYTES_MAX:
            for step in response.run.steps:
                if step.HasField("output"):
                    _truncate(step.output)
        if response.ByteSize() > MESSAGE_BYTES_MAX:
            _truncate(response.run.output)
        return response

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
        items = self._watchers.watch(call, request.run_id, request.after_sequence, request.include_tokens)
        try:
            async for item in items:
                if isinstance(item, Token):
                    yield pb.WatchRunResponse(token=message_of(pb.TokenChunk, item))
                else:
                    yield pb.WatchRunResponse(event=_event(item))
        finally:
            await items.aclose()

    async def CancelRun(self, request: Any, call: Call) -> Any:
        status = await commands.cancel(
            call, request.run_id, request.reason, grace_ms=request.grace_ms, force=request.force
        )
        return pb.CancelRunResponse(status=convert.RUN_STATUS.number(status))


def summary(row: RunRow, unregistered: bool = False) -> Any:
    """Returns a run for a list. unregistered: nothing is registered under its definition's name and version."""
    return message_of(pb.RunSummary, row, unregistered=unregistered or definitions.UNREGISTERED_TAG in row.tags)


def _source(request: Any) -> Source:
    kind = request.WhichOneof("source")
    if kind == "definition_text":
        return Source(text=request.definition_text)
    if kind == "definition":
        return Source(data=convert.from_struct(request.definition, "definition"))
    return Source(ref=request.workflow if kind == "workflow" else "")


def _waits(state: RunState, step: StepState) -> bool:
    """True if the step waits. An unknown outcome waits for a person's answer, unless the run ends with it."""
    unknown = step.status is StepStatus.OUTCOME_UNKNOWN and state.status is RunStatus.WAITING
    return step.status is StepStatus.WAITING or unknown


def _run(view: run_view.RunView) -> Any:
    state = view.state
    message = message_of(
        pb.Run,
        state,
        inputs=None,
        output=None,
        error=convert.error_info(state.error),
        steps=(),
        trace_id=telemetry.trace_id(state.trace),
        last_sequence=view.last_seq,
        parent_run_id=state.parent.run if state.parent else "",
        parent_step=state.parent.step if state.parent else "",
        origin_kind=state.origin.kind if state.origin else "",
        origin_run_id=state.origin.run if state.origin else "",
        origin_step=state.origin.step if state.origin else "",
        paused_reason=state.pause_reason if state.status is RunStatus.PAUSED or state.pause_requested else "",
        waiting_steps=[key for key, step in state.steps.items() if _waits(state, step)],
        derived_run_ids=view.derived,
        unregistered=view.unregistered,
    )
    convert.set_value(message.inputs, view.inputs)
    if state.output is not None:
        convert.set_value(message.output, view.output)
    for key, step in run_view.pending_steps(state).items():
        item = _step(key, step, state.prompts)
        item.seeded = key in view.seeded and step.status in SETTLED
        if key in view.outputs:
            convert.set_value(item.output, view.outputs[key])
        message.steps.append(item)
    return message


def _step(key: str, step: StepState, prompts: dict[str, str]) -> Any:
    llm = step.llm or LlmUsage(provider="", model="", prompt="", input_tokens=0, output_tokens=0, cost_nano=0)
    waits = step.status is StepStatus.WAITING
    message = message_of(
        pb.Step,
        step,
        step=key,
        output=None,
        error=convert.error_info(step.error),
        cost_nano_usd=llm.cost_nano,
        provider=llm.provider,
        model=llm.model,
        prompt=prompts.get(llm.prompt, llm.prompt),
        type=step.kind,
        skip_reason=step.reason if not waits else "",
        waiting_for="lane" if step.status is StepStatus.QUEUED else step.waiting * waits,
        waiting_until=step.until if waits else 0,
        waiting_detail=None,
        child_run_id=step.child,
        seeded=False,
        finish_reason=llm.finish_reason,
    )
    if step.detail and waits:
        convert.set_struct(message.waiting_detail, step.detail)
    return message


def _event(seen: Seen) -> Any:
    event = seen.event
    body = msgspec.json.decode(seen.data)
    attempt = getattr(event, "attempt", 0)
    message = message_of(
        pb.RunEvent,
        seen,
        type=str(body.get("type", "")),
        ts=event.ts,
        step=getattr(event, "step", ""),
        attempt=attempt if 0 <= attempt < 2**31 else 0,  # another program may have written it
        body=None,
    )
    convert.set_struct(message.body, body)
    if message.ByteSize() > EVENT_BYTES_MAX:
        message.body.Clear()
        convert.set_struct(message.body, {"type": message.type, "$truncated": len(seen.data)})
    return message


def _truncate(value: Any) -> None:
    size = value.ByteSize()
    value.Clear()
    convert.set_value(value, {"$truncated": size})
