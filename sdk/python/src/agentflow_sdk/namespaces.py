"""The namespaces of both clients, and their methods."""

from __future__ import annotations

from agentflow_sdk.calls import admin, audit, budgets, controls, lanes, prompts, schedules, tools, workflows
from agentflow_sdk.calls import approvals as approval_calls
from agentflow_sdk.calls import calendars as calendar_calls
from agentflow_sdk.calls import versions as version_calls
from agentflow_sdk.calls.traces import diff as trace_diff
from agentflow_sdk.calls.traces import explain as trace_explain
from agentflow_sdk.calls.traces import groups as trace_groups
from agentflow_sdk.calls.traces import querying as trace_querying
from agentflow_sdk.calls.traces import reading as trace_reading
from agentflow_sdk.calls.traces import rebuild as trace_rebuild
from agentflow_sdk.calls.traces import replay as trace_replay
from agentflow_sdk.calls.traces import series as trace_series
from agentflow_sdk.calls.traces import spans as trace_spans
from agentflow_sdk.methods import Namespace, TransportT, method, stream_method


class Workflows(Namespace[TransportT]):
    """Definitions and runs."""

    register = method(workflows.register)
    validate = method(workflows.validate)
    submit = method(workflows.submit)
    run = method(workflows.run)
    get = method(workflows.get_run)
    list = method(workflows.list_runs)
    watch = stream_method(workflows.watch)
    wait = method(workflows.wait)
    chain = method(workflows.chain)
    cancel = method(workflows.cancel)
    pause = method(controls.pause)
    resume = method(controls.resume)
    set_breakpoints = method(controls.set_breakpoints)
    continue_run = method(controls.continue_run)
    signal = method(controls.signal)
    approve = method(approval_calls.approve)
    reject = method(approval_calls.reject)
    approvals = method(approval_calls.list_approvals)
    resolve = method(approval_calls.resolve)
    fork = method(controls.fork)
    retry = method(controls.retry)
    why = method(controls.why)
    batch = stream_method(controls.batch)
    pause_workflow = method(controls.pause_workflow)
    resume_workflow = method(controls.resume_workflow)
    registered = method(version_calls.list_workflows)
    definition = method(version_calls.get_definition)
    versions = method(version_calls.list_versions)
    label = method(version_calls.set_label)
    remove_label = method(version_calls.remove_label)
    diff = method(version_calls.diff)
    delete = method(version_calls.delete_workflow)


class Lanes(Namespace[TransportT]):
    """Worker pools and keyed lanes."""

    list = method(lanes.list_lanes)
    get = method(lanes.get_lane)
    set = method(lanes.set_lane)


class Prompts(Namespace[TransportT]):
    """Prompts and their versions."""

    create = method(prompts.create_prompt)
    get = method(prompts.get_prompt)
    list = method(prompts.list_prompts)
    versions = method(prompts.list_versions)
    label = method(prompts.set_label)
    remove_label = method(prompts.remove_label)


class Budgets(Namespace[TransportT]):
    """Limits on what model calls may cost."""

    create = method(budgets.create_budget)
    get = method(budgets.get_budget)
    list = method(budgets.list_budgets)
    set = method(budgets.update_budget)
    delete = method(budgets.delete_budget)


class Traces(Namespace[TransportT]):
    """The history of runs, step by step."""

    get = method(trace_reading.get_trace)
    explain = method(trace_explain.explain_trace)
    query = method(trace_querying.query_traces)
    series = method(trace_series.get_series)
    diff = method(trace_diff.diff_traces)
    rebuild = method(trace_rebuild.rebuild)
    progress = method(trace_rebuild.progress)
    diff_groups = method(trace_groups.diff_trace_groups)
    spans = method(trace_spans.export_spans)
    replay = method(trace_replay.replay_trace)


class Schedules(Namespace[TransportT]):
    """Runs by time, by webhook and by message, and the calendars."""

    create = method(schedules.create)
    update = method(schedules.update)
    get = method(schedules.get)
    list = method(schedules.list_schedules)
    pause = method(schedules.pause)
    resume = method(schedules.resume)
    trigger = method(schedules.trigger)
    backfill = method(schedules.backfill)
    delete = method(schedules.delete)
    preview = method(schedules.preview)
    webhook = method(schedules.webhook)
    rotate_webhook = method(schedules.rotate_webhook)
    set_calendar = method(calendar_calls.set_calendar)
    calendars = method(calendar_calls.calendars)
    delete_calendar = method(calendar_calls.delete_calendar)


class Admin(Namespace[TransportT]):
    """Dead letters and retention."""

    list_dead_letters = method(admin.list_dead_letters)
    get_dead_letter = method(admin.get_dead_letter)
    replay_dead_letters = method(admin.replay_dead_letters)
    purge_dead_letters = method(admin.purge_dead_letters)
    get_retention = method(admin.get_retention)
    set_retention = method(admin.set_retention)


class Audit(Namespace[TransportT]):
    """The audit log."""

    list = method(audit.list_entries)
    get = method(audit.get_entry)
    verify = method(audit.verify)


class Tools(Namespace[TransportT]):
    """The tools and functions that a step can name."""

    list = method(tools.list_tools)
    get = method(tools.get_tool)
