# ruff: noqa: N802, ARG002  (gRPC names these methods and passes a context to each)
"""The fake's service for the control of runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final
from uuid import uuid4

import grpc

from agentflow.v1 import control_pb2 as pb
from agentflow.v1 import control_pb2_grpc
from agentflow.v1 import workflow_pb2 as wf
from agentflow_sdk.convert.json_values import from_struct, from_value
from agentflow_sdk.problems import Problem
from agentflow_sdk.testing.details import refuse
from agentflow_sdk.testing.runs import FakeRun
from agentflow_sdk.testing.services import Service
from agentflow_sdk.testing.state import Reply, summary

CODE: Final = grpc.StatusCode
PERSON: Final = "tester"
_FITTING: Final = {
    pb.BATCH_ACTION_RETRY: (wf.RUN_STATUS_FAILED, wf.RUN_STATUS_CANCELLED),
    pb.BATCH_ACTION_RESUME: (wf.RUN_STATUS_PAUSED,),
}
_ACTIVE: Final = (wf.RUN_STATUS_RUNNING, wf.RUN_STATUS_WAITING, wf.RUN_STATUS_PAUSED)


class Controls(Service, control_pb2_grpc.RunControlServiceServicer):
    def PauseRun(self, request: Any, context: Any) -> Reply:
        run = self._state.run(request.run_id, context)
        with self._state.changing():
            run.pause(request.reason, request.until)
        return pb.PauseRunResponse(status=run.message.status)

    def ResumeRun(self, request: Any, context: Any) -> Reply:
        run = self._state.run(request.run_id, context)
        with self._state.changing():
            run.resume()
        return pb.ResumeRunResponse(status=run.message.status)

    def BreakRun(self, request: Any, context: Any) -> Reply:
        run = self._state.run(request.run_id, context)
        _refuse_over(run, context)
        _refuse_unknown(run, request.at, context)
        with self._state.changing():
            message, at = run.message, list(request.at)
            if not request.remove:
                message.break_at[:] = list(dict.fromkeys([*message.break_at, *at]))
                message.step_by_step = message.step_by_step or request.step_by_step
            elif at or request.step_by_step:
                message.break_at[:] = [name for name in message.break_at if name not in at]
                message.step_by_step = message.step_by_step and not request.step_by_step
            else:
                message.break_at[:], message.step_by_step = [], False
            return pb.BreakRunResponse(
                status=message.status, break_at=message.break_at, step_by_step=message.step_by_step
            )

    def ContinueRun(self, request: Any, context: Any) -> Reply:
        run = self._state.run(request.run_id, context)
        _refuse_over(run, context)
        _refuse_unknown(run, [request.to] if request.to else [], context)
        if not run.message.stopped_before:
            text = f"run {request.run_id} is not stopped before a breakpoint"
            refuse(context, CODE.FAILED_PRECONDITION, text, kind="not_stopped")
        with self._state.changing():
            for place, value in request.values.items():
                name = place.removesuffix(".output")
                if name not in run.steps:
                    refuse(context, CODE.INVALID_ARGUMENT, f"{place!r} can't be changed", kind="unchangeable_value")
                run.steps[name].output.CopyFrom(value)
                run.message.changed_values[place] = PERSON
            steps = run.go_on_from_stop(request.step_by_step, request.to)
            return pb.ContinueRunResponse(
                status=run.message.status, steps=steps, stopped_before=run.message.stopped_before
            )

    def SignalRun(self, request: Any, context: Any) -> Reply:
        run = self._state.run(request.run_id, context)
        with self._state.changing():
            before = run.message.status
            again = self._signal(run, request.name, from_value(request.payload), request.signal_id, context)
        return pb.SignalRunResponse(status=before, deduplicated=again)

    def _signal(self, run: FakeRun, name: str, payload: Any, signal_id: str, context: Any) -> bool:
        if signal_id and signal_id in run.signal_ids:
            return True
        _refuse_over(run, context)
        known = [node["config"].get("signal") for node in run.nodes.values() if node.get("type") == "signal"]
        if name not in known:
            waits = f"its steps wait for {', '.join(map(str, known))}" if known else "it has no signal steps"
            text = f"run {run.message.run_id} takes no signal {name!r}; {waits}"
            refuse(context, CODE.INVALID_ARGUMENT, text, kind="unknown_signal")
        run.signal_ids.add(signal_id)
        run.signal(name, payload)
        return False

    def AnswerApproval(self, request: Any, context: Any) -> Reply:
        run = self._state.run(request.run_id, context)
        by = request.as_person or PERSON
        decision = "approve" if request.decision == pb.APPROVAL_DECISION_APPROVE else "reject"
        with self._state.changing():
            given = run.answers.get(request.step, {})
            again = given.get(by) == decision
            if request.step not in run.waiting("approval"):
                _refuse_over(run, context)
                waits = ", ".join(run.waiting("approval")) or "no step does"
                text = f"step {request.step!r} does not wait for an approval; waiting: {waits}"
                refuse(context, CODE.FAILED_PRECONDITION, text, kind="not_waiting")
            config = run.nodes[request.step].get("config") or {}
            approvers = config.get("approvers") or []
            if request.as_person and approvers and by not in approvers:
                text = f"{by} is not an approver of {request.step}: {', '.join(approvers)}"
                refuse(context, CODE.PERMISSION_DENIED, text, kind="not_an_approver")
            run.answer(request.step, by, decision)
            approvals = list(run.answers[request.step].values()).count("approve")
        required = int(config.get("required", 1))
        return pb.AnswerApprovalResponse(by=by, repeated=again, approvals=approvals, required=required)

    def ListApprovals(self, request: Any, context: Any) -> Reply:
        with self._state.changing():
            runs = self._state.of_workflow(request.workflow)
            found = [item for run in runs for item in _approvals(run, request.approver)]
        return pb.ListApprovalsResponse(approvals=found[: request.page_size or 50])

    def ResolveOutcome(self, request: Any, context: Any) -> Reply:
        run = self._state.run(request.run_id, context)
        text = f"run {run.message.run_id}: the outcome of step {request.step!r} is known"
        return refuse(context, CODE.FAILED_PRECONDITION, text, kind="outcome_known")

    def ForkRun(self, request: Any, context: Any) -> Reply:
        run = self._state.run(request.run_id, context)
        if request.at not in run.nodes:
            names = ", ".join(run.nodes)
            text = f"run {run.message.run_id} has no step {request.at!r}; its steps are {names}"
            refuse(context, CODE.NOT_FOUND, text, kind="unknown_step")
        with self._state.changing():
            made, there = self._again(run, "fork", request, at=request.at)
        kept = [step.step for step in made.steps.values() if step.seeded]
        return pb.ForkRunResponse(run_id=made.message.run_id, deduplicated=there, kept=kept)

    def RetryRun(self, request: Any, context: Any) -> Reply:
        run = self._state.run(request.run_id, context)
        with self._state.changing():
            made, there = self._retry(run, request, context)
        kept = [step.step for step in made.steps.values() if step.seeded]
        return pb.RetryRunResponse(run_id=made.message.run_id, deduplicated=there, kept=kept)

    def _retry(self, run: FakeRun, request: Any, context: Any) -> tuple[FakeRun, bool]:
        if run.message.status not in (wf.RUN_STATUS_FAILED, wf.RUN_STATUS_CANCELLED):
            text = f"run {run.message.run_id}: only a failed or cancelled run is retried"
            refuse(context, CODE.FAILED_PRECONDITION, text, kind="not_failed")
        return self._again(run, "retry", request)

    def _again(self, run: FakeRun, kind: str, request: Any, at: str = "") -> tuple[FakeRun, bool]:
        """Returns (the new run, True if it existed before)."""
        key = request.idempotency_key or ("" if kind == "retry" else uuid4().hex)
        run_id = f"{run.message.run_id}_{kind}_{key}".rstrip("_")
        if run_id in self._state.runs:
            return self._state.run(run_id, None), True
        inputs = {**from_value(run.message.inputs), **from_struct(request.changes.inputs)}
        lost = run.after(at) if at else set()
        kept = {name: step for name, step in run.steps.items() if run.is_settled(name) and name not in lost}
        tags = {**dict(run.message.tags), **dict(getattr(request, "tags", {})), "agentflow.origin": run.message.run_id}
        origin = {"origin_kind": kind, "origin_run_id": run.message.run_id, "origin_step": at}
        return self._state.begin(run_id, run.definition, inputs, tags, kept=kept, **origin), False

    def ExplainRun(self, request: Any, context: Any) -> Reply:
        run = self._state.run(request.run_id, context)
        with self._state.changing():
            return _explained(run)

    def BatchRuns(self, request: Any, context: Any) -> Iterator[Reply]:
        wanted = request.filter
        if wanted == pb.RunFilter():
            empty = "the filter is empty and matches every run"
            problem = Problem("filter", empty, "give a status, a workflow, a tag, an error type or a time")
            refuse(context, CODE.INVALID_ARGUMENT, empty, problems=(problem,))
        fitting = _FITTING.get(request.action, _ACTIVE)
        found = [
            run for run in self._state.matching(wanted.status, wanted.workflow, dict(wanted.tags))
            if run.status in fitting and wanted.error_type in ("", run.error.type)
            and wanted.since <= run.submitted_at < (wanted.until or 2**62)
        ][: request.limit or None]  # fmt: skip
        done = not request.execute
        yield pb.BatchRunsResponse(matched=len(found), sample=[summary(run) for run in found[:20]], finished=done)
        if done:
            return
        created = {}
        for message in found:
            run = self._state.run(message.run_id, context)
            with self._state.changing():
                if request.action == pb.BATCH_ACTION_CANCEL:
                    run.cancel(request.reason)
                elif request.action == pb.BATCH_ACTION_PAUSE:
                    run.pause(request.reason, request.until)
                elif request.action == pb.BATCH_ACTION_RESUME:
                    run.resume()
                elif request.action == pb.BATCH_ACTION_RETRY:
                    created[message.run_id] = self._retry(run, pb.RetryRunRequest(), context)[0].message.run_id
                else:
                    key = f"batch-{request.batch_id}" if request.batch_id else ""
                    self._signal(run, request.signal, from_value(request.payload), key, context)
        yield pb.BatchRunsResponse(done=len(found), finished=True, created=created)

    def PauseWorkflow(self, request: Any, context: Any) -> Reply:
        self._hold(request.workflow, True)
        return pb.PauseWorkflowResponse()

    def ResumeWorkflow(self, request: Any, context: Any) -> Reply:
        changed = request.workflow in self._state.paused_workflows
        self._hold(request.workflow, False)
        return pb.ResumeWorkflowResponse(changed=changed)

    def _hold(self, workflow: str, is_held: bool) -> None:
        with self._state.changing():
            (self._state.paused_workflows.add if is_held else self._state.paused_workflows.discard)(workflow)
            for run in self._state.of_workflow(workflow):
                run.is_held = is_held
                run.go_on()


def _refuse_over(run: FakeRun, context: Any) -> None:
    if run.is_over:
        status = wf.RunStatus.Name(run.message.status).removeprefix("RUN_STATUS_").lower()
        ended = "was cancelled" if status == "cancelled" else f"has {status}"
        refuse(context, CODE.FAILED_PRECONDITION, f"run {run.message.run_id} {ended}", kind="run_over")


def _refuse_unknown(run: FakeRun, names: Iterable[str], context: Any) -> None:
    if unknown := [name for name in names if name not in run.nodes]:
        text = f"there is no step {unknown[0]!r}; the steps are {', '.join(run.nodes)}"
        refuse(context, CODE.INVALID_ARGUMENT, text, kind="unknown_step")


def _approvals(run: FakeRun, approver: str) -> Iterator[Any]:
    for name, step in run.waiting("approval").items():
        config = run.nodes[name].get("config") or {}
        approvers = list(config.get("approvers") or [])
        if not approver or not approvers or approver in approvers:
            yield pb.Approval(
                run_id=run.message.run_id, workflow=run.message.workflow, step=name, approvers=approvers,
                message=str(config.get("message", "")), required=int(config.get("required", 1)),
                answers=run.answers.get(name, {}), since=step.started_at, expires_at=step.waiting_until,
            )  # fmt: skip


def _explained(run: FakeRun) -> Any:
    waiting = []
    for name in run.nodes:
        step = run.steps.get(name)
        missing = [source for source in run.sources[name] if source not in run.steps or source in run.waiting()]
        if step is not None and name in run.waiting():
            kind = "timer" if step.waiting_for == "wait" else step.waiting_for
            text, on = f"waits for {step.waiting_for}", str(from_struct(step.waiting_detail).get("signal", ""))
            waiting.append(
                pb.Waiting(
                    step=name, kind=kind, text=text, on=on, until=step.waiting_until, since=step.started_at,
                    detail=step.waiting_detail,
                )
            )  # fmt: skip
        elif step is None and missing and not run.is_over:
            text = f"waits for {', '.join(sorted(missing))}"
            waiting.append(pb.Waiting(step=name, kind="dependency", text=text, on=min(missing)))
    summary = "the run is paused" if run.message.status == wf.RUN_STATUS_PAUSED else ""
    if run.is_held and not summary:
        summary = f"the workflow {run.message.workflow} is paused"
    return pb.ExplainRunResponse(status=run.message.status, summary=summary, waiting=waiting)
