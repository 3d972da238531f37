"""The Python SDK of AgentFlow: build a workflow, run it, follow it, steer it.

Build a workflow with `Workflow`. Each call adds a node or sets something of the node before it:

>>> from agentflow_sdk import Client, Workflow
>>> flow = (
...     Workflow("refund")
...     .input("article", "string")
...     .tool("find", "orders.find", article="{{article}}")
...     .approval("approve", "Refund {{find.output.cents}} cents?")
...     .depends_on("find")
...     .output("cents", "find.output.cents")
... )
>>> print(flow.to_yaml().splitlines()[0])
name: refund

Run it with a `Client`, or with an `AsyncClient`, which has the same methods to await. `Client()`
finds the stack that runs here. `AGENTFLOW_ENDPOINT` and `AGENTFLOW_TOKEN` name another one. This
example uses the fake server of `agentflow_sdk.testing`, so it needs no stack:

>>> from agentflow_sdk.testing import FakeAgentFlow
>>> with FakeAgentFlow() as server, Client(server.endpoint, server.token) as client:
...     server.outputs["find"] = {"cents": 4250}  # what the step returns
...     run = client.workflows.submit(flow, {"article": "rope"})
...     answered = client.workflows.approve(run, "approve")
...     client.workflows.wait(run).output
{'cents': 4250}

Every error is an `AgentFlowError`, and `InvalidArgumentError.problems` lists each place and its fix:

>>> Workflow("empty").retry(3)
Traceback (most recent call last):
agentflow_sdk.errors.InvalidArgumentError: retry: there is no node to apply it to
  retry: there is no node to apply it to (add a node first)

Names are loaded when they are first used, so building a workflow does not wait for gRPC.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from agentflow_sdk.aio import AsyncClient
    from agentflow_sdk.builder import Workflow, body
    from agentflow_sdk.calls.audit import AuditEntry, AuditPage, AuditProblem, AuditVerified
    from agentflow_sdk.calls.controls import Changes
    from agentflow_sdk.calls.tools import Tool
    from agentflow_sdk.client import Client
    from agentflow_sdk.errors import (
        AbortedError,
        AgentFlowError,
        AlreadyExistsError,
        CancelledError,
        ConfigurationError,
        DeadlineExceededError,
        FailedPreconditionError,
        InternalError,
        InvalidArgumentError,
        NotFoundError,
        PermissionDeniedError,
        Problem,
        ResourceExhaustedError,
        RunFailedError,
        UnauthenticatedError,
        UnavailableError,
    )
    from agentflow_sdk.models.admin import DeadLetter, DeadLetterChanges, DeadLetterOutcome, DeadLetterPage, Retention
    from agentflow_sdk.models.controls import (
        Answered,
        Approval,
        ApprovalPage,
        BatchFailure,
        BatchProgress,
        Change,
        Explanation,
        FieldChange,
        Fork,
        Label,
        Lane,
        Signalled,
        Versions,
        Waiting,
        WorkflowDiff,
        WorkflowVersion,
    )
    from agentflow_sdk.models.schedules import (
        Calendar,
        Schedule,
        ScheduleBackfill,
        ScheduleChange,
        ScheduleFire,
        SchedulePage,
        SchedulePreview,
        ScheduleStatus,
        ScheduleTriggered,
        Webhook,
    )
    from agentflow_sdk.models.workflows import (
        Budget,
        BudgetPeriod,
        ErrorInfo,
        Page,
        Prompt,
        Registration,
        Run,
        RunEvent,
        RunPage,
        RunStatus,
        RunSummary,
        Step,
        StepStatus,
        Submission,
        Token,
        Trace,
        TraceEvent,
        TraceStep,
        TraceSummary,
        Validation,
    )
    from agentflow_sdk.transport.paging import each, each_async
    from agentflow_sdk.transport.retry import NO_RETRY, RetryPolicy

__version__ = "0.1.0"

__all__ = [
    "NO_RETRY",
    "AbortedError",
    "AgentFlowError",
    "AlreadyExistsError",
    "Answered",
    "Approval",
    "ApprovalPage",
    "AsyncClient",
    "AuditEntry",
    "AuditPage",
    "AuditProblem",
    "AuditVerified",
    "BatchFailure",
    "BatchProgress",
    "Budget",
    "BudgetPeriod",
    "Calendar",
    "CancelledError",
    "Change",
    "Changes",
    "Client",
    "ConfigurationError",
    "DeadLetter",
    "DeadLetterChanges",
    "DeadLetterOutcome",
    "DeadLetterPage",
    "DeadlineExceededError",
    "ErrorInfo",
    "Explanation",
    "FailedPreconditionError",
    "FieldChange",
    "Fork",
    "InternalError",
    "InvalidArgumentError",
    "Label",
    "Lane",
    "NotFoundError",
    "Page",
    "PermissionDeniedError",
    "Problem",
    "Prompt",
    "Registration",
    "ResourceExhaustedError",
    "Retention",
    "RetryPolicy",
    "Run",
    "RunEvent",
    "RunFailedError",
    "RunPage",
    "RunStatus",
    "RunSummary",
    "Schedule",
    "ScheduleBackfill",
    "ScheduleChange",
    "ScheduleFire",
    "SchedulePage",
    "SchedulePreview",
    "ScheduleStatus",
    "ScheduleTriggered",
    "Signalled",
    "Step",
    "StepStatus",
    "Submission",
    "Token",
    "Tool",
    "Trace",
    "TraceEvent",
    "TraceStep",
    "TraceSummary",
    "UnauthenticatedError",
    "UnavailableError",
    "Validation",
    "Versions",
    "Waiting",
    "Webhook",
    "Workflow",
    "WorkflowDiff",
    "WorkflowVersion",
    "body",
    "each",
    "each_async",
]

_HOMES: Final = (
    "errors",
    "models.workflows",
    "transport.retry",
    "builder",
    "models.admin",
    "models.controls",
    "calls.controls",
    "models.schedules",
    "calls.audit",
    "calls.tools",
    "transport.paging",
)


def __getattr__(name: str) -> Any:
    if name == "Client":
        return importlib.import_module("agentflow_sdk.client").Client
    if name == "AsyncClient":
        return importlib.import_module("agentflow_sdk.aio").AsyncClient
    if name in __all__:
        for home in _HOMES:
            module = importlib.import_module(f"agentflow_sdk.{home}")
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"module 'agentflow_sdk' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
