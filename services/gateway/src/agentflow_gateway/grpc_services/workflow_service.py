"""WorkflowService: messages to plain data, to the handlers, and back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec

from agentflow.v1 import workflow_pb2 as pb
from agentflow.v1 import workflow_pb2_grpc
from agentflow_common import telemetry
from agentflow_common.events import LlmUsage
from agentflow_common.runs.state import SETTLED, RunState, RunStatus, StepState, StepStatus
from agentflow_gateway.api import call_context, convert
from agentflow_gateway.definitions import check as definitions
from agentflow_gateway.definitions.check import Source
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.runs import controls, submit
from agentflow_gateway.runs import view as run_view
from agentflow_gateway.runs.submission import Submission
from agentflow_gateway.runs.watch import Seen, Token, Watchers
from agentflow_gateway.store.runs import RunFilter, RunRow

MESSAGE_BYTES_MAX: Final = 15 * 1024 * 1024  # of an answer; a JSON number takes eleven bytes as a protobuf Value
EVENT_BYTES_MAX: Final = 3_500_000  # of a watched event, below the 4 MiB that clients take by default


class WorkflowService(workflow_pb2_grpc.WorkflowServiceServicer):
    def __init__(self, deps: Deps, watchers: Watchers) -> None:
        self._deps = deps
        self._watchers = watchers

    async def RegisterWorkflow(self, request: Any, _context: Any) -> Any:  # noqa: N802
        checked, created = await definitions.register(self._deps, call_context.current(), _source(request))
        definition = checked.definition
        return pb.RegisterWorkflowResponse(
            name=definition.name, version=definition.version, digest=checked.digest, created=created
        )

    async def ValidateWorkflow(self, request: Any, _context: Any) -> Any:  # noqa: N802
        checked, problems = await definitions.problems_of(self._deps, call_context.current(), _source(request))
        if checked is None:
            return pb.ValidateWorkflowResponse(
                problems=[pb.Problem(place=p.place, message=p.message, fix=p.fix) for p in problems]
            )
        definition = checked.definition
        return pb.ValidateWorkflowResponse(
            valid=True, name=definition.name, version=definition.version, steps=len(definition.dag.nodes)
        )

    async def SubmitWorkflow(self, request: Any, _context: Any) -> Any:  # noqa: N802
        submission = Submission(
            idempotency_key=request.idempotency_key,
            tags=dict(request.tags),
            priority=request.priority,
            budget_cents=request.budget_cents if request.HasField("budget_cents") else None,
            deadline_ms=request.deadline_ms if request.HasField("deadline_ms") else None,
            unregistered=request.unregistered,
        )
        inputs = convert.from_struct(request.inputs, "inputs")
        run, deduplicated = await submit.submit(
            self._deps, call_context.current(), _source(request), inputs, submission
        )
        return pb.SubmitWorkflowResponse(run_id=run, deduplicated=deduplicated)

    async def GetRun(self, request: Any, _context: Any) -> Any:  # noqa: N802
        view = await run_view.view(
            self._deps, call_context.current(), request.run_id, reveal=request.reveal, reason=request.reveal_reason
        )
        response = pb.GetRunResponse(run=_run(view))
        if response.ByteSize() > MESSAGE_BYTES_MAX:
            for step in response.run.steps:
                if step.HasField("output"):
                    _truncate(step.output)
        if response.ByteSize() > MESSAGE_BYTES_MAX:
            _truncate(response.run.output)
        return response

    async def ListRuns(self, request: Any, _context: Any) -> Any:  # noqa: N802
        status = convert.run_status_name(request.status)
        wanted = RunFilter(
            statuses=(status,) if status else (), workflow=request.workflow, tags=dict(request.tags),
            run_prefix=request.run_id_prefix,
        )  # fmt: skip
        rows, token = await submit.list_runs(
            self._deps, call_context.current(), wanted, request.page_size, request.page_token
        )
        return pb.ListRunsResponse(runs=[summary(row) for row in rows], next_page_token=token)

    async def WatchRun(self, request: Any, _context: Any) -> AsyncIterator[Any]:  # noqa: N802
        items = self._watchers.watch(
            call_context.current(), request.run_id, request.after_sequence, request.include_tokens
        )
        try:
            async for item in items:
                yield _token(item) if isinstance(item, Token) else _event(item)
        finally:
            await items.aclose()

    async def CancelRun(self, request: Any, _context: Any) -> Any:  # noqa: N802
        status = await controls.cancel(
            self._deps, call_context.current(), request.run_id, request.reason, request.grace_ms, request.force
        )
        return pb.CancelRunResponse(status=convert.run_status(status))


def summary(row: RunRow) -> Any:
    return pb.RunSummary(
        run_id=row.run,
        workflow=row.workflow,
        version=row.version,
        status=convert.run_status(row.status),
        submitted_at=row.submitted_at,
        finished_at=row.finished_at,
        cost_nano_usd=row.cost_nano,
        tags=row.tags,
        error_type=row.error_type,
        unregistered=definitions.UNREGISTERED_TAG in row.tags,
    )


def _source(request: Any) -> Source:
    kind = request.WhichOneof("source")
    if kind == "definition_text":
        return Source(text=request.definition_text)
    if kind == "definition":
        return Source(data=convert.from_struct(request.definition, "definition"))
    return Source(ref=request.workflow if kind == "workflow" else "")


def _waits(state: RunState, step: StepState) -> bool:
    """An unknown outcome waits for a person's word, unless the run ends with it."""
    unknown = step.status is StepStatus.OUTCOME_UNKNOWN and state.status is RunStatus.WAITING
    return step.status is StepStatus.WAITING or unknown


def _run(view: run_view.RunView) -> Any:
    state = view.state
    run = pb.Run(
        run_id=state.run,
        workflow=state.workflow,
        version=state.version,
        status=convert.run_status(state.status.value),
        submitted_at=state.submitted_at,
        started_at=state.started_at,
        finished_at=state.finished_at,
        cost_nano_usd=state.cost_nano,
        budget_nano_usd=state.budget_nano,
        tags=state.tags,
        redactions=state.redactions,
        trace_id=telemetry.trace_id(state.trace),
        last_sequence=view.last_seq,
        input_tokens=state.input_tokens,
        output_tokens=state.output_tokens,
        error=convert.error_info(state.error),
        parent_run_id=state.parent.run if state.parent else "",
        parent_step=state.parent.step if state.parent else "",
        origin_kind=state.origin.kind if state.origin else "",
        origin_run_id=state.origin.run if state.origin else "",
        origin_step=state.origin.step if state.origin else "",
        continued_as=state.continued_as,
        paused_reason=state.pause_reason if state.status is RunStatus.PAUSED or state.pause_requested else "",
        waiting_steps=[key for key, step in state.steps.items() if _waits(state, step)],
        derived_run_ids=view.derived,
        unregistered=view.unregistered,
    )
    convert.set_value(run.inputs, view.inputs)
    if state.output is not None:
        convert.set_value(run.output, view.output)
    for key, step in run_view.pending_steps(state).items():
        message = _step(key, step, state.prompts)
        message.seeded = key in view.seeded and step.status in SETTLED
        if key in view.outputs:
            convert.set_value(message.output, view.outputs[key])
        run.steps.append(message)
    return run


def _step(key: str, step: StepState, prompts: dict[str, str]) -> Any:
    llm = step.llm or LlmUsage(provider="", model="", prompt="", input_tokens=0, output_tokens=0, cost_nano=0)
    message = pb.Step(
        step=key,
        status=convert.step_status(step.status.value),
        attempt=step.attempt,
        error=convert.error_info(step.error),
        scheduled_at=step.scheduled_at,
        started_at=step.started_at,
        finished_at=step.finished_at,
        cost_nano_usd=llm.cost_nano,
        provider=llm.provider,
        model=llm.model,
        finish_reason=llm.finish_reason,
        prompt=prompts.get(llm.prompt, llm.prompt),
        type=step.kind,
        skip_reason=step.reason if step.status is not StepStatus.WAITING else "",
        progress=step.progress,
        progress_detail=step.progress_detail,
        lane=step.lane,
        waiting_for="lane" if step.status is StepStatus.QUEUED else step.waiting * (step.status is StepStatus.WAITING),
        waiting_until=step.until if step.status is StepStatus.WAITING else 0,
        child_run_id=step.child,
    )
    if step.detail and step.status is StepStatus.WAITING:
        convert.set_struct(message.waiting_detail, step.detail)
    return message


def _event(seen: Seen) -> Any:
    event = seen.event
    body = msgspec.json.decode(seen.data)
    attempt = getattr(event, "attempt", 0)
    message = pb.RunEvent(
        sequence=seen.seq,
        type=str(body.get("type", "")),
        ts=event.ts,
        step=getattr(event, "step", ""),
        attempt=attempt if 0 <= attempt < 2**31 else 0,  # as a foreign hand may have written it
        status=convert.run_status(seen.status),
        cost_nano_usd=seen.cost_nano,
        steps_done=seen.steps_done,
        steps_total=seen.steps_total,
    )
    convert.set_struct(message.body, body)
    if message.ByteSize() > EVENT_BYTES_MAX:
        message.body.Clear()
        convert.set_struct(message.body, {"type": message.type, "$truncated": len(seen.data)})
    return pb.WatchRunResponse(event=message)


def _token(token: Token) -> Any:
    chunk = pb.TokenChunk(step=token.step, attempt=token.attempt, offset=token.offset, text=token.text)
    return pb.WatchRunResponse(token=chunk)


def _truncate(value: Any) -> None:
    size = value.ByteSize()
    value.Clear()
    convert.set_value(value, {"$truncated": size})
