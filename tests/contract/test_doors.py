"""Every control is there at every door: each call of the API has a method in both clients and a command."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import typer.main
from google.protobuf.descriptor import FieldDescriptor

from agentctl.main import app
from agentflow.v1 import (
    admin_pb2,
    audit_pb2,
    budget_pb2,
    control_pb2,
    prompt_pb2,
    schedule_pb2,
    tool_pb2,
    trace_pb2,
    workflow_pb2,
)
from agentflow_sdk import AsyncClient, Client

METHODS = {
    (service.name, method.name): method
    for module in (
        workflow_pb2,
        control_pb2,
        schedule_pb2,
        admin_pb2,
        tool_pb2,
        prompt_pb2,
        trace_pb2,
        budget_pb2,
        audit_pb2,
    )
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
LISTS = {name: method for (_, name), method in METHODS.items() if name.startswith(("List", "Query"))}
# call: the clients' method, the command
DOORS = {
    "RegisterWorkflow": ("workflows.register", "workflow register"),
    "ValidateWorkflow": ("workflows.validate", "workflow validate"),
    "SubmitWorkflow": ("workflows.submit", "workflow submit"),
    "SubmitWorkflows": ("workflows.submit", "workflow submit"),  # as which several submissions are sent
    "GetRun": ("workflows.get", "workflow get"),
    "ListRuns": ("workflows.list", "workflow list"),
    "WatchRun": ("workflows.watch", "workflow watch"),
    "WaitRun": ("workflows.wait", "workflow wait"),
    "WaitRuns": ("workflows.wait", "workflow wait"),  # as which several waits are sent
    "CancelRun": ("workflows.cancel", "workflow cancel"),
    "PauseRun": ("workflows.pause", "workflow pause"),
    "ResumeRun": ("workflows.resume", "workflow resume"),
    "BreakRun": ("workflows.set_breakpoints", "workflow break"),
    "ContinueRun": ("workflows.continue_run", "workflow continue"),
    "SignalRun": ("workflows.signal", "workflow signal"),
    "AnswerApproval": ("workflows.approve", "workflow approve"),
    "ListApprovals": ("workflows.approvals", "workflow approvals"),
    "ResolveOutcome": ("workflows.resolve", "workflow resolve"),
    "ForkRun": ("workflows.fork", "workflow fork"),
    "RetryRun": ("workflows.retry", "workflow retry"),
    "ExplainRun": ("workflows.why", "workflow why"),
    "BatchRuns": ("workflows.batch", "workflow batch"),
    "PauseWorkflow": ("workflows.pause_workflow", "workflow pause"),
    "ResumeWorkflow": ("workflows.resume_workflow", "workflow resume"),
    "ListWorkflows": ("workflows.registered", "workflow registered"),
    "GetWorkflow": ("workflows.definition", "workflow show"),
    "ListVersions": ("workflows.versions", "workflow versions"),
    "SetLabel": ("workflows.label", "workflow label"),
    "DeleteWorkflow": ("workflows.delete", "workflow delete"),
    "DiffWorkflows": ("workflows.diff", "workflow diff"),
    "ListLanes": ("lanes.list", "lane list"),
    "GetLane": ("lanes.get", "lane get"),
    "SetLane": ("lanes.set", "lane set"),
    "CreateSchedule": ("schedules.create", "schedule create"),
    "UpdateSchedule": ("schedules.update", "schedule update"),
    "GetSchedule": ("schedules.get", "schedule get"),
    "ListSchedules": ("schedules.list", "schedule list"),
    "PauseSchedule": ("schedules.pause", "schedule pause"),
    "ResumeSchedule": ("schedules.resume", "schedule resume"),
    "TriggerSchedule": ("schedules.trigger", "schedule trigger"),
    "BackfillSchedule": ("schedules.backfill", "schedule backfill"),
    "DeleteSchedule": ("schedules.delete", "schedule delete"),
    "PreviewSchedule": ("schedules.preview", "schedule next"),
    "GetWebhook": ("schedules.webhook", "schedule webhook"),
    "RotateWebhook": ("schedules.rotate_webhook", "schedule rotate"),
    "SetCalendar": ("schedules.set_calendar", "schedule calendar"),
    "ListCalendars": ("schedules.calendars", "schedule calendar"),
    "DeleteCalendar": ("schedules.delete_calendar", "schedule calendar"),
    "ListDeadLetters": ("admin.list_dead_letters", "dead list"),
    "GetDeadLetter": ("admin.get_dead_letter", "dead get"),
    "ReplayDeadLetters": ("admin.replay_dead_letters", "dead replay"),
    "PurgeDeadLetters": ("admin.purge_dead_letters", "dead purge"),
    "GetRetention": ("admin.get_retention", "retention get"),
    "SetRetention": ("admin.set_retention", "retention set"),
    "ListAuditEntries": ("audit.list", "audit list"),
    "GetAuditEntry": ("audit.get", "audit get"),
    "VerifyAuditLog": ("audit.verify", "audit verify"),
    "ListTools": ("tools.list", "tools list"),
    "GetTool": ("tools.get", "tools get"),
    "CreatePrompt": ("prompts.create", "prompt create"),
    "GetPrompt": ("prompts.get", "prompt get"),
    "ListPrompts": ("prompts.list", "prompt list"),
    "ListPromptVersions": ("prompts.versions", "prompt versions"),
    "SetPromptLabel": ("prompts.label", "prompt label"),
    "GetTrace": ("traces.get", "trace get"),
    "QueryTraces": ("traces.query", "trace query"),
    "GetTraceSeries": ("traces.series", "trace plot"),
    "ReplayTrace": ("traces.replay", "trace replay"),
    "DiffTraces": ("traces.diff", "trace diff"),
    "RebuildTraces": ("traces.rebuild", "trace rebuild"),
    "GetTraceProgress": ("traces.progress", "trace rebuild"),
    "ExplainTrace": ("traces.explain", "trace explain"),
    "DiffTraceGroups": ("traces.diff_groups", "trace diff"),
    "ExportTraceSpans": ("traces.spans", "trace export"),
    "CreateBudget": ("budgets.create", "budget create"),
    "ListBudgets": ("budgets.list", "budget list"),
    "GetBudget": ("budgets.get", "budget get"),
    "UpdateBudget": ("budgets.set", "budget set"),
    "DeleteBudget": ("budgets.delete", "budget delete"),
}


def test_every_call_of_the_api_is_listed() -> None:
    assert set(DOORS) == {name for _, name in METHODS}


@pytest.mark.parametrize("name", sorted(DOORS))
async def test_both_clients_and_the_command_line_have_it(name: str) -> None:
    method, command = DOORS[name]
    group, _, verb = method.partition(".")
    with Client("127.0.0.1:1", token="t") as client:
        assert callable(getattr(getattr(client, group), verb))
    async with AsyncClient("127.0.0.1:1", token="t") as awaited:
        assert callable(getattr(getattr(awaited, group), verb))
    found: Any = typer.main.get_command(app)
    for word in command.split():
        found = found.commands[word]


def test_engine_17_the_lists_are_found() -> None:
    assert {
        "ListRuns", "ListApprovals", "ListPrompts", "ListBudgets", "ListLanes", "ListVersions", "ListSchedules",
        "ListWorkflows", "ListPromptVersions", "ListCalendars", "ListDeadLetters", "ListTools", "QueryTraces",
    } <= set(LISTS)  # fmt: skip


@pytest.mark.parametrize("name", sorted(LISTS))
def test_engine_17_every_list_has_pages_on_the_wire(name: str) -> None:
    method = LISTS[name]
    assert not method.server_streaming
    asked, answered = method.input_type.fields_by_name, method.output_type.fields_by_name
    assert asked["page_size"].type == FieldDescriptor.TYPE_INT32
    assert asked["page_token"].type == FieldDescriptor.TYPE_STRING
    assert answered["next_page_token"].type == FieldDescriptor.TYPE_STRING


@pytest.mark.parametrize("name", sorted(LISTS))
def test_engine_17_every_list_has_pages_in_the_client_and_on_the_command_line(name: str) -> None:
    method, command = DOORS[name]
    group, _, verb = method.partition(".")
    with Client("127.0.0.1:1", token="t") as client:
        parameters = inspect.signature(getattr(getattr(client, group), verb)).parameters
    assert {"limit", "page_token"} <= set(parameters)
    found: Any = typer.main.get_command(app)
    for word in command.split():
        found = found.commands[word]
    if hasattr(found, "commands"):
        found = found.commands["list"]
    options = {option for parameter in found.params for option in parameter.opts}
    assert {"--limit", "--all", "--page-token"} <= options
