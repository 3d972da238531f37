"""An AgentFlow server for tests of code that uses the SDK: real gRPC on a free port, everything in memory.

    with FakeAgentFlow() as server, Client(server.endpoint, server.token) as client:
        run = client.workflows.run("name: demo\nversion: 1\n...", {"x": 1})

Every run completes at once: each node of the definition becomes a completed step, and the run's output is its inputs.
It checks keys, orgs and idempotency, not definitions. `fail_next(...)` makes the next calls of a method fail;
`drop_watch_after` cuts streams in order to exercise reconnects; `calls` counts what arrived.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import grpc
import yaml
from google.rpc import error_details_pb2, status_pb2

from agentflow.v1 import (
    budget_pb2,
    budget_pb2_grpc,
    prompt_pb2,
    prompt_pb2_grpc,
    trace_pb2,
    trace_pb2_grpc,
    workflow_pb2,
    workflow_pb2_grpc,
)
from agentflow_sdk.convert import from_struct, to_struct
from agentflow_sdk.errors import STATUS_DETAILS_KEY, Problem

Reply = Any


def status_details(
    code: grpc.StatusCode,
    message: str,
    *,
    problems: tuple[Problem, ...] = (),
    kind: str = "",
    retry_after_s: float | None = None,
) -> bytes:
    """A serialised `google.rpc.Status` as the gateway sends it in `grpc-status-details-bin`."""
    status = status_pb2.Status(code=code.value[0], message=message)
    if kind:
        status.details.add().Pack(error_details_pb2.ErrorInfo(reason=kind, domain="agentflow"))
    if problems:
        bad = error_details_pb2.BadRequest()
        for problem in problems:
            violation = bad.field_violations.add(field=problem.place, description=problem.message)
            violation.localized_message.message = problem.fix
        status.details.add().Pack(bad)
    if retry_after_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(int(retry_after_s * 1000))
        status.details.add().Pack(retry)
    return bytes(status.SerializeToString())


class FakeAgentFlow:
    """The server; start and stop it with `with`. token: the one key that it knows, of the org `org`."""

    def __init__(self, org: str = "default") -> None:
        self.org = org
        self.token = "afk_" + secrets.token_urlsafe(24)
        self.endpoint = ""
        self.calls: Counter[str] = Counter()
        self.drop_watch_after: int | None = None
        self.held = threading.Event()  # clear it to keep runs from ending
        self.held.set()
        self.runs: dict[str, workflow_pb2.Run] = {}
        self.requests: dict[str, workflow_pb2.SubmitWorkflowRequest] = {}
        self._events: dict[str, list[workflow_pb2.WatchRunResponse]] = {}
        self._workflows: dict[str, dict[str, Any]] = {}
        self._prompts: dict[str, list[prompt_pb2.Prompt]] = defaultdict(list)
        self._budgets: list[budget_pb2.Budget] = []
        self._failures: dict[str, list[tuple[grpc.StatusCode, str, bytes]]] = defaultdict(list)
        self._lock = threading.RLock()
        self._server = self._make_server(0)

    def _make_server(self, port: int) -> Any:
        server = grpc.server(ThreadPoolExecutor(16))
        workflow_pb2_grpc.add_WorkflowServiceServicer_to_server(_Workflows(self), server)  # type: ignore[no-untyped-call]
        prompt_pb2_grpc.add_PromptServiceServicer_to_server(_Prompts(self), server)  # type: ignore[no-untyped-call]
        budget_pb2_grpc.add_BudgetServiceServicer_to_server(_Budgets(self), server)  # type: ignore[no-untyped-call]
        trace_pb2_grpc.add_TraceServiceServicer_to_server(_Traces(self), server)  # type: ignore[no-untyped-call]
        chosen = server.add_insecure_port(f"127.0.0.1:{port}")
        self.endpoint = f"127.0.0.1:{chosen}"
        return server

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.held.set()
        self._server.stop(0).wait()

    def fail_next(
        self,
        method: str,
        code: grpc.StatusCode,
        message: str = "made to fail",
        *,
        times: int = 1,
        problems: tuple[Problem, ...] = (),
        kind: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        """The next calls of the method (`GetRun`) end with this status; further failures queue up behind."""
        details = status_details(code, message, problems=problems, kind=kind, retry_after_s=retry_after_s)
        self._failures[method].extend([(code, message, details)] * times)

    # --- inside ---

    def _enter(self, method: str, context: Any) -> None:
        """Counts the call, checks the key and the org, and fails if a failure is queued."""
        with self._lock:
            self.calls[method] += 1
            failure = self._failures[method].pop(0) if self._failures[method] else None
        metadata = dict(context.invocation_metadata())
        if metadata.get("authorization") != f"Bearer {self.token}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "the API key is not known or was revoked")
        if metadata.get("x-org-id", self.org) != self.org:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "unknown org or not yours")
        if failure is not None:
            context.set_trailing_metadata(((STATUS_DETAILS_KEY, failure[2]),))
            context.abort(failure[0], failure[1])

    def _definition(self, request: Any, context: Any) -> dict[str, Any]:
        kind = request.WhichOneof("source")
        if kind == "workflow":
            name = request.workflow.partition("@")[0]
            if name not in self._workflows:
                context.abort(grpc.StatusCode.NOT_FOUND, f"there is no workflow {name!r}")
            return self._workflows[name]
        data = from_struct(request.definition) if kind == "definition" else yaml.safe_load(request.definition_text)
        if not isinstance(data, dict) or not data.get("name"):
            problem = Problem("line 1, name", "the field 'name' is missing", "add `name:`")
            details = status_details(grpc.StatusCode.INVALID_ARGUMENT, "not valid", problems=(problem,))
            context.set_trailing_metadata(((STATUS_DETAILS_KEY, details),))
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the workflow definition is not valid")
        return data

    def _start(self, request: workflow_pb2.SubmitWorkflowRequest, definition: dict[str, Any]) -> tuple[str, bool]:
        run_id = f"run_{request.idempotency_key}"
        with self._lock:
            if run_id in self.runs:
                return run_id, True
            now = int(time.time() * 1000)
            run = workflow_pb2.Run(
                run_id=run_id,
                workflow=str(definition["name"]),
                version=int(definition.get("version", 1)),
                status=workflow_pb2.RUN_STATUS_COMPLETED,
                submitted_at=now,
                started_at=now,
                finished_at=now + 20,
                cost_nano_usd=1_200_000,
                tags=request.tags,
                redactions={"EMAIL_ADDRESS": 2},
                input_tokens=120,
                output_tokens=30,
            )
            run.inputs.struct_value.CopyFrom(request.inputs)
            run.output.struct_value.CopyFrom(request.inputs)
            if request.inputs.fields["fail"].bool_value:
                run.status = workflow_pb2.RUN_STATUS_FAILED
                run.error.CopyFrom(workflow_pb2.ErrorInfo(type="boom", message="it was asked to fail"))
            self._events[run_id] = _events(run, definition)
            run.last_sequence = self._events[run_id][-1].event.sequence
            self.runs[run_id] = run
            self.requests[run_id] = request
        return run_id, False

    def _run(self, run_id: str, context: Any) -> workflow_pb2.Run:
        if run_id not in self.runs:
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no run {run_id!r} in your org")
        return self.runs[run_id]


def _events(run: workflow_pb2.Run, definition: dict[str, Any]) -> list[workflow_pb2.WatchRunResponse]:
    nodes = (definition.get("dag") or {}).get("nodes") or [{"id": "only", "type": "tool"}]
    out: list[workflow_pb2.WatchRunResponse] = []

    def add(event_type: str, step: str = "", attempt: int = 0, **body: Any) -> None:
        event = workflow_pb2.RunEvent(
            sequence=10 + len(out) * 3,
            type=event_type,
            ts=run.submitted_at + len(out),
            step=step,
            attempt=attempt,
            body=to_struct({"type": event_type, **body}, "body"),
            status=workflow_pb2.RUN_STATUS_RUNNING,
            steps_total=len(nodes),
            steps_done=len(run.steps),
        )
        out.append(workflow_pb2.WatchRunResponse(event=event))

    add("run.submitted", workflow=run.workflow, version=run.version, definition=definition)
    add("run.started", workflow=run.workflow, version=run.version)
    for node in nodes:
        name, kind = str(node["id"]), str(node.get("type", "tool"))
        add("step.scheduled", name, 1, kind=kind)
        if kind == "llm":
            for offset, text in ((0, "Hel"), (3, "lo")):
                token = workflow_pb2.TokenChunk(step=name, attempt=1, offset=offset, text=text)
                out.append(workflow_pb2.WatchRunResponse(token=token))
        run.steps.append(
            workflow_pb2.Step(
                step=name,
                type=kind,
                status=workflow_pb2.STEP_STATUS_COMPLETED,
                attempt=1,
                started_at=run.submitted_at,
                finished_at=run.submitted_at + 5,
            )
        )
        add("step.completed", name, 1, duration_ms=5)
    add("run.failed" if run.HasField("error") else "run.completed", error={"message": run.error.message})
    out[-1].event.status = run.status
    out[-1].event.cost_nano_usd = run.cost_nano_usd
    return out


class _Workflows(workflow_pb2_grpc.WorkflowServiceServicer):
    def __init__(self, fake: FakeAgentFlow) -> None:
        self._fake = fake

    def RegisterWorkflow(self, request: Any, context: Any) -> Reply:  # noqa: N802
        self._fake._enter("RegisterWorkflow", context)
        definition = self._fake._definition(request, context)
        name, version = str(definition["name"]), int(definition.get("version", 1))
        created = self._fake._workflows.get(name) != definition
        self._fake._workflows[name] = definition
        return workflow_pb2.RegisterWorkflowResponse(name=name, version=version, digest="0" * 64, created=created)

    def ValidateWorkflow(self, request: Any, context: Any) -> Reply:  # noqa: N802
        self._fake._enter("ValidateWorkflow", context)
        definition = self._fake._definition(request, context)
        steps = len((definition.get("dag") or {}).get("nodes") or ())
        if not steps:
            problem = workflow_pb2.Problem(place="line 1, dag", message="there is no node", fix="add one")
            return workflow_pb2.ValidateWorkflowResponse(valid=False, problems=[problem])
        return workflow_pb2.ValidateWorkflowResponse(valid=True, name=str(definition["name"]), version=1, steps=steps)

    def SubmitWorkflow(self, request: Any, context: Any) -> Reply:  # noqa: N802
        self._fake._enter("SubmitWorkflow", context)
        run_id, again = self._fake._start(request, self._fake._definition(request, context))
        return workflow_pb2.SubmitWorkflowResponse(run_id=run_id, deduplicated=again)

    def GetRun(self, request: Any, context: Any) -> Reply:  # noqa: N802
        self._fake._enter("GetRun", context)
        return workflow_pb2.GetRunResponse(run=self._fake._run(request.run_id, context))

    def ListRuns(self, request: Any, context: Any) -> Reply:  # noqa: N802
        self._fake._enter("ListRuns", context)
        wanted = [run for run in self._fake.runs.values() if request.status in (0, run.status)]
        first = int(request.page_token or 0)
        page = wanted[first : first + (request.page_size or 50)]
        names = ("run_id", "workflow", "version", "status", "submitted_at", "finished_at", "cost_nano_usd")
        runs = [workflow_pb2.RunSummary(**{name: getattr(run, name) for name in names}) for run in page]
        after = first + len(page)
        return workflow_pb2.ListRunsResponse(runs=runs, next_page_token=str(after) if after < len(wanted) else "")

    def WatchRun(self, request: Any, context: Any) -> Reply:  # noqa: N802
        self._fake._enter("WatchRun", context)
        self._fake._run(request.run_id, context)
        sent = 0
        for item in self._fake._events[request.run_id]:
            if item.WhichOneof("item") == "token":
                if request.include_tokens:
                    yield item
                continue
            if item.event.sequence <= request.after_sequence:
                continue
            if item.event.status in (workflow_pb2.RUN_STATUS_COMPLETED, workflow_pb2.RUN_STATUS_FAILED):
                self._fake.held.wait()
            if self._fake.drop_watch_after is not None and sent >= self._fake.drop_watch_after:
                context.abort(grpc.StatusCode.UNAVAILABLE, "the connection was cut")
            yield item
            sent += 1

    def CancelRun(self, request: Any, context: Any) -> Reply:  # noqa: N802
        self._fake._enter("CancelRun", context)
        return workflow_pb2.CancelRunResponse(status=self._fake._run(request.run_id, context).status)


class _Prompts(prompt_pb2_grpc.PromptServiceServicer):
    def __init__(self, fake: FakeAgentFlow) -> None:
        self._fake = fake

    def CreatePrompt(self, request: Any, context: Any) -> Reply:  # noqa: N802
        self._fake._enter("CreatePrompt", context)
        versions = self._fake._prompts[request.name]
        names = ("name", "template", "system", "description", "inputs_schema", "labels", "task", "temperature")
        prompt = prompt_pb2.Prompt(**{name: getattr(request, name) for name in names})
        prompt.version = len(versions) + 1
        prompt.max_output_tokens = request.max_output_tokens or 1024
        versions.append(prompt)
        return prompt_pb2.CreatePromptResponse(prompt=prompt)

    def GetPrompt(self, request: Any, context: Any) -> Reply:  # noqa: N802
        self._fake._enter("GetPrompt", context)
        versions = self._fake._prompts.get(request.name, [])
        for prompt in reversed(versions):
            if request.version in ("", str(prompt.version), *prompt.labels):
                return prompt_pb2.GetPromptResponse(prompt=prompt)
        return context.abort(grpc.StatusCode.NOT_FOUND, f"there is no prompt {request.name!r}")

    def ListPrompts(self, request: Any, context: Any) -> Reply:  # noqa: N802
        self._fake._enter("ListPrompts", context)
        latest = [
            v[-1] for name, v in sorted(self._fake._prompts.items()) if v and name.startswith(request.name_prefix)
        ]
        return prompt_pb2.ListPromptsResponse(prompts=latest)


class _Budgets(budget_pb2_grpc.BudgetServiceServicer):
    def __init__(self, fake: FakeAgentFlow) -> None:
        self._fake = fake

    def CreateBudget(self, request: Any, context: Any) -> Reply:  # noqa: N802
        self._fake._enter("CreateBudget", context)
        number = len(self._fake._budgets) + 1
        budget = budget_pb2.Budget(
            id=f"bud_{number}",
            name=request.name or f"budget-{number}",
            period=request.period,
            limit_nano_usd=request.limit_nano_usd,
            scope=request.scope or "org",
        )
        self._fake._budgets.append(budget)
        return budget_pb2.CreateBudgetResponse(budget=budget)

    def ListBudgets(self, request: Any, context: Any) -> Reply:  # noqa: N802, ARG002
        self._fake._enter("ListBudgets", context)
        return budget_pb2.ListBudgetsResponse(budgets=self._fake._budgets)

    def GetBudget(self, request: Any, context: Any) -> Reply:  # noqa: N802
        self._fake._enter("GetBudget", context)
        for budget in self._fake._budgets:
            if request.id in (budget.id, budget.name):
                return budget_pb2.GetBudgetResponse(budget=budget)
        return context.abort(grpc.StatusCode.NOT_FOUND, f"there is no budget {request.id!r}")


class _Traces(trace_pb2_grpc.TraceServiceServicer):
    def __init__(self, fake: FakeAgentFlow) -> None:
        self._fake = fake

    def GetTrace(self, request: Any, context: Any) -> Reply:  # noqa: N802
        self._fake._enter("GetTrace", context)
        run = self._fake._run(request.run_id, context)
        steps = [
            trace_pb2.TraceStep(
                step=step.step,
                attempt=1,
                status=step.status,
                scheduled_at=run.submitted_at,
                started_at=step.started_at,
                finished_at=step.finished_at,
                duration_ms=5.0,
            )
            for step in run.steps
        ]
        events = [
            trace_pb2.TraceEvent(stream="AF_EVENTS", sequence=e.event.sequence, ts=e.event.ts, type=e.event.type)
            for e in self._fake._events[run.run_id]
            if e.WhichOneof("item") == "event"
        ]
        names = ("run_id", "workflow", "status", "started_at", "finished_at", "cost_nano_usd", "redactions")
        same = {name: getattr(run, name) for name in names}
        return trace_pb2.GetTraceResponse(**same, steps=steps, events=events)

    def QueryTraces(self, request: Any, context: Any) -> Reply:  # noqa: N802
        self._fake._enter("QueryTraces", context)
        found = [
            trace_pb2.TraceSummary(run_id=run.run_id, workflow=run.workflow, status=run.status, steps=len(run.steps))
            for run in self._fake.runs.values()
            if request.start_ms <= run.submitted_at <= (request.end_ms or run.submitted_at)
            and request.status in (0, run.status)
        ]
        return trace_pb2.QueryTracesResponse(traces=found)
