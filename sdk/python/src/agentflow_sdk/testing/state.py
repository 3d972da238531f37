"""The state of the fake: runs, workflows, prompts, budgets and the time, who may call, and which calls fail."""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import grpc
import yaml

from agentflow.v1 import budget_pb2, prompt_pb2, workflow_pb2
from agentflow_sdk.convert.json_values import from_struct, to_value
from agentflow_sdk.errors import STATUS_DETAILS_KEY
from agentflow_sdk.problems import Problem
from agentflow_sdk.testing.details import refuse, status_details
from agentflow_sdk.testing.runs import FakeRun

Reply = Any  # a message of the API
LOOK_S = 0.2  # how soon a watch sees that its client has gone


def _read(text: str) -> Any:
    """Returns the data of JSON or YAML, as the gateway reads it: JSON has escapes that YAML refuses."""
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(text)
    return yaml.safe_load(text)


def fields_of(message: Any, names: str) -> dict[str, Any]:
    """Returns fields of a message by name. names: separated by blanks."""
    return {name: getattr(message, name) for name in names.split()}


def summary(run: Any) -> Any:
    """Returns a run as lists show it."""
    same = fields_of(run, "run_id workflow version status submitted_at finished_at cost_nano_usd tags")
    return workflow_pb2.RunSummary(**same, error_type=run.error.type)


class FakeState:
    """The state of a fake server, shared by its services and by the test."""

    def __init__(self, org: str = "default", *, skip_time: bool = True) -> None:
        self.org = org
        """The org that the API key belongs to."""
        self.token = "afk_" + secrets.token_urlsafe(24)
        """The only API key that the server accepts."""
        self.endpoint = ""
        """`host:port` of the server."""
        self.outputs: dict[str, Any] = {}
        """The result of a step by node id: a value, an exception that the step fails with, or a function of the run's
        inputs that gives either."""
        self.skip_time = skip_time
        """True if the time of a `wait` step passes by itself as soon as nothing else can happen."""
        self.calls: Counter[str] = Counter()
        """The number of calls of each method."""
        self.drop_watch_after: int | None = None
        """The number of events after which a watch is cut; None for never."""
        self.may_end = threading.Event()
        """An event. Clear it to keep runs from ending, and set it to let them end."""
        self.may_end.set()
        self.runs: dict[str, workflow_pb2.Run] = {}
        """The runs by id, as messages of the API."""
        self.requests: dict[str, workflow_pb2.SubmitWorkflowRequest] = {}
        """The request that started each run, by the run's id."""
        self.workflows: dict[str, dict[str, Any]] = {}
        """The registered definitions by name."""
        self.paused_workflows: set[str] = set()
        """The names of paused workflows."""
        self.prompts: dict[str, list[prompt_pb2.Prompt]] = defaultdict(list)
        """The versions of each prompt by name."""
        self.budgets: list[budget_pb2.Budget] = []
        """The budgets in the order of their creation."""
        self._live: dict[str, FakeRun] = {}
        self._failures: dict[str, list[tuple[grpc.StatusCode, str, bytes]]] = defaultdict(list)
        self._changed = threading.Condition(threading.RLock())
        self._skipped_ms = 0

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
        """Makes the next calls of a method fail. Further failures of the same method queue up behind.

        Args:
            method: The name in the API: `GetRun`.
            code: The status.
            message: The message of the error.
            times: The number of calls that fail.
            problems: The problems that the error lists.
            kind: The stable name for the reason.
            retry_after_s: Seconds that the client is asked to wait before it tries again; None for no such hint.
        """
        details = status_details(code, message, problems=problems, kind=kind, retry_after_s=retry_after_s)
        self._failures[method].extend([(code, message, details)] * times)

    # --- time ---

    @property
    def now_ms(self) -> int:
        """The fake's time, ms since the epoch: the real time and everything that was skipped."""
        return int(time.time() * 1000) + self._skipped_ms

    def skip(self, seconds: float) -> None:
        """Lets time pass, so that waits end, and signals and approvals run out of time.

        Args:
            seconds: The time that passes.
        """
        with self.changing():
            self._skipped_ms += round(seconds * 1000)
            for run in list(self._live.values()):
                run.go_on()

    def pass_until(self, ms: int) -> None:
        """Lets the time pass up to a moment, ms since the epoch."""
        self._skipped_ms += max(0, ms - self.now_ms)

    # --- for the services ---

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Surrounds each change of a run, and wakes those that watch one."""
        with self._changed:
            yield
            self._changed.notify_all()

    def enter(self, method: str, context: Any) -> None:
        """Counts a call, checks the key and the org, and ends the call if a failure is queued."""
        with self._changed:
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

    def definition(self, request: Any, context: Any) -> dict[str, Any]:
        """Returns the definition that a request names or contains. Ends the call if there is none."""
        kind = request.WhichOneof("source")
        if kind == "workflow":
            name = request.workflow.partition("@")[0]
            if name not in self.workflows:
                context.abort(grpc.StatusCode.NOT_FOUND, f"there is no workflow {name!r}")
            return self.workflows[name]
        try:
            data = from_struct(request.definition) if kind == "definition" else _read(request.definition_text)
        except yaml.YAMLError as error:
            refuse(context, grpc.StatusCode.INVALID_ARGUMENT, f"the workflow definition is not YAML: {error}")
        if not isinstance(data, dict) or not data.get("name"):
            problem = Problem("line 1, name", "the field 'name' is missing", "add `name:`")
            invalid = grpc.StatusCode.INVALID_ARGUMENT
            refuse(context, invalid, "the workflow definition is not valid", problems=(problem,))
        return data

    def start(self, request: workflow_pb2.SubmitWorkflowRequest, definition: dict[str, Any]) -> tuple[str, bool]:
        """Starts a run. Returns (its id, True if the idempotency key was used before)."""
        with self.changing():
            run_id = f"run_{request.idempotency_key}"
            if run_id in self.runs:
                return run_id, True
            self.requests[run_id] = request
            stops = {"break_at": list(request.break_at), "step_by_step": request.step_by_step}
            self.begin(run_id, definition, from_struct(request.inputs), dict(request.tags), stops=stops)
        return run_id, False

    def begin(
        self,
        run_id: str,
        definition: dict[str, Any],
        inputs: Mapping[str, Any],
        tags: dict[str, str],
        *,
        kept: Mapping[str, Any] | None = None,
        stops: Mapping[str, Any] | None = None,
        **origin: str,
    ) -> FakeRun:
        """Returns a new run. Call it inside `changing`.

        kept: the steps that keep their results, by id. stops: its breakpoints, as fields of the run.
        origin: fields of the run that say where it comes from.
        """
        now = self.now_ms
        message = workflow_pb2.Run(
            run_id=run_id,
            workflow=str(definition["name"]),
            version=int(definition.get("version", 1)),
            status=workflow_pb2.RUN_STATUS_RUNNING,
            submitted_at=now,
            started_at=now,
            tags=tags,
            redactions={"EMAIL_ADDRESS": 2},
            input_tokens=120,
            output_tokens=30,
            **(stops or {}),
        )
        for name, value in origin.items():
            setattr(message, name, value)
        message.inputs.CopyFrom(to_value(inputs, "inputs"))
        self.runs[run_id] = message
        is_held = message.workflow in self.paused_workflows
        self._live[run_id] = FakeRun(message, definition, self, dict(kept or {}), is_held)
        return self._live[run_id]

    def run(self, run_id: str, context: Any) -> FakeRun:
        """Returns a run. Ends the call if there is no such run."""
        if run_id not in self._live:
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no run {run_id!r} in your org")
        return self._live[run_id]

    def of_workflow(self, name: str) -> list[FakeRun]:
        """Returns the runs of a workflow, or all runs for an empty name."""
        return [run for run in list(self._live.values()) if name in ("", run.message.workflow)]

    def matching(self, status: int, workflow: str, tags: dict[str, str]) -> list[Any]:
        """Returns copies of the runs that match, in the order of their submission."""
        found = [self.snapshot(run) for run in self.of_workflow(workflow)]
        return [run for run in found if status in (0, run.status) and tags.items() <= dict(run.tags).items()]

    def snapshot(self, run: FakeRun) -> workflow_pb2.Run:
        """Returns a copy of a run: a message must not change while it is sent."""
        message = workflow_pb2.Run()
        with self._changed:
            message.CopyFrom(run.message)
        return message

    def ended(self, run: FakeRun, timeout_s: float) -> workflow_pb2.Run:
        """Returns a copy of a run as soon as it has ended and may end, or as it is when the time is over.

        Args:
            run: The run.
            timeout_s: Seconds to wait.

        Returns:
            The copy. It is shown as running if the run may not end yet.
        """
        end_s = time.monotonic() + timeout_s
        with self._changed:
            self._changed.wait_for(lambda: run.is_over, timeout_s)
        may_end = self.may_end.wait(max(0.0, end_s - time.monotonic()))
        message = self.snapshot(run)
        if not may_end:
            message.status = workflow_pb2.RUN_STATUS_RUNNING
        return message

    def events_after(self, run: FakeRun, seen: int) -> list[Any]:
        """Returns the events after a number of them. Waits a moment if there is nothing new."""
        with self._changed:
            if len(run.events) == seen and not run.is_over:
                self._changed.wait(LOOK_S)
            return run.events[seen:]
