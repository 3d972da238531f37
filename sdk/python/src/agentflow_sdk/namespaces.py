"""The namespaces of both clients, and their methods."""

from __future__ import annotations

from agentflow_sdk.calls import admin, audit, budgets, controls, lanes, prompts, schedules, tools, traces, workflows
from agentflow_sdk.calls import approvals as approval_calls
from agentflow_sdk.calls import calendars as calendar_calls
from agentflow_sdk.calls import versions as version_calls
from agentflow_sdk.methods import Method, Namespace, StreamMethod, TransportT


class Workflows(Namespace[TransportT]):
    """Definitions and runs."""

    register = Method(workflows.register)
    validate = Method(workflows.validate)
    submit = Method(workflows.submit)
    run = Method(workflows.run)
    get = Method(workflows.get_run)
    list = Method(workflows.list_runs)
    watch = StreamMethod(workflows.watch)
    wait = Method(workflows.wait)
    cancel = Method(workflows.cancel)
    pause = Method(controls.pause)
    resume = Method(controls.resume)
    signal = Method(controls.signal)
    approve = Method(approval_calls.approve)
    reject = Method(approval_calls.reject)
    approvals = Method(approval_calls.list_approvals)
    resolve = Method(approval_calls.resolve)
    fork = Method(controls.fork)
    retry = Method(controls.retry)
    why = Method(controls.why)
    batch = StreamMethod(controls.batch)
    pause_workflow = Method(controls.pause_workflow)
    resume_workflow = Method(controls.resume_workflow)
    versions = Method(version_calls.list_versions)
    label = Method(version_calls.set_label)
    remove_label = Method(version_calls.remove_label)
    diff = Method(version_calls.diff)
    delete = Method(version_calls.delete_workflow)


class Lanes(Namespace[TransportT]):
    """Worker pools and keyed lanes."""

    list = Method(lanes.list_lanes)
    get = Method(lanes.get_lane)
    set = Method(lanes.set_lane)


class Prompts(Namespace[TransportT]):
    """Prompts and their versions."""

    create = Method(prompts.create_prompt)
    get = Method(prompts.get_prompt)
    list = Method(prompts.list_prompts)


class Budgets(Namespace[TransportT]):
    """Limits on what model calls may cost."""

    create = Method(budgets.create_budget)
    get = Method(budgets.get_budget)
    list = Method(budgets.list_budgets)
    set = Method(budgets.update_budget)
    delete = Method(budgets.delete_budget)


class Traces(Namespace[TransportT]):
    """The history of runs, step by step."""

    get = Method(traces.get_trace)
    query = Method(traces.query_traces)


class Schedules(Namespace[TransportT]):
    """Runs by time, by webhook and by message, and the calendars."""

    create = Method(schedules.create)
    update = Method(schedules.update)
    get = Method(schedules.get)
    list = Method(schedules.list_schedules)
    pause = Method(schedules.pause)
    resume = Method(schedules.resume)
    trigger = Method(schedules.trigger)
    backfill = Method(schedules.backfill)
    delete = Method(schedules.delete)
    preview = Method(schedules.preview)
    webhook = Method(schedules.webhook)
    rotate_webhook = Method(schedules.rotate_webhook)
    set_calendar = Method(calendar_calls.set_calendar)
    calendars = Method(calendar_calls.calendars)
    delete_calendar = Method(calendar_calls.delete_calendar)


class Admin(Namespace[TransportT]):
    """Dead letters and retention."""

    list_dead_letters = Method(admin.list_dead_letters)
    get_dead_letter = Method(admin.get_dead_letter)
    replay_dead_letters = Method(admin.replay_dead_letters)
    purge_dead_letters = Method(admin.purge_dead_letters)
    get_retention = Method(admin.get_retention)
    set_retention = Method(admin.set_retention)


class Audit(Namespace[TransportT]):
    """The audit log."""

    list = Method(audit.list_entries)
    get = Method(audit.get_entry)
    verify = Method(audit.verify)


class Tools(Namespace[TransportT]):
    """The tools and functions that a step can name."""

    list = Method(tools.list_tools)
    get = Method(tools.get_tool)
