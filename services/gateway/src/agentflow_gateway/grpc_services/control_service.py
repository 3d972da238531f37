"""RunControlService: messages to plain data, to the handlers, and back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

from agentflow.v1 import control_pb2 as pb
from agentflow.v1 import control_pb2_grpc
from agentflow_common.errors import InvalidError, OverloadedError, Problem
from agentflow_common.runs.fork import Changes
from agentflow_gateway.api import call_context, convert
from agentflow_gateway.definitions import labels, lookup
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.grpc_services.workflow_service import summary
from agentflow_gateway.operations import controls_bucket
from agentflow_gateway.operations.controls_bucket import WorkflowPause
from agentflow_gateway.runs import batch, controls, explain, forks, open_approvals
from agentflow_gateway.store.runs import RunFilter

BATCHES_MAX: Final = 8  # at once; each reads runs' logs as fast as it can

_DECISIONS: Final = {pb.APPROVAL_DECISION_APPROVE: "approve", pb.APPROVAL_DECISION_REJECT: "reject"}
_OUTCOMES: Final = {pb.OUTCOME_COMPLETED: "completed", pb.OUTCOME_RETRY: "retry", pb.OUTCOME_FAIL: "fail"}
_ACTIONS: Final = {
    pb.BATCH_ACTION_CANCEL: "cancel",
    pb.BATCH_ACTION_PAUSE: "pause",
    pb.BATCH_ACTION_RESUME: "resume",
    pb.BATCH_ACTION_RETRY: "retry",
    pb.BATCH_ACTION_SIGNAL: "signal",
}


class RunControlService(control_pb2_grpc.RunControlServiceServicer):
    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._batches = 0

    async def PauseRun(self, request: Any, _context: Any) -> Any:  # noqa: N802
        call, run = call_context.current(), request.run_id
        before = await controls.pause(self._deps, call, run, request.reason)
        status = await controls.settled(self._deps, call, run, before, paused=True)
        return pb.PauseRunResponse(status=convert.run_status(status))

    async def ResumeRun(self, request: Any, _context: Any) -> Any:  # noqa: N802
        call, run = call_context.current(), request.run_id
        before = await controls.resume(self._deps, call, run, request.reason)
        status = await controls.settled(self._deps, call, run, before, paused=False)
        return pb.ResumeRunResponse(status=convert.run_status(status))

    async def SignalRun(self, request: Any, _context: Any) -> Any:  # noqa: N802
        payload = _value(request, "payload")
        given = await controls.signal(
            self._deps, call_context.current(), request.run_id, request.name, payload, request.signal_id
        )
        return pb.SignalRunResponse(
            status=convert.run_status(given.status), deduplicated=given.repeated, pending=given.pending
        )

    async def AnswerApproval(self, request: Any, _context: Any) -> Any:  # noqa: N802
        counted = await controls.answer(
            self._deps,
            call_context.current(),
            request.run_id,
            request.step,
            _word(_DECISIONS, request.decision, "decision"),
            request.comment,
            _value(request, "data"),
            request.as_person,
        )
        return pb.AnswerApprovalResponse(
            by=counted.by,
            repeated=counted.repeated,
            approvals=counted.approvals,
            required=counted.required,
            pending=counted.pending,
        )

    async def ListApprovals(self, request: Any, _context: Any) -> Any:  # noqa: N802
        found, token = await open_approvals.listed(
            self._deps,
            call_context.current(),
            request.workflow,
            request.approver,
            request.page_size,
            request.page_token,
        )
        return pb.ListApprovalsResponse(approvals=[_approval(item) for item in found], next_page_token=token)

    async def ResolveOutcome(self, request: Any, _context: Any) -> Any:  # noqa: N802
        outcome = _word(_OUTCOMES, request.outcome, "outcome")
        attempt, pending = await controls.resolve(
            self._deps, call_context.current(), request.run_id, request.step, outcome, _value(request, "output"),
            request.HasField("output"), request.reason,
        )  # fmt: skip
        return pb.ResolveOutcomeResponse(attempt=attempt, pending=pending)

    async def ForkRun(self, request: Any, _context: Any) -> Any:  # noqa: N802
        made = await forks.fork(
            self._deps, call_context.current(), request.run_id, request.at, _changes(request.changes),
            request.idempotency_key, dict(request.tags),
        )  # fmt: skip
        return pb.ForkRunResponse(run_id=made.run, deduplicated=made.deduplicated, kept=made.kept, stale=made.stale)

    async def RetryRun(self, request: Any, _context: Any) -> Any:  # noqa: N802
        made = await forks.retry(
            self._deps, call_context.current(), request.run_id, _changes(request.changes), request.idempotency_key
        )
        return pb.RetryRunResponse(run_id=made.run, deduplicated=made.deduplicated, kept=made.kept)

    async def ExplainRun(self, request: Any, _context: Any) -> Any:  # noqa: N802
        state, found = await explain.explain(self._deps, call_context.current(), request.run_id)
        response = pb.ExplainRunResponse(
            status=convert.run_status(state.status.value), summary=found.summary, more=found.more
        )
        for item in found.waiting:
            waiting = response.waiting.add(
                step=item.step, kind=item.kind, text=item.text, on=item.on, until=item.until, since=item.since
            )
            convert.set_struct(waiting.detail, item.detail)
        return response

    async def BatchRuns(self, request: Any, _context: Any) -> AsyncIterator[Any]:  # noqa: N802
        order = batch.Order(
            action=_word(_ACTIONS, request.action, "action"),
            reason=request.reason,
            grace_ms=request.grace_ms,
            force=request.force,
            signal=request.signal,
            payload=_value(request, "payload"),
            batch=request.batch_id,
        )
        status = convert.run_status_name(request.filter.status)
        wanted = RunFilter(
            statuses=(status,) if status else (),
            workflow=request.filter.workflow,
            tags=dict(request.filter.tags),
            since=request.filter.since,
            until=request.filter.until,
            error_type=request.filter.error_type,
        )
        if self._batches >= BATCHES_MAX:
            raise OverloadedError(
                f"the gateway runs {BATCHES_MAX} batches already; try again", kind="too_many_batches",
                retry_after_ms=2000,
            )  # fmt: skip
        self._batches += 1
        try:
            async for message in self._batch(order, wanted, request):
                yield message
        finally:
            self._batches -= 1

    async def _batch(self, order: batch.Order, wanted: RunFilter, request: Any) -> AsyncIterator[Any]:
        found = batch.run(
            self._deps, call_context.current(), order, wanted, execute=request.execute, limit=request.limit,
            cursor=request.cursor,
        )  # fmt: skip
        async for progress in found:
            yield pb.BatchRunsResponse(
                matched=progress.matched,
                done=progress.done,
                failed=progress.failed,
                sample=[summary(row) for row in progress.sample],
                failures=[
                    pb.BatchFailure(run_id=item.run, kind=item.kind, message=item.message) for item in progress.failures
                ],
                cursor=progress.cursor,
                finished=progress.finished,
                created=progress.created,
            )

    async def PauseWorkflow(self, request: Any, _context: Any) -> Any:  # noqa: N802
        reason = await call_context.current().safe_reason(self._deps.nc, request.reason)
        await self._set_pause(request.workflow, reason, True)
        return pb.PauseWorkflowResponse()

    async def ResumeWorkflow(self, request: Any, _context: Any) -> Any:  # noqa: N802
        return pb.ResumeWorkflowResponse(changed=await self._set_pause(request.workflow, "", False))

    async def _set_pause(self, workflow: str, reason: str, paused: bool) -> bool:
        call = call_context.current()
        ref = labels.parse_ref(workflow)
        if ref.version is not None or ref.label:
            raise InvalidError(
                "a workflow is paused as a whole",
                problems=(Problem("workflow", f"{workflow!r} names a version", f"give {ref.name!r}"),),
            )
        if paused and not await self._deps.store.knows_workflow(call.org, ref.name):
            raise await lookup.unknown_workflow(self._deps, call.org, ref.name)
        wanted = WorkflowPause(paused, reason, call.identity.actor, self._deps.clock.now_ms())
        return await controls_bucket.set_workflow_pause(self._deps, call.org, ref.name, wanted)


def _value(request: Any, name: str) -> Any:
    return convert.from_value(getattr(request, name), name) if request.HasField(name) else None


def _word(table: dict[Any, str], number: int, place: str) -> str:
    if number not in table:
        fix = f"use {', '.join(table.values())}"
        raise InvalidError(f"{place} {number} is not known", problems=(Problem(place, "not given", fix),))
    return table[number]


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
    step = item.found
    return pb.Approval(
        run_id=item.state.run,
        workflow=item.state.workflow,
        step=item.step,
        message=str(step.detail.get("message", "")),
        approvers=[str(name) for name in step.detail.get("approvers", ())],
        required=int(step.detail.get("required", 1)),
        answers={answer.by: answer.decision for answer in step.answers},
        since=step.started_at,
        expires_at=step.until,
    )
