# ruff: noqa: N802, ARG002  (gRPC names these methods and passes a context to each)
"""The services of the fake, except for the controls of runs."""

from __future__ import annotations

from typing import Any

import grpc

from agentflow.v1 import (
    budget_pb2,
    budget_pb2_grpc,
    prompt_pb2,
    prompt_pb2_grpc,
    trace_explain_pb2,
    trace_pb2,
    trace_pb2_grpc,
    trace_rebuild_pb2,
    trace_series_pb2,
    workflow_pb2,
    workflow_pb2_grpc,
)
from agentflow_sdk.testing.runs import FINAL
from agentflow_sdk.testing.state import FakeState, Reply, fields_of, summary


class Service:
    """A service of the fake. It works on the state that all of them share."""

    def __init__(self, state: FakeState) -> None:
        self._state = state


class Workflows(Service, workflow_pb2_grpc.WorkflowServiceServicer):
    def RegisterWorkflow(self, request: Any, context: Any) -> Reply:
        definition = self._state.definition(request, context)
        name, version = str(definition["name"]), int(definition.get("version", 1))
        created = self._state.workflows.get(name) != definition
        self._state.workflows[name] = definition
        return workflow_pb2.RegisterWorkflowResponse(name=name, version=version, digest="0" * 64, created=created)

    def ValidateWorkflow(self, request: Any, context: Any) -> Reply:
        definition = self._state.definition(request, context)
        steps = len((definition.get("dag") or {}).get("nodes") or ())
        if not steps:
            problem = workflow_pb2.Problem(place="line 1, dag", message="there is no node", fix="add one")
            return workflow_pb2.ValidateWorkflowResponse(valid=False, problems=[problem])
        return workflow_pb2.ValidateWorkflowResponse(valid=True, name=str(definition["name"]), version=1, steps=steps)

    def SubmitWorkflow(self, request: Any, context: Any) -> Reply:
        run_id, again = self._state.start(request, self._state.definition(request, context))
        return workflow_pb2.SubmitWorkflowResponse(run_id=run_id, deduplicated=again)

    def SubmitWorkflows(self, request: Any, context: Any) -> Reply:
        context.abort(
            grpc.StatusCode.UNIMPLEMENTED, "the fake takes one submission in a call, which it can count or fail"
        )

    def GetRun(self, request: Any, context: Any) -> Reply:
        return workflow_pb2.GetRunResponse(run=self._state.snapshot(self._state.run(request.run_id, context)))

    def ListRuns(self, request: Any, context: Any) -> Reply:
        wanted = self._state.matching(request.status, request.workflow, dict(request.tags))
        first = int(request.page_token or 0)
        page = wanted[first : first + (request.page_size or 50)]
        runs = [summary(run) for run in page]
        after = first + len(page)
        return workflow_pb2.ListRunsResponse(runs=runs, next_page_token=str(after) if after < len(wanted) else "")

    def WatchRun(self, request: Any, context: Any) -> Reply:
        run = self._state.run(request.run_id, context)
        sent = seen = 0
        while context.is_active():
            items = self._state.events_after(run, seen)
            seen += len(items)
            for item in items:
                if item.WhichOneof("item") == "token":
                    if request.include_tokens:
                        yield item
                    continue
                if (item.event.sequence, item.event.part) <= (request.after_sequence, request.after_part):
                    continue
                if item.event.status in FINAL:
                    self._state.may_end.wait()
                if self._state.drop_watch_after is not None and sent >= self._state.drop_watch_after:
                    context.abort(grpc.StatusCode.UNAVAILABLE, "the connection was cut")
                yield item
                sent += 1
                if item.event.status in FINAL:
                    return
            if not items and run.is_over:
                return

    def WaitRun(self, request: Any, context: Any) -> Reply:
        run = self._state.run(request.run_id, context)
        return workflow_pb2.WaitRunResponse(run=self._state.ended(run, request.timeout_ms / 1000))

    def WaitRuns(self, request: Any, context: Any) -> Reply:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "the fake takes one wait in a call, which it can count or fail")

    def CancelRun(self, request: Any, context: Any) -> Reply:
        run = self._state.run(request.run_id, context)
        with self._state.changing():
            status = run.message.status
            run.cancel(request.reason)
        return workflow_pb2.CancelRunResponse(status=status)


class Prompts(Service, prompt_pb2_grpc.PromptServiceServicer):
    def CreatePrompt(self, request: Any, context: Any) -> Reply:
        versions = self._state.prompts[request.name]
        names = "name template system description inputs_schema labels task temperature"
        prompt = prompt_pb2.Prompt(**fields_of(request, names))
        prompt.version = len(versions) + 1
        prompt.max_output_tokens = request.max_output_tokens or 1024
        versions.append(prompt)
        return prompt_pb2.CreatePromptResponse(prompt=prompt)

    def GetPrompt(self, request: Any, context: Any) -> Reply:
        versions = self._state.prompts.get(request.name, [])
        for prompt in reversed(versions):
            if request.version in ("", str(prompt.version), *prompt.labels):
                return prompt_pb2.GetPromptResponse(prompt=prompt)
        return context.abort(grpc.StatusCode.NOT_FOUND, f"there is no prompt {request.name!r}")

    def ListPrompts(self, request: Any, context: Any) -> Reply:
        latest = [
            v[-1] for name, v in sorted(self._state.prompts.items()) if v and name.startswith(request.name_prefix)
        ]
        return prompt_pb2.ListPromptsResponse(prompts=latest)

    def ListPromptVersions(self, request: Any, context: Any) -> Reply:
        known = reversed(self._versions(request.name, context))
        rows = [prompt_pb2.PromptVersion(**fields_of(item, "version description labels")) for item in known]
        return prompt_pb2.ListPromptVersionsResponse(versions=rows)

    def SetPromptLabel(self, request: Any, context: Any) -> Reply:
        known = self._versions(request.name, context)
        if not request.remove and not 0 < request.version <= len(known):
            context.abort(grpc.StatusCode.NOT_FOUND, f"{request.name!r} has versions 1 to {len(known)}")
        wanted = 0 if request.remove else request.version
        before = next((item.version for item in known if request.label in item.labels), 0)
        for item in known:
            if request.label in item.labels:
                item.labels.remove(request.label)
            if item.version == wanted:
                item.labels.append(request.label)
        return prompt_pb2.SetPromptLabelResponse(version=wanted, changed=wanted != before)

    def _versions(self, name: str, context: Any) -> list[prompt_pb2.Prompt]:
        if not self._state.prompts.get(name):
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no prompt {name!r}")
        return self._state.prompts[name]


class Budgets(Service, budget_pb2_grpc.BudgetServiceServicer):
    def CreateBudget(self, request: Any, context: Any) -> Reply:
        number = len(self._state.budgets) + 1
        budget = budget_pb2.Budget(
            id=f"bud_{number}",
            name=request.name or f"budget-{number}",
            period=request.period,
            limit_nano_usd=request.limit_nano_usd,
            scope=request.scope or "org",
        )
        self._state.budgets.append(budget)
        return budget_pb2.CreateBudgetResponse(budget=budget)

    def ListBudgets(self, request: Any, context: Any) -> Reply:
        return budget_pb2.ListBudgetsResponse(budgets=self._state.budgets)

    def GetBudget(self, request: Any, context: Any) -> Reply:
        return budget_pb2.GetBudgetResponse(budget=self._find(request.id, context))

    def UpdateBudget(self, request: Any, context: Any) -> Reply:
        budget = self._find(request.id, context)
        changed = budget.limit_nano_usd != request.limit_nano_usd
        budget.limit_nano_usd = request.limit_nano_usd
        return budget_pb2.UpdateBudgetResponse(budget=budget, changed=changed)

    def DeleteBudget(self, request: Any, context: Any) -> Reply:
        budget = self._find(request.id, context)
        self._state.budgets.remove(budget)
        return budget_pb2.DeleteBudgetResponse(budget=budget)

    def _find(self, name: str, context: Any) -> budget_pb2.Budget:
        for budget in self._state.budgets:
            if name in (budget.id, budget.name):
                return budget
        return context.abort(grpc.StatusCode.NOT_FOUND, f"there is no budget {name!r}")  # type: ignore[no-any-return]


class Traces(Service, trace_pb2_grpc.TraceServiceServicer):
    def GetTrace(self, request: Any, context: Any) -> Reply:
        run = self._state.snapshot(self._state.run(request.run_id, context))
        times: dict[str, Any] = {"scheduled_at": run.submitted_at, "duration_ms": 5.0}
        steps = [
            trace_pb2.TraceStep(**fields_of(step, "step status started_at finished_at"), attempt=1, **times)
            for step in run.steps
        ]
        events = [
            trace_pb2.TraceEvent(stream="AF_EVENTS", sequence=e.event.sequence, ts=e.event.ts, type=e.event.type)
            for e in self._state.run(run.run_id, context).events
            if e.WhichOneof("item") == "event"
        ]
        same = fields_of(run, "run_id workflow status started_at finished_at cost_nano_usd redactions")
        return trace_pb2.GetTraceResponse(**same, steps=steps, events=events)

    def ExportTraceSpans(self, request: Any, context: Any) -> Reply:
        """Refuses: spans are made from a log, and there is none."""
        self._state.run(request.run_id, context)
        return context.abort(grpc.StatusCode.UNIMPLEMENTED, "the fake server has no spans")

    def GetTraceSeries(self, request: Any, context: Any) -> Reply:
        """Answers with one point for all runs of the time."""
        end = request.end_ms or max((run.submitted_at for run in self._state.matching(0, "", {})), default=0) + 1
        found = [run for run in self._state.matching(0, "", {}) if request.start_ms <= run.submitted_at < end]
        point = trace_series_pb2.TraceSeriesPoint(at=request.start_ms, count=len(found))
        times = {"bucket_ms": max(1, end - request.start_ms), "start_ms": request.start_ms, "end_ms": end}
        return trace_series_pb2.GetTraceSeriesResponse(points=[point] if found else [], **times)

    def ExplainTrace(self, request: Any, context: Any) -> Reply:
        run = self._state.snapshot(self._state.run(request.run_id, context))
        said = ("the run completed", "the run failed", "the run was cancelled")
        ended = dict(zip(("COMPLETED", "FAILED", "CANCELLED"), said, strict=True))
        status = workflow_pb2.RunStatus.Name(run.status).removeprefix("RUN_STATUS_")
        summary = ended.get(status, "the run has not ended")
        causes = [
            trace_explain_pb2.TraceCause(kind="tool_error", text=step.error.message, run_id=run.run_id, step=step.step)
            for step in run.steps
            if step.HasField("error")
        ]
        same = fields_of(run, "run_id workflow status version")
        return trace_explain_pb2.ExplainTraceResponse(**same, summary=summary, causes=causes)

    def QueryTraces(self, request: Any, context: Any) -> Reply:
        found = [
            trace_pb2.TraceSummary(run_id=run.run_id, workflow=run.workflow, status=run.status, steps=len(run.steps))
            for run in self._state.matching(0, "", {})
            if request.start_ms <= run.submitted_at <= (request.end_ms or run.submitted_at)
            and request.status in (0, run.status)
        ]
        return trace_pb2.QueryTracesResponse(traces=found)

    def DiffTraceGroups(self, request: Any, context: Any) -> Reply:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "the fake does not compare runs: use a real server")

    def ReplayTrace(self, request: Any, context: Any) -> Reply:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "the fake has no engine to replay runs: use a real server")

    def DiffTraces(self, request: Any, context: Any) -> Reply:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "the fake does not compare runs: use a real server")

    def RebuildTraces(self, request: Any, context: Any) -> Reply:
        return trace_rebuild_pb2.RebuildTracesResponse(progress=trace_rebuild_pb2.TraceProgress())

    def GetTraceProgress(self, request: Any, context: Any) -> Reply:
        return trace_rebuild_pb2.GetTraceProgressResponse(progress=trace_rebuild_pb2.TraceProgress())
