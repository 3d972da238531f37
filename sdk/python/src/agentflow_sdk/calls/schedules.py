"""The calls of schedules, as data (see `calls`). Times are ms since the Unix epoch."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Final

from agentflow.v1 import schedule_pb2
from agentflow_sdk.calls.workflows import Call, Method, is_definition_text
from agentflow_sdk.choices import Overlap, ScheduleState
from agentflow_sdk.convert import workflows as convert
from agentflow_sdk.errors import InvalidArgumentError, Problem
from agentflow_sdk.models import schedules as models
from agentflow_sdk.models.workflows import ErrorInfo, Page

SpecSource = str | Mapping[str, Any]
_PREFIX: Final = "SCHEDULE_STATUS_"


def _method(name: str, reply: Any) -> Method:
    return Method(f"/agentflow.v1.ScheduleService/{name}", reply)


_CREATE = _method("CreateSchedule", schedule_pb2.CreateScheduleResponse)
_UPDATE = _method("UpdateSchedule", schedule_pb2.UpdateScheduleResponse)
_GET = _method("GetSchedule", schedule_pb2.GetScheduleResponse)
_LIST = _method("ListSchedules", schedule_pb2.ListSchedulesResponse)
_PAUSE = _method("PauseSchedule", schedule_pb2.PauseScheduleResponse)
_RESUME = _method("ResumeSchedule", schedule_pb2.ResumeScheduleResponse)
_TRIGGER = _method("TriggerSchedule", schedule_pb2.TriggerScheduleResponse)
_BACKFILL = _method("BackfillSchedule", schedule_pb2.BackfillScheduleResponse)
_DELETE = _method("DeleteSchedule", schedule_pb2.DeleteScheduleResponse)
_PREVIEW = _method("PreviewSchedule", schedule_pb2.PreviewScheduleResponse)
_WEBHOOK = _method("GetWebhook", schedule_pb2.GetWebhookResponse)
_ROTATE = _method("RotateWebhook", schedule_pb2.RotateWebhookResponse)
_SET_CALENDAR = _method("SetCalendar", schedule_pb2.SetCalendarResponse)
_LIST_CALENDARS = _method("ListCalendars", schedule_pb2.ListCalendarsResponse)
_DELETE_CALENDAR = _method("DeleteCalendar", schedule_pb2.DeleteCalendarResponse)


def _source(spec: SpecSource) -> Any:
    if isinstance(spec, str):
        return schedule_pb2.ScheduleSource(text=spec)
    return schedule_pb2.ScheduleSource(data=convert.to_struct(spec, "schedule"))


def create(spec: SpecSource, *, timeout: float | None = None) -> Call[models.ScheduleChange]:
    """Makes a schedule from YAML or JSON text, or from plain data. The same spec again changes nothing.

    Raises InvalidArgumentError (with places), AlreadyExistsError if that name holds another spec.
    """
    request = schedule_pb2.CreateScheduleRequest(source=_source(spec))
    return Call(_CREATE, request, lambda r: models.ScheduleChange(_schedule(r.schedule), r.created), timeout)


def update(spec: SpecSource, *, timeout: float | None = None) -> Call[models.ScheduleChange]:
    """Puts another spec in the place of the schedule's; its name says which one."""
    request = schedule_pb2.UpdateScheduleRequest(source=_source(spec))
    return Call(_UPDATE, request, lambda r: models.ScheduleChange(_schedule(r.schedule), r.changed), timeout)


def get(name: str, *, times: int = 5, timeout: float | None = None) -> Call[models.Schedule]:
    """The schedule with its next times, its last runs and those that go on."""
    request = schedule_pb2.GetScheduleRequest(name=name, times=times)
    return Call(_GET, request, lambda r: _schedule(r.schedule), timeout)


def list_schedules(
    *,
    workflow: str = "",
    status: ScheduleState = "",
    limit: int = 50,
    page_token: str = "",
    timeout: float | None = None,
) -> Call[models.SchedulePage]:
    """A page of schedules, by name. status: active, paused, finished or broken."""
    number = 0
    if status:
        names = {name.removeprefix(_PREFIX).lower(): n for name, n in schedule_pb2.ScheduleStatus.items() if n}
        if status not in names:
            fix = f"use {', '.join(name for name in names if name != 'deleted')}"
            raise InvalidArgumentError(f"unknown status {status!r}", problems=(Problem("status", "not known", fix),))
        number = names[status]
    request = schedule_pb2.ListSchedulesRequest(
        workflow=workflow, status=number, page_size=limit, page_token=page_token  # type: ignore[arg-type]
    )  # fmt: skip
    return Call(
        _LIST, request,
        lambda r: models.SchedulePage(tuple(map(_schedule, r.schedules)), r.next_page_token), timeout,
    )  # fmt: skip


def pause(name: str, reason: str = "", *, timeout: float | None = None) -> Call[bool]:
    """No further run starts by time, webhook or message. False if it was paused already."""
    request = schedule_pb2.PauseScheduleRequest(name=name, reason=reason)
    return Call(_PAUSE, request, lambda r: bool(r.changed), timeout)


def resume(name: str, reason: str = "", *, timeout: float | None = None) -> Call[bool]:
    """Times that passed during the pause are not made up for. False if it was not paused."""
    request = schedule_pb2.ResumeScheduleRequest(name=name, reason=reason)
    return Call(_RESUME, request, lambda r: bool(r.changed), timeout)


def trigger(
    name: str, payload: Any = None, *, overlap: Overlap = "", trigger_id: str = "", timeout: float | None = None
) -> Call[models.ScheduleTriggered]:
    """Asks for a run now. overlap: in the place of the schedule's policy.

    trigger_id: the same id is the same trigger; without one, a random id makes the retries of this call safe.
    """
    request = schedule_pb2.TriggerScheduleRequest(
        name=name, overlap=overlap, trigger_id=trigger_id or f"sdk-{uuid.uuid4()}"
    )
    if payload is not None:
        request.payload.CopyFrom(convert.to_struct({"payload": payload}, "").fields["payload"])
    return Call(_TRIGGER, request, _triggered, timeout)


def backfill(
    name: str,
    start: int,
    end: int,
    *,
    overlap: Overlap = "",
    backfill_id: str = "",
    dry_run: bool = False,
    timeout: float | None = None,
) -> Call[models.ScheduleBackfill]:
    """Fires for every time from `start` to `end`, one by one, or with overlap="allow" all at once."""
    request = schedule_pb2.BackfillScheduleRequest(
        name=name, start=start, end=end, overlap=overlap, backfill_id=backfill_id or f"sdk-{uuid.uuid4()}",
        dry_run=dry_run,
    )  # fmt: skip
    return Call(
        _BACKFILL, request, lambda r: models.ScheduleBackfill(r.backfill_id, r.count, tuple(r.times), r.known), timeout
    )


def delete(name: str, reason: str = "", *, timeout: float | None = None) -> Call[None]:
    """Its runs go on to their end."""
    request = schedule_pb2.DeleteScheduleRequest(name=name, reason=reason)
    return Call(_DELETE, request, lambda _: None, timeout, repeatable=False)


def preview(
    schedule: SpecSource, *, after: int = 0, times: int = 5, timeout: float | None = None
) -> Call[models.SchedulePreview]:
    """The next times of a schedule by its name, or of a spec (text or data), which is checked and not stored."""
    request = schedule_pb2.PreviewScheduleRequest(after=after, times=times)
    if isinstance(schedule, str) and not is_definition_text(schedule):
        request.name = schedule
    else:
        request.source.CopyFrom(_source(schedule))
    return Call(_PREVIEW, request, lambda r: models.SchedulePreview(tuple(r.times), r.time_zone), timeout)


def webhook(name: str, *, timeout: float | None = None) -> Call[models.Webhook]:
    """Where to POST to, and the secret to sign with."""
    request = schedule_pb2.GetWebhookRequest(name=name)
    return Call(_WEBHOOK, request, _webhook, timeout)


def rotate_webhook(
    name: str, *, overlap_ms: int = 86_400_000, end_overlap: bool = False, timeout: float | None = None
) -> Call[models.Webhook]:
    """Makes a new secret; the one before it stays good for `overlap_ms` (a day; 0: it is void at once).

    end_overlap: makes none, and the one before is void. Raises FailedPreconditionError while an overlap goes on.
    """
    request = schedule_pb2.RotateWebhookRequest(
        name=name, overlap_ms=0 if end_overlap else overlap_ms, end_overlap=end_overlap
    )
    return Call(_ROTATE, request, lambda r: _webhook(r.webhook), timeout, repeatable=False)


def set_calendar(name: str, dates: Iterable[str], *, timeout: float | None = None) -> Call[int]:
    """Days on which schedules that name the calendar do not fire; gives how many were told."""
    request = schedule_pb2.SetCalendarRequest(name=name, dates=list(dates))
    return Call(_SET_CALENDAR, request, lambda r: int(r.schedules), timeout)


def calendars(*, limit: int = 1000, page_token: str = "", timeout: float | None = None) -> Call[Page[models.Calendar]]:
    """A page of the org's calendars, by name. limit: 1 to 1000."""
    request = schedule_pb2.ListCalendarsRequest(page_size=limit, page_token=page_token)
    return Call(_LIST_CALENDARS, request, _calendars, timeout)


def _calendars(reply: Any) -> Page[models.Calendar]:
    found = (models.Calendar(c.name, tuple(c.dates), c.updated_at, c.updated_by) for c in reply.calendars)
    return Page(found, reply.next_page_token)


def delete_calendar(name: str, *, timeout: float | None = None) -> Call[None]:
    """Refused while a schedule names it."""
    request = schedule_pb2.DeleteCalendarRequest(name=name)
    return Call(_DELETE_CALENDAR, request, lambda _: None, timeout, repeatable=False)


def _schedule(message: Any) -> models.Schedule:
    status = schedule_pb2.ScheduleStatus.Name(message.status).removeprefix(_PREFIX).lower()
    return models.Schedule(
        name=message.name,
        schedule_id=message.schedule_id,
        status=models.ScheduleStatus(status),
        workflow=message.workflow,
        spec=convert.from_struct(message.spec),
        created_at=message.created_at,
        updated_at=message.updated_at,
        paused_reason=message.paused_reason,
        next_times=tuple(message.next_times),
        recent=tuple(map(_fire, message.recent)),
        active=tuple(map(_fire, message.active)),
        buffered=message.buffered,
        backfills=message.backfills,
        fired=message.fired,
        skipped=dict(message.skipped),
    )


def _triggered(message: Any) -> models.ScheduleTriggered:
    return models.ScheduleTriggered(message.trigger_id, message.run_id, message.status, message.reason, _error(message))


def _webhook(message: Any) -> models.Webhook:
    return models.Webhook(message.path, message.secret, message.address, message.key_version, message.old_secret_until)


def _error(message: Any) -> ErrorInfo | None:
    if not message.HasField("error"):
        return None
    return ErrorInfo(message.error.type, message.error.message, message.error.retryable)


def _fire(message: Any) -> models.ScheduleFire:
    return models.ScheduleFire(
        message.number, message.run_id, message.at, message.cause, message.status, message.fired_at,
        message.ended_at, _error(message),
    )  # fmt: skip
