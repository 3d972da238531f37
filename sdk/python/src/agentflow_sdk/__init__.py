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

Every error is an `AgentFlowError`, and its `problems` list each place and its fix:

>>> Workflow("empty").retry(3)
Traceback (most recent call last):
agentflow_sdk.errors.InvalidArgumentError: retry: there is no node to apply it to (add a node first)

Names are loaded when they are first used, so building a workflow does not wait for gRPC.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from agentflow_sdk import models
from agentflow_sdk.models import traces as trace_models

if TYPE_CHECKING:
    from agentflow_sdk.builder import Workflow, body
    from agentflow_sdk.client import AsyncClient, Client
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
        ResourceExhaustedError,
        UnauthenticatedError,
        UnavailableError,
    )
    from agentflow_sdk.models.admin import DeadLetter, DeadLetterChanges, DeadLetterOutcome, DeadLetterPage, Retention
    from agentflow_sdk.models.approvals import Answered, Approval, ApprovalPage
    from agentflow_sdk.models.audit import AuditEntry, AuditPage, AuditProblem, AuditVerified
    from agentflow_sdk.models.budgets import Budget, BudgetPeriod
    from agentflow_sdk.models.controls import (
        BatchFailure,
        BatchProgress,
        Breakpoints,
        Changes,
        Continued,
        Explanation,
        Fork,
        Signalled,
        Waiting,
    )
    from agentflow_sdk.models.lanes import Lane
    from agentflow_sdk.models.prompts import Prompt, PromptLabel, PromptVersion
    from agentflow_sdk.models.records import Page
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
        ScheduleWatch,
        Webhook,
    )
    from agentflow_sdk.models.statuses import RunStatus, StepStatus
    from agentflow_sdk.models.tools import Tool
    from agentflow_sdk.models.traces.calls import TraceCall
    from agentflow_sdk.models.traces.diff import (
        TraceDiff,
        TraceDiffField,
        TraceDiffPart,
        TraceDiffRest,
        TraceDiffRun,
        TraceDiffSide,
        TraceDiffStep,
        TraceDiffValue,
    )
    from agentflow_sdk.models.traces.explanation import (
        Cause,
        CauseLink,
        CostReport,
        CostShare,
        Evidence,
        ModelCost,
        TimeReport,
        TimeShare,
        TraceExplanation,
        Usual,
    )
    from agentflow_sdk.models.traces.groups import (
        TraceGroup,
        TraceGroupMeasure,
        TraceGroups,
        TraceGroupSide,
        TraceGroupStep,
    )
    from agentflow_sdk.models.traces.progress import TraceProgress, TraceStreamProgress
    from agentflow_sdk.models.traces.replay import ReplayDifference, ReplayDivergence, TraceReplay
    from agentflow_sdk.models.traces.series import TraceSeries, TraceSeriesPoint
    from agentflow_sdk.models.traces.trace import Trace, TraceEvent, TraceStep, TraceSummary
    from agentflow_sdk.models.traces.views import TraceNode, TraceSegment
    from agentflow_sdk.models.versions import (
        Change,
        FieldChange,
        Label,
        RegisteredDefinition,
        RegisteredWorkflow,
        Versions,
        WorkflowDiff,
        WorkflowLabel,
        WorkflowVersion,
    )
    from agentflow_sdk.models.workflows import (
        ErrorInfo,
        Registration,
        Run,
        RunEvent,
        RunFailedError,
        RunPage,
        RunSummary,
        Step,
        Submission,
        Token,
        Validation,
    )
    from agentflow_sdk.problems import Problem
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
    "Breakpoints",
    "Budget",
    "BudgetPeriod",
    "Calendar",
    "CancelledError",
    "Cause",
    "CauseLink",
    "Change",
    "Changes",
    "Client",
    "ConfigurationError",
    "Continued",
    "CostReport",
    "CostShare",
    "DeadLetter",
    "DeadLetterChanges",
    "DeadLetterOutcome",
    "DeadLetterPage",
    "DeadlineExceededError",
    "ErrorInfo",
    "Evidence",
    "Explanation",
    "FailedPreconditionError",
    "FieldChange",
    "Fork",
    "InternalError",
    "InvalidArgumentError",
    "Label",
    "Lane",
    "ModelCost",
    "NotFoundError",
    "Page",
    "PermissionDeniedError",
    "Problem",
    "Prompt",
    "PromptLabel",
    "PromptVersion",
    "RegisteredDefinition",
    "RegisteredWorkflow",
    "Registration",
    "ReplayDifference",
    "ReplayDivergence",
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
    "ScheduleWatch",
    "Signalled",
    "Step",
    "StepStatus",
    "Submission",
    "TimeReport",
    "TimeShare",
    "Token",
    "Tool",
    "Trace",
    "TraceCall",
    "TraceDiff",
    "TraceDiffField",
    "TraceDiffPart",
    "TraceDiffRest",
    "TraceDiffRun",
    "TraceDiffSide",
    "TraceDiffStep",
    "TraceDiffValue",
    "TraceEvent",
    "TraceExplanation",
    "TraceGroup",
    "TraceGroupMeasure",
    "TraceGroupSide",
    "TraceGroupStep",
    "TraceGroups",
    "TraceNode",
    "TraceProgress",
    "TraceReplay",
    "TraceSegment",
    "TraceSeries",
    "TraceSeriesPoint",
    "TraceStep",
    "TraceStreamProgress",
    "TraceSummary",
    "UnauthenticatedError",
    "UnavailableError",
    "Usual",
    "Validation",
    "Versions",
    "Waiting",
    "Webhook",
    "Workflow",
    "WorkflowDiff",
    "WorkflowLabel",
    "WorkflowVersion",
    "body",
    "each",
    "each_async",
]

_LIGHT: Final = (
    "errors",
    "problems",
    *(f"models.{name}" for name in models.__all__),
    *(f"models.traces.{name}" for name in trace_models.__all__),
    "builder",
    "transport.retry",
)
_HOMES: Final = (*_LIGHT, "transport.paging", "client")  # the client is last: it imports gRPC


def __getattr__(name: str) -> Any:
    if name in __all__:
        for home in _HOMES:
            module = importlib.import_module(f"agentflow_sdk.{home}")
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"module 'agentflow_sdk' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
