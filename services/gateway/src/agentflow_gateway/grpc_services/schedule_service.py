"""ScheduleService: schedules, their webhooks and backfills, and named calendars."""

from __future__ import annotations

from typing import Any, Final

from agentflow.v1 import schedule_pb2 as pb
from agentflow_common.errors import InvalidError
from agentflow_common.events import StepError
from agentflow_common.schedules import fire_times, sources
from agentflow_common.schedules import spec as schedule_spec
from agentflow_common.schedules.state import ScheduleState
from agentflow_gateway import limits
from agentflow_gateway.api import convert, pages
from agentflow_gateway.api.call import Call
from agentflow_gateway.api.convert import message_of
from agentflow_gateway.schedules import calendars, triggers, webhook_secrets, webhook_server
from agentflow_gateway.schedules import commands as schedules
from agentflow_gateway.schedules.trigger_results import WAIT_S_MAX, Watch
from agentflow_gateway.store.schedules import ScheduleRow

TIMES_DEFAULT: Final = 5
TIMES_SHOWN_MAX: Final = 100
STATUS: Final = convert.EnumNames(pb.ScheduleStatus, "status")


class ScheduleService:
    """http: where webhooks are served, `host:port`."""

    def __init__(self, http: str) -> None:
        self._http = http
        self._watch = Watch()

    async def CreateSchedule(self, request: Any, call: Call) -> Any:
        state, created = await schedules.create(call, _spec(request.source))
        return pb.CreateScheduleResponse(schedule=_schedule(state, call.now_ms(), TIMES_DEFAULT), created=created)

    async def UpdateSchedule(self, request: Any, call: Call) -> Any:
        state, changed = await schedules.update(call, _spec(request.source))
        return pb.UpdateScheduleResponse(schedule=_schedule(state, call.now_ms(), TIMES_DEFAULT), changed=changed)

    async def GetSchedule(self, request: Any, call: Call) -> Any:
        times = _count(request.times, TIMES_SHOWN_MAX)
        state = await schedules.find(call, request.name)
        message = _schedule(state, call.now_ms(), times)
        await _add_watch(call, state, message)
        return pb.GetScheduleResponse(schedule=message)

    async def ListSchedules(self, request: Any, call: Call) -> Any:
        status = STATUS.name(request.status)
        workflow = limits.check_text(request.workflow, "workflow", 64)
        page = pages.Page(request, "schedules", status, workflow)
        rows = await call.store.schedules.find_page(
            call.org, workflow=workflow, status=status, after=page.after_name, limit=page.limit + 1
        )
        shown, token = page.cut(rows, lambda row: (0, row.name))
        now_ms = call.now_ms()
        return pb.ListSchedulesResponse(schedules=[_row(row, now_ms) for row in shown], next_page_token=token)

    async def PauseSchedule(self, request: Any, call: Call) -> Any:
        changed = await schedules.set_paused(call, request.name, True, request.reason)
        return pb.PauseScheduleResponse(changed=changed)

    async def ResumeSchedule(self, request: Any, call: Call) -> Any:
        changed = await schedules.set_paused(call, request.name, False, request.reason)
        return pb.ResumeScheduleResponse(changed=changed)

    async def TriggerSchedule(self, request: Any, call: Call) -> Any:
        payload = convert.optional(request, "payload")
        trigger = triggers.Trigger("manual", payload, id=request.trigger_id, overlap=request.overlap)
        triggered = await triggers.trigger(call, request.name, trigger)
        result = await self._watch.result(call, triggered, call.timeout_s(2 * WAIT_S_MAX) / 2)
        return message_of(
            pb.TriggerScheduleResponse,
            result,
            trigger_id=triggered.trigger_id,
            run_id="" if result.status in {"skipped", "refused"} else triggered.run,
            error=convert.error_info(result.error),
        )

    async def BackfillSchedule(self, request: Any, call: Call) -> Any:
        backfill = triggers.Backfill(request.start, request.end, request.overlap, request.backfill_id)
        backfill_id, times, repeated = await triggers.backfill(call, request.name, backfill, dry_run=request.dry_run)
        shown = times[:TIMES_SHOWN_MAX]
        return pb.BackfillScheduleResponse(backfill_id=backfill_id, count=len(times), times=shown, known=repeated)

    async def DeleteSchedule(self, request: Any, call: Call) -> Any:
        await schedules.delete(call, request.name, request.reason)
        return pb.DeleteScheduleResponse()

    async def PreviewSchedule(self, request: Any, call: Call) -> Any:
        times = _count(request.times, triggers.TIMES_MAX)
        now_ms = call.now_ms()
        if request.WhichOneof("what") == "source":
            spec = _spec(request.source)
            dates = await schedules.calendar_dates(call, spec)
            table, timed = spec.timetable(now_ms, dates), 0
        else:
            state = await schedules.find(call, request.name)
            spec, table, timed = schedule_spec.trusted(state.spec), schedules.table_of(state), state.timed
        after = request.after or now_ms
        if not 0 < after <= fire_times.LAST_MS:
            fix = "give ms since the epoch, up to the year 2200, or 0 for now"
            raise InvalidError.at("after", f"after {after} is out of range", fix)
        shown = table.between(after + 1, 2**62, min(times, schedule_spec.left(spec.canonical(), timed)))
        return pb.PreviewScheduleResponse(times=shown, time_zone=spec.time_zone)

    async def GetWebhook(self, request: Any, call: Call) -> Any:
        return self._webhook(call, await schedules.find(call, request.name))

    async def RotateWebhook(self, request: Any, call: Call) -> Any:
        state = await webhook_secrets.rotate(call, request.name, request.overlap_ms, request.end_overlap)
        return pb.RotateWebhookResponse(webhook=self._webhook(call, state))

    def _webhook(self, call: Call, state: ScheduleState) -> Any:
        keys = webhook_secrets.keys(call.deps, state)
        return pb.GetWebhookResponse(
            path=webhook_server.PATH.format(org=state.org, name=state.name),
            secret=keys.secrets[0],
            address=self._http,
            key_version=keys.version,
            old_secret_until=keys.old_until,
        )

    async def SetCalendar(self, request: Any, call: Call) -> Any:
        return pb.SetCalendarResponse(schedules=await calendars.put(call, request.name, list(request.dates)))

    async def ListCalendars(self, request: Any, call: Call) -> Any:
        page = pages.Page(request, "calendars", default=pages.PAGE_SIZE_MAX)
        rows = await call.store.calendars.find(call.org, page.after_name, page.limit + 1)
        shown, token = page.cut(rows, lambda row: (0, row.name))
        return pb.ListCalendarsResponse(
            calendars=[message_of(pb.Calendar, row) for row in shown], next_page_token=token
        )

    async def DeleteCalendar(self, request: Any, call: Call) -> Any:
        await calendars.remove(call, request.name)
        return pb.DeleteCalendarResponse()


def _schedule(state: ScheduleState, now_ms: int, times: int) -> Any:
    """Returns a schedule with every detail; see _row for what lists show."""
    message = _row(schedules.row_of(state), now_ms, min(times, schedule_spec.left(state.spec, state.timed)))
    message.updated_at, message.paused_reason = state.updated_at, state.paused_reason
    message.buffered, message.backfills = len(state.buffer), len(state.backfills)
    message.fired = state.number
    message.skipped.update(state.skipped)
    for fire in reversed(state.recent):
        error = convert.error_info(fire.error)
        message.recent.append(message_of(pb.ScheduleFire, fire, run_id=fire.child, error=error))
    for number, active in list(state.active.items())[:TIMES_SHOWN_MAX]:
        status = "running" if active.started else "starting"
        cause = next((fire.cause for fire in state.recent if fire.number == number), "")
        message.active.append(
            pb.ScheduleFire(number=number, run_id=active.child, at=active.at, status=status, cause=cause)
        )
    return message


async def _add_watch(call: Call, state: ScheduleState, message: Any) -> None:
    """Adds how far the schedule has read what it watches."""
    kind = sources.kind_of(state.spec)
    if not kind:
        return
    row = await call.store.sources.of(sources.source_id(state.uid, state.spec))
    watch = message.watch
    watch.kind = kind
    watch.waiting = sum(waiting.cause in sources.SOURCE_CAUSES for waiting in state.inbox)
    if row is not None:
        watch.looked_at, watch.taken, watch.refused = row.looked_at, row.taken, row.refused
        if row.error_kind:
            watch.error.CopyFrom(convert.error_info(StepError(row.error_kind, row.error, retryable=True)))


def _spec(source: Any) -> schedule_spec.Spec:
    kind = source.WhichOneof("source")
    if kind == "text":
        return schedule_spec.parse_text(source.text)
    if kind == "data":
        return schedule_spec.parse(convert.from_struct(source.data, "schedule"))
    raise InvalidError.at("source", "no schedule was given", "set `text` (YAML or JSON) or `data`")


def _count(asked: int, limit: int) -> int:
    if not 0 <= asked <= limit:
        raise InvalidError.at("times", f"times {asked} is out of range", f"use 1 to {limit}, or 0 for {TIMES_DEFAULT}")
    return asked or TIMES_DEFAULT


def _row(row: ScheduleRow, now_ms: int, times: int = 1) -> Any:
    message = pb.Schedule(
        name=row.name,
        schedule_id=row.id,
        status=STATUS.number(row.status),
        workflow=row.workflow,
        created_at=row.created_at,
    )
    convert.set_struct(message.spec, row.spec)
    if row.status == "active":
        table = schedule_spec.trusted(row.spec).timetable(row.anchor, row.calendars)
        message.next_times.extend(table.between(now_ms + 1, 2**62, times))
    return message
