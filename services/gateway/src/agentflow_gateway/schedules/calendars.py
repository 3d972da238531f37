"""Named calendars: days on which no schedule that names them fires. A schedule holds its calendars' dates in the log;
when a calendar changes, each schedule that names it is told, and told again at the next start if that was cut short."""

from __future__ import annotations

import logging

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.errors import InvalidError, NotFoundError, OverloadedError, Problem, TerminalError
from agentflow_common.log.event_log import Entry
from agentflow_common.schedules import fire_times
from agentflow_common.schedules import spec as schedule_spec
from agentflow_common.schedules.field_types import HOLIDAYS_MAX
from agentflow_common.schedules.load import load_schedule
from agentflow_gateway import limits
from agentflow_gateway.api.call_context import Call
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.store.schedules import CALENDARS_MAX, CalendarRow, ScheduleRow

log = logging.getLogger(__name__)


async def put(deps: Deps, call: Call, name: str, dates: list[str]) -> int:
    """How many schedules were told."""
    _check_name(name)
    problems = []
    for number, text in enumerate(dates):
        try:
            fire_times.parse_holiday(text)
        except ValueError as error:
            problems.append(Problem(f"dates[{number}]", str(error)))
    if not 0 < len(dates) <= HOLIDAYS_MAX:
        problems.append(Problem("dates", f"{len(dates):,} dates", f"give 1 to {HOLIDAYS_MAX:,}"))
    if problems:
        raise InvalidError(f"the calendar is not valid: {problems[0]}", problems=tuple(problems[:20]))
    known = await deps.schedules.calendars(call.org)
    if name not in known and len(known) >= CALENDARS_MAX:
        raise OverloadedError(f"your org has {CALENDARS_MAX:,} calendars, the bound", kind="too_many_calendars")
    row = CalendarRow(
        name=name, dates=tuple(sorted(set(dates))), updated_at=deps.clock.now_ms(), updated_by=call.identity.actor
    )
    await deps.schedules.put_calendar(call.org, row)
    told = 0
    for schedule in await deps.schedules.naming(call.org, name):
        told += 1
        await _tell(deps, schedule, call.identity.actor)
    return told


async def remove(deps: Deps, call: Call, name: str) -> None:
    _check_name(name)
    users = [row.name for row in await deps.schedules.naming(call.org, name)]
    if users:
        raise TerminalError(
            f"the calendar {name!r} is named by {len(users)} schedules ({', '.join(users[:5])}): change them first",
            kind="calendar_in_use",
        )
    if not await deps.schedules.delete_calendar(call.org, name):
        known = ", ".join(await deps.schedules.calendars(call.org)) or "none"
        raise NotFoundError(f"there is no calendar {name!r}; there are {known}", kind="unknown_calendar")


def _check_name(name: str) -> None:
    limits.check_text(name, "name", 64)
    if not name.replace("-", "").replace("_", "").isalnum():
        raise InvalidError(
            f"{name[:64]!r} is not valid as a calendar's name",
            problems=(Problem("name", "not a valid name", "use 1 to 64 letters, digits, '_' or '-'"),),
        )


async def reconcile(deps: Deps) -> None:
    """Tells schedules of calendars that changed while nobody could tell them."""
    for row in await deps.schedules.with_calendars():
        await _tell(deps, row, "calendar")


async def _tell(deps: Deps, row: ScheduleRow, by: str) -> None:
    spec = schedule_spec.trusted(row.spec)
    known = await deps.schedules.calendars(row.org)
    dates = {name: known[name].dates for name in spec.calendars if name in known}
    key = subjects.key_of(row.org, row.id)
    state = await load_schedule(deps.log, key)
    if state is None or state.deleted or state.calendars == dates:
        return
    event = ev.ScheduleUpdated(org=row.org, run=row.id, ts=deps.clock.now_ms(), spec=state.spec, calendars=dates, by=by)
    await deps.log.append(Entry(subjects.run_in(key), ev.encode(event)))
    log.info("a schedule was told of its calendars", extra={"org": row.org, "schedule": row.name})
