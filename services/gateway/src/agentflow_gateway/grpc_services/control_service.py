"""RunControlService: what people do to runs that go on, to many runs at once, and to whole workflows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

from agentflow.v1 import control_pb2 as pb
from agentflow_common.errors import OverloadedError
from agentflow_common.runs.fork import Changes
from agentflow_gateway import limits
from agentflow_gateway.api import convert
from agentflow_gateway.api.call import Call
from agentflow_gateway.api.convert import EnumNames, message_of, struct_of
from agentflow_gateway.api.gate import Gate
from agentflow_gateway.api.pages import Page
from agentflow_gateway.controls import batch, breakpoints, commands, open_approvals
from agentflow_gateway.definitions import labels, lookup
from agentflow_gateway.grpc_services.workflow_service import summary
from agentflow_gateway.operations import controls_bucket
from agentflow_gateway.operations.controls_bucket import WorkflowPause
from agentflow_gateway.runs import explain, forks
from agentflow_gateway.store.runs import RunFilter

BATCHES_MAX: Final = 8  # at once; each reads runs' logs as fast as it can

DECISION: Final = EnumNames(pb.ApprovalDecision, "decision")
OUTCOME: Final = EnumNames(pb.Outcome, "outcome")
ACTION: Final = EnumNames(pb.BatchAction, "action")


class RunControlService:
    def __init__(self) -> None:
        self._batches = Gate(_too_many_batches)

    async def PauseRun(self, request: Any, call: Call) -> Any:
        before = await commands.pause(call, request.run_id, request.reason, request.until)
        return pb.PauseRunResponse(status=await _settled(call, request.run_id, True, before))

    async def ResumeRun(self, request: Any, call: Call) -> Any:
        before = await commands.resume(call, request.run_id, request.reason)
        return pb.ResumeRunResponse(status=await _settled(call, request.run_id, False, before))

    async def BreakRun(self, request: Any, call: Call) -> Any:
        changed = await breakpoints.change(
            call,
            request.run_id,
            request.at,
            step_by_step=request.step_by_step,
            remove=request.remove,
            reason=request.reason,
        )
        return message_of(pb.BreakRunResponse, changed, status=convert.RUN_STATUS.number(changed.status))

    async def ContinueRun(self, request: Any, call: Call) -> Any:
        values = {place: convert.from_value(value, f"values[{place!r}]") for place, value in request.values.items()}
        continued = await breakpoints.go_on(
            call,
            request.run_id,
            step_by_step=request.step_by_step,
            to=request.to,
            values=values,
            reason=request.reason,
        )
        return message_of(pb.ContinueRunResponse, continued, status=convert.RUN_STATUS.number(continued.status))

    async def SignalRun(self, request: Any, call: Call) -> Any:
        payload = convert.optional(request, "payload")
        given = await commands.signal(call, request.run_id, request.name, payload, request.signal_id)
        return pb.SignalRunResponse(
            status=convert.RUN_STATUS.number(given.status),
            deduplicated=given.repeated,
            pending=given.pending,
            run_id=given.run,
        )

    async def AnswerApproval(self, request: Any, call: Call) -> Any:
        answer = struct_of(commands.Answer, request, decision=DECISION.required(request.decision))
        standing = await commands.answer(call, request.run_id, request.step, answer)
        return message_of(pb.AnswerApprovalResponse, standing)

    async def ListApprovals(self, request: Any, call: Call) -> Any:
        page = Page(request, "approvals", request.workflow, request.approver)
        approvals, token = await open_approvals.find(call, request.workflow, request.approver, page)
        return pb.ListApprovalsResponse(approvals=[_approval(item) for item in approvals], next_page_token=token)

    async def ResolveOutcome(self, request: Any, call: Call) -> Any:
        outcome, has_output = OUTCOME.required(request.outcome), request.HasField("output")
        resolution = struct_of(commands.Resolution, request, outcome=outcome, has_output=has_output)
        attempt, pending = await commands.resolve(call, request.run_id, request.step, resolution)
        return pb.ResolveOutcomeResponse(attempt=attempt, pending=pending)

    async def ForkRun(self, request: Any, call: Call) -> Any:
        changes = _changes(request.changes)
        forked = await forks.fork(
            call, request.run_id, request.at, changes, key=request.idempotency_key, tags=dict(request.tags)
        )
        return message_of(pb.ForkRunResponse, forked)

    async def RetryRun(self, request: Any, call: Call) -> Any:
        retried = await forks.retry(call, request.run_id, _changes(request.changes), key=request.idempotency_key)
        return message_of(pb.RetryRunResponse, retried)

    async def ExplainRun(self, request: Any, call: Call) -> Any:
        state, explanation = await explain.explain(call, request.run_id)
        response = pb.ExplainRunResponse(
            status=convert.RUN_STATUS.number(state.status.value), summary=explanation.summary, more=explanation.more
        )
        for item in explanation.waiting:
            waiting = response.waiting.add(
                step=item.step, kind=item.kind, text=item.text, on=item.on, until=item.until, since=item.since
            )
            convert.set_struct(waiting.detail, item.detail)
        return response

    async def BatchRuns(self, request: Any, call: Call) -> AsyncIterator[Any]:
        order = struct_of(batch.Order, request, action=ACTION.required(request.action), batch=request.batch_id)
        status = convert.RUN_STATUS.name(request.filter.status)
        statuses = (status,) if status else ()
        chosen = struct_of(RunFilter, request.filter, statuses=statuses, run_prefix="", version=0)
        with self._batches.entered(BATCHES_MAX):
            pages = batch.run(call, order, chosen, execute=request.execute, limit=request.limit, cursor=request.cursor)
            async for progress in pages:
                yield message_of(
                    pb.BatchRunsResponse,
                    progress,
                    sample=[summary(row) for row in progress.sample],
                    failures=[message_of(pb.BatchFailure, item) for item in progress.failures],
                )

    async def PauseWorkflow(self, request: Any, call: Call) -> Any:
        reason = await call.safe_reason(request.reason)
        limits.check_until(request.until, call.now_ms())
        await _set_workflow_pause(call, request.workflow, reason, True, request.until)
        return pb.PauseWorkflowResponse()

    async def ResumeWorkflow(self, request: Any, call: Call) -> Any:
        return pb.ResumeWorkflowResponse(changed=await _set_workflow_pause(call, request.workflow, "", False))


def _too_many_batches(text: str) -> OverloadedError:
    return OverloadedError(f"{text} batches; try again", kind="too_many_batches", retry_after_ms=2000)


async def _settled(call: Call, run_id: str, paused: bool, before: str) -> Any:
    return convert.RUN_STATUS.number(await commands.wait_for_pause(call, run_id, paused, before))


async def _set_workflow_pause(call: Call, workflow: str, reason: str, paused: bool, until: int = 0) -> bool:
    name = labels.parse_name(workflow)
    if paused and not await call.store.runs.knows_workflow(call.org, name):
        raise await lookup.unknown_workflow(call, name)
    pause = WorkflowPause(paused, reason, call.identity.actor, call.now_ms(), until)
    return await controls_bucket.set_workflow_pause(call, name, pause)


def _changes(message: Any) -> Changes:
    return Changes(
        inputs=convert.from_struct(message.inputs, "changes.inputs"),
        prompts=dict(message.prompts),
        models=dict(message.models),
        step_inputs={
            node: convert.from_struct(value, f"changes.step_inputs.{node}")
            for node, value in message.step_inputs.items()
        },
    )


def _approval(item: open_approvals.OpenApproval) -> Any:
    step = item.state
    return pb.Approval(
        run_id=item.run.run,
        workflow=item.run.workflow,
        step=item.step,
        message=str(step.detail.get("message", "")),
        approvers=[str(name) for name in step.detail.get("approvers", ())],
        required=int(step.detail.get("required", 1)),
        answers={answer.by: answer.decision for answer in step.answers},
        since=step.started_at,
        expires_at=step.until,
    )
