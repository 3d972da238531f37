"""ScheduleService: messages to plain data, to the handlers, and back."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from agentflow.v1 import schedule_pb2 as pb
from agentflow.v1 import schedule_pb2_grpc
from agentflow_common.errors import InvalidError, Problem
from agentflow_common.schedules import fire_times
from agentflow_common.schedules import spec as schedule_spec
from agentflow_common.schedules.fold import Fire, ScheduleState
from agentflow_gateway import limits
from agentflow_gateway.api import call_context, convert, pages
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.schedules import calendars, webhook_secrets, webhook_server
from agentflow_gateway.schedules import commands as schedules
from agentflow_gateway.schedules.commands import TIMES_MAX
from agentflow_gateway.schedules.trigger_results import WAIT_S_MAX, Watch
from agentflow_gateway.store.schedules import ScheduleRow

TIMES_DEFAULT: Final = 5
TIMES_SHOWN_MAX: Final = 100
_STATUS: Final[dict[str, Any]] = {
    name.removeprefix("SCHEDULE_STATUS_").lower(): n for name, n in pb.ScheduleStatus.items()
}


class _Place(msgspec.Struct, frozen=True, array_like=True):
    """The last row of a page, and the filters that it belongs to."""

    name: pages.Text
    kind: str
    filters: str


class ScheduleService(schedule_pb2_grpc.ScheduleServiceServicer):
    """http: where webhooks are served, `host:port`."""

    def __init__(self, deps: Deps, http: str) -> None:
        self._deps = deps
        self._http = http
        self._watch = Watch(deps)

    async def CreateSchedule(self, request: Any, _context: Any) -> Any:  # noqa: N802
        state, created = await schedules.create(self._deps, call_context.current(), _spec(request.source))
        return pb.CreateScheduleResponse(schedule=self._schedule(state, TIMES_DEFAULT), created=created)

    async def UpdateSchedule(self, request: Any, _context: Any) -> Any:  # noqa: N802
        state, changed = await schedules.update(self._deps, call_context.current(), _spec(request.source))
        return pb.UpdateScheduleResponse(schedule=self._schedule(state, TIMES_DEFAULT), changed=changed)

    async def GetSchedule(self, request: Any, _context: Any) -> Any:  # noqa: N802
        times = _count(request.times, TIMES_SHOWN_MAX)
        state = await schedules.find(self._deps, call_context.current(), request.name)
        return pb.GetScheduleResponse(schedule=self._schedule(state, times))

    async def ListSchedules(self, request: Any, _context: Any) -> Any:  # noqa: N802
        limit = pages.page_size(request.page_size)
        limits.check_text(request.workflow, "workflow", 64)
        status = next((name for name, number in _STATUS.items() if number == request.status and number), "")
        if request.status and not status:
            fix = f"use {', '.join(pb.ScheduleStatus.keys()[1:])}"
            raise InvalidError(f"status {request.status} is not known", problems=(Problem("status", "not known", fix),))
        filters = ("schedules", f"{status}:{request.workflow}")
        place = pages.read(request.page_token, _Place)
        if place is not None:
            pages.check_filters((place.kind, place.filters), filters)
        after = "" if place is None else place.name
        org = call_context.current().org
        rows = await self._deps.schedules.list(org, request.workflow, status, after, limit + 1)
        token = pages.token(_Place(rows[limit - 1].name, *filters)) if len(rows) > limit else ""
        now_ms = self._deps.clock.now_ms()
        shown = [_row(row, now_ms) for row in rows[:limit]]
        return pb.ListSchedulesResponse(schedules=shown, next_page_token=token)

    async def PauseSchedule(self, request: Any, _context: Any) -> Any:  # noqa: N802
        changed = await schedules.set_paused(self._deps, call_context.current(), request.name, True, request.reason)
        return pb.PauseScheduleResponse(changed=changed)

    async def ResumeSchedule(self, request: Any, _context: Any) -> Any:  # noqa: N802
        changed = await schedules.set_paused(self._deps, call_context.current(), request.name, False, request.reason)
        return pb.ResumeScheduleResponse(changed=changed)

    async def TriggerSchedule(self, request: Any, _context: Any) -> Any:  # noqa: N802
        payload = convert.from_value(request.payload, "payload") if request.HasField("payload") else None
        found = await schedules.trigger(
            self._deps, call_context.current(), request.name, "manual", payload, trigger_id=request.trigger_id,
            overlap=request.overlap,
        )  # fmt: skip
        fate = await self._watch.fate(found, call_context.current().timeout_s(2 * WAIT_S_MAX) / 2)
        run = "" if fate.status in {"skipped", "refused"} else found.run
        return pb.TriggerScheduleResponse(
            trigger_id=found.trigger_id, run_id=run, status=fate.status, reason=fate.reason,
            error=convert.error_info(fate.error),
        )  # fmt: skip

    async def BackfillSchedule(self, request: Any, _context: Any) -> Any:  # noqa: N802
        backfill_id, times, known = await schedules.backfill(
            self._deps, call_context.current(), request.name, request.start, request.end, request.overlap,
            request.backfill_id, request.dry_run,
        )  # fmt: skip
        shown = times[:TIMES_SHOWN_MAX]
        return pb.BackfillScheduleResponse(backfill_id=backfill_id, count=len(times), times=shown, known=known)

    async def DeleteSchedule(self, request: Any, _context: Any) -> Any:  # noqa: N802
        await schedules.delete(self._deps, call_context.current(), request.name, request.reason)
        return pb.DeleteScheduleResponse()

    async def PreviewSchedule(self, request: Any, _context: Any) -> Any:  # noqa: N802
        times = _count(request.times, TIMES_MAX)
        now_ms = self._deps.clock.now_ms()
        if request.WhichOneof("what") == "source":
            spec = _spec(request.source)
            dates = await schedules.calendar_dates(self._deps, call_context.current().org, spec)
            table, timed = spec.timetable(now_ms, dates), 0
        else:
            state = await schedules.find(self._deps, call_context.current(), request.name)
            spec, table, timed = schedule_spec.trusted(state.spec), schedules.table_of(state), state.timed
        after = request.after or now_ms
        if not 0 < after <= fire_times.LAST_MS:
            fix = "give ms since the epoch, up to the year 2200, or 0 for now"
            raise InvalidError(f"after {after} is out of range", problems=(Problem("after", "out of range", fix),))
        found = table.between(after + 1, 2**62, min(times, schedule_spec.left(spec.canonical(), timed)))
        return pb.PreviewScheduleResponse(times=found, time_zone=spec.time_zone)

    async def GetWebhook(self, request: Any, _context: Any) -> Any:  # noqa: N802
        return self._webhook(await schedules.find(self._deps, call_context.current(), request.name))

    async def RotateWebhook(self, request: Any, _context: Any) -> Any:  # noqa: N802
        state = await webhook_secrets.rotate(
            self._deps, call_context.current(), request.name, request.overlap_ms, request.end_overlap
        )
        return pb.RotateWebhookResponse(webhook=self._webhook(state))

    def _webhook(self, state: ScheduleState) -> Any:
        found = webhook_secrets.keys(self._deps, state)
        path = webhook_server.PATH.format(org=state.org, name=state.name)
        return pb.GetWebhookResponse(
            path=path, secret=found.secrets[0], address=self._http, key_version=found.version,
            old_secret_until=found.old_until,
        )  # fmt: skip

    async def SetCalendar(self, request: Any, _context: Any) -> Any:  # noqa: N802
        told = await calendars.put(self._deps, call_context.current(), request.name, list(request.dates))
        return pb.SetCalendarResponse(schedules=told)

    async def ListCalendars(self, request: Any, _context: Any) -> Any:  # noqa: N802
        limit = pages.page_size(request.page_size, default=pages.PAGE_SIZE_MAX)
        after = pages.after_name("calendars", request.page_token)
        found = await self._deps.schedules.calendar_page(call_context.current().org, after, limit + 1)
        shown, token = pages.cut("calendars", found, limit, lambda row: row.name)
        return pb.ListCalendarsResponse(
            calendars=[
                pb.Calendar(name=r.name, dates=r.dates, updated_at=r.updated_at, updated_by=r.updated_by) for r in shown
            ],
            next_page_token=token,
        )

    async def DeleteCalendar(self, request: Any, _context: Any) -> Any:  # noqa: N802
        await calendars.remove(self._deps, call_context.current(), request.name)
        return pb.DeleteCalendarResponse()

    def _schedule(self, state: ScheduleState, times: int) -> Any:
        """With everything; see _row for what lists show."""
        times = min(times, schedule_spec.left(state.spec, state.timed))
        message = _row(schedules.row_of(state), self._deps.clock.now_ms(), times)
        message.updated_at, message.paused_reason = state.updated_at, state.paused_reason
        message.buffered, message.backfills = len(state.buffer), len(state.backfills)
        message.fired = state.number
        message.skipped.update(state.skipped)
        message.recent.extend(_fire(fire) for fire in reversed(state.recent))
        for number, active in list(state.active.items())[:TIMES_SHOWN_MAX]:
            status = "running" if active.started else "starting"
            known = next((fire.cause for fire in state.recent if fire.number == number), "")
            message.active.append(
                pb.ScheduleFire(number=number, run_id=active.child, at=active.at, status=status, cause=known)
            )
        return message


def _spec(source: Any) -> schedule_spec.Spec:
    kind = source.WhichOneof("source")
    text = source.text if kind == "text" else None
    return schedules.read_spec(text, convert.from_struct(source.data, "schedule") if kind == "data" else None)


def _count(asked: int, limit: int) -> int:
    if not 0 <= asked <= limit:
        raise InvalidError(
            f"times {asked} is out of range",
            problems=(Problem("times", "out of range", f"use 1 to {limit}, or 0 for {TIMES_DEFAULT}"),),
        )
    return asked or TIMES_DEFAULT


def _row(row: ScheduleRow, now_ms: int, times: int = 1) -> Any:
    message = pb.Schedule(
        name=row.name,
        schedule_id=row.id,
        status=_STATUS.get(row.status, 0),
        workflow=row.workflow,
        created_at=row.created_at,
    )
    convert.set_struct(message.spec, row.spec)
    if row.status == "active":
        table = schedule_spec.trusted(row.spec).timetable(row.anchor, row.calendars)
        message.next_times.extend(table.between(now_ms + 1, 2**62, times))
    return message


def _fire(fire: Fire) -> Any:
    message = pb.ScheduleFire(
        number=fire.number, run_id=fire.child, at=fire.at, cause=fire.cause, status=fire.status,
        fired_at=fire.fired_at, ended_at=fire.ended_at,
    )  # fmt: skip
    if fire.error is not None:
        message.error.CopyFrom(convert.error_info(fire.error))
    return message
