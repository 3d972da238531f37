"""The calls about schedules and their webhooks. Times are ms since the Unix epoch."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final, get_args

from agentflow.v1 import schedule_pb2 as pb
from agentflow_sdk.calls.references import is_definition_text
from agentflow_sdk.choices import Overlap, ScheduleState
from agentflow_sdk.convert.answers import reader, record
from agentflow_sdk.convert.json_values import to_struct, to_value
from agentflow_sdk.convert.requests import enum_name
from agentflow_sdk.models.schedules import (
    Schedule,
    ScheduleBackfill,
    ScheduleChange,
    SchedulePage,
    SchedulePreview,
    ScheduleTriggered,
    Webhook,
)
from agentflow_sdk.transport.call import Call, service

SpecSource = str | Mapping[str, Any]
DAY_MS: Final = 86_400_000
_METHOD: Final = service("ScheduleService", pb)


def create(spec: SpecSource, *, timeout: float | None = None) -> Call[ScheduleChange]:
    """Creates a schedule. Creating it again with the same spec changes nothing.

    Args:
        spec: The spec as plain data, or as a text in YAML or JSON.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The schedule, and whether it is new.

    Raises:
        InvalidArgumentError: The spec is not valid; `problems` lists each place.
        AlreadyExistsError: The org has a schedule of this name with another spec.
        ResourceExhaustedError: The org has as many schedules as it may have.
        PermissionDeniedError: The API key lacks the permission `write`.
    """
    request = pb.CreateScheduleRequest(source=_source(spec))
    return Call(_METHOD("CreateSchedule"), request, lambda reply: _change(reply.schedule, reply.created), timeout)


def update(spec: SpecSource, *, timeout: float | None = None) -> Call[ScheduleChange]:
    """Replaces the spec of a schedule. Runs that are active or wait go on.

    Args:
        spec: The new spec, as `create` takes it. Its `name` says which schedule.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The schedule, and whether its spec was another one before.

    Raises:
        InvalidArgumentError: The spec is not valid; `problems` lists each place.
        NotFoundError: The org has no such schedule.
        PermissionDeniedError: The API key lacks the permission `write`.
    """
    request = pb.UpdateScheduleRequest(source=_source(spec))
    return Call(_METHOD("UpdateSchedule"), request, lambda reply: _change(reply.schedule, reply.changed), timeout)


def get(name: str, *, times: int = 5, timeout: float | None = None) -> Call[Schedule]:
    """Returns a schedule with its next times, its last runs and its active runs.

    Args:
        name: The name of the schedule.
        times: The number of next times, at most 100.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The schedule.

    Raises:
        NotFoundError: The org has no such schedule.
        PermissionDeniedError: The API key lacks the permission `read`.
    """
    request = pb.GetScheduleRequest(name=name, times=times)
    return Call(_METHOD("GetSchedule"), request, reader(Schedule, "schedule"), timeout)


def list_schedules(
    *,
    workflow: str = "",
    status: ScheduleState = "",
    limit: int = 50,
    page_token: str = "",
    timeout: float | None = None,
) -> Call[SchedulePage]:
    """Returns a page of schedules, by name.

    Args:
        workflow: Only schedules of this workflow.
        status: Only schedules in this state: `active`, `paused`, `finished` or `broken`; empty for all.
        limit: The most items of the page, from 1 to 1000.
        page_token: The `next_page_token` of the page before; empty for the first page.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The page.

    Raises:
        InvalidArgumentError: The status is not known.
        PermissionDeniedError: The API key lacks the permission `read`.
    """
    known = [state for state in get_args(ScheduleState) if state]
    request = pb.ListSchedulesRequest(
        workflow=workflow,
        status=enum_name("SCHEDULE_STATUS", status, known, "status") if status else None,
        page_size=limit,
        page_token=page_token,
    )
    return Call(_METHOD("ListSchedules"), request, reader(SchedulePage), timeout)


def pause(name: str, reason: str = "", *, timeout: float | None = None) -> Call[bool]:
    """Pauses a schedule: no time, webhook or message starts a run.

    Args:
        name: The name of the schedule.
        reason: Why; it is shown with the schedule.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        False if the schedule was paused before.

    Raises:
        NotFoundError: The org has no such schedule.
        PermissionDeniedError: The API key lacks the permission `write`.
    """
    request = pb.PauseScheduleRequest(name=name, reason=reason)
    return Call(_METHOD("PauseSchedule"), request, _changed, timeout)


def resume(name: str, reason: str = "", *, timeout: float | None = None) -> Call[bool]:
    """Lets a paused schedule start runs again. Times that passed during the pause start nothing.

    Args:
        name: The name of the schedule.
        reason: Why; the log keeps it.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        False if the schedule was not paused.

    Raises:
        NotFoundError: The org has no such schedule.
        PermissionDeniedError: The API key lacks the permission `write`.
    """
    request = pb.ResumeScheduleRequest(name=name, reason=reason)
    return Call(_METHOD("ResumeSchedule"), request, _changed, timeout)


def trigger(
    name: str, payload: Any = None, *, overlap: Overlap = "", trigger_id: str = "", timeout: float | None = None
) -> Call[ScheduleTriggered]:
    """Asks a schedule for a run now, whatever its times are.

    Args:
        name: The name of the schedule.
        payload: Any JSON value, which the schedule's inputs can refer to as `trigger.payload`.
        overlap: Replaces the schedule's own policy: `skip`, `buffer_one`, `buffer_all`, `cancel` or `allow`.
        trigger_id: The same id is the same trigger. An empty id is replaced by a random one, which makes the retries of
            this call safe.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The effect of the trigger, as far as it was decided within a second and a half.

    Raises:
        NotFoundError: The org has no such schedule.
        FailedPreconditionError: The schedule is paused.
        ResourceExhaustedError: Too many triggers wait.
        PermissionDeniedError: The API key lacks the permission `write`.
    """
    request = pb.TriggerScheduleRequest(name=name, overlap=overlap, trigger_id=trigger_id or f"sdk-{uuid.uuid4()}")
    if payload is not None:
        request.payload.CopyFrom(to_value(payload, "payload"))
    return Call(_METHOD("TriggerSchedule"), request, reader(ScheduleTriggered), timeout)


def backfill(
    name: str,
    start: int,
    end: int,
    *,
    overlap: Overlap = "",
    backfill_id: str = "",
    dry_run: bool = False,
    timeout: float | None = None,
) -> Call[ScheduleBackfill]:
    """Starts a run for every time of a range in the past.

    Args:
        name: The name of the schedule.
        start: The first time, ms since the epoch.
        end: The last time, ms since the epoch.
        overlap: `buffer_all` runs one after the other and is the default; `allow` runs all at once.
        backfill_id: The same id is the same backfill. An empty id is replaced by a random one, which makes the retries
            of this call safe.
        dry_run: True to get only the number of times and the first of them.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The number of times, and the first 100 of them.

    Raises:
        InvalidArgumentError: The range is not valid, or has too many times.
        NotFoundError: The org has no such schedule.
        ResourceExhaustedError: Too many backfills have not ended.
        PermissionDeniedError: The API key lacks the permission `write`.
    """
    request = pb.BackfillScheduleRequest(
        name=name,
        start=start,
        end=end,
        overlap=overlap,
        backfill_id=backfill_id or f"sdk-{uuid.uuid4()}",
        dry_run=dry_run,
    )
    return Call(_METHOD("BackfillSchedule"), request, reader(ScheduleBackfill), timeout)


def delete(name: str, reason: str = "", *, timeout: float | None = None) -> Call[None]:
    """Deletes a schedule. Its active runs go on to their end.

    Args:
        name: The name of the schedule.
        reason: Why; the log keeps it.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        None.

    Raises:
        NotFoundError: The org has no such schedule.
        PermissionDeniedError: The API key lacks the permission `write`.
    """
    request = pb.DeleteScheduleRequest(name=name, reason=reason)
    return Call(_METHOD("DeleteSchedule"), request, lambda _: None, timeout, repeatable=False)


def preview(
    schedule: SpecSource, *, after: int = 0, times: int = 5, timeout: float | None = None
) -> Call[SchedulePreview]:
    """Returns the next times of a schedule, or of a spec, which is checked and not stored.

    Args:
        schedule: The name of a schedule, or a spec as `create` takes it.
        after: The time from which on to look, ms since the epoch; 0 for now.
        times: The number of times, at most 1,000.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The next times.

    Raises:
        InvalidArgumentError: The spec is not valid; `problems` lists each place.
        NotFoundError: The org has no such schedule.
        PermissionDeniedError: The API key lacks the permission `read`.
    """
    request = pb.PreviewScheduleRequest(after=after, times=times)
    if isinstance(schedule, str) and not is_definition_text(schedule):
        request.name = schedule
    else:
        request.source.CopyFrom(_source(schedule))
    return Call(_METHOD("PreviewSchedule"), request, reader(SchedulePreview), timeout)


def webhook(name: str, *, timeout: float | None = None) -> Call[Webhook]:
    """Returns the address of a schedule's webhook, and the secret that signs its requests.

    Args:
        name: The name of the schedule.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The webhook.

    Raises:
        NotFoundError: The org has no such schedule.
        FailedPreconditionError: The schedule has no webhook.
        PermissionDeniedError: The API key lacks the permission `write`.
    """
    return Call(_METHOD("GetWebhook"), pb.GetWebhookRequest(name=name), reader(Webhook), timeout)


def rotate_webhook(
    name: str, *, overlap_ms: int = DAY_MS, end_overlap: bool = False, timeout: float | None = None
) -> Call[Webhook]:
    """Makes a new secret for a webhook.

    Args:
        name: The name of the schedule.
        overlap_ms: The time that the secret before it stays valid, ms, at most 30 days (default: a day). 0 makes it
            invalid at once.
        end_overlap: True to make no new secret, and to make the one before invalid now.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The webhook after the change.

    Raises:
        InvalidArgumentError: The overlap is too long.
        NotFoundError: The org has no such schedule.
        FailedPreconditionError: The schedule has no webhook, or an earlier overlap has not ended.
        PermissionDeniedError: The API key lacks the permission `write`.
    """
    request = pb.RotateWebhookRequest(name=name, overlap_ms=0 if end_overlap else overlap_ms, end_overlap=end_overlap)
    return Call(_METHOD("RotateWebhook"), request, reader(Webhook, "webhook"), timeout, repeatable=False)


def _source(spec: SpecSource) -> Any:
    if isinstance(spec, str):
        return pb.ScheduleSource(text=spec)
    return pb.ScheduleSource(data=to_struct(spec, "schedule"))


def _change(message: Any, changed: bool) -> ScheduleChange:
    return ScheduleChange(record(Schedule, message), changed)


def _changed(reply: Any) -> bool:
    return bool(reply.changed)
