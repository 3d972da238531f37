"""Named calendars: days on which no schedule that names them fires.

The log of a schedule contains its calendars' dates. If a calendar changes, each schedule that names it is notified, and
again at the next start if that was cut short.
"""

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
from agentflow_gateway.api.call import Call
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.schedules.commands import calendars_text
from agentflow_gateway.store.calendars import CALENDARS_MAX, CalendarRow
from agentflow_gateway.store.schedules import ScheduleRow

log = logging.getLogger(__name__)


async def put(call: Call, name: str, dates: list[str]) -> int:
    """Creates or replaces a calendar. Returns how many schedules were notified."""
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
        raise InvalidError.of(problems[:20], "the calendar is not valid")
    known = await call.store.calendars.by_name(call.org)
    if name not in known and len(known) >= CALENDARS_MAX:
        raise OverloadedError(f"your org has {CALENDARS_MAX:,} calendars, the limit", kind="too_many_calendars")
    row = CalendarRow(
        name=name, dates=tuple(sorted(set(dates))), updated_at=call.now_ms(), updated_by=call.identity.actor
    )
    await call.store.calendars.put(call.org, row)
    schedules = await call.store.schedules.naming(call.org, name)
    for schedule in schedules:
        await _notify(call.deps, schedule, call.identity.actor)
    return len(schedules)


async def remove(call: Call, name: str) -> None:
    _check_name(name)
    users = [row.name for row in await call.store.schedules.naming(call.org, name)]
    if users:
        raise TerminalError(
            f"the calendar {name!r} is named by {len(users)} schedules ({', '.join(users[:5])}): change them first",
            kind="calendar_in_use",
        )
    if not await call.store.calendars.delete(call.org, name):
        hint = calendars_text(await call.store.calendars.by_name(call.org))
        raise NotFoundError(f"there is no calendar {name!r}; {hint}", kind="unknown_calendar")


def _check_name(name: str) -> None:
    limits.check_text(name, "name", 64)
    if not name.replace("-", "").replace("_", "").isalnum():
        fix = "use 1 to 64 letters, digits, '_' or '-'"
        raise InvalidError.at("name", f"{name[:64]!r} is not a valid calendar name", fix)


async def reconcile(deps: Deps) -> None:
    """Notifies the schedules whose calendars changed without that."""
    for row in await deps.store.schedules.with_calendars():
        await _notify(deps, row, "calendar")


async def _notify(deps: Deps, row: ScheduleRow, by: str) -> None:
    spec = schedule_spec.trusted(row.spec)
    known = await deps.store.calendars.by_name(row.org)
    dates = {name: known[name].dates for name in spec.calendars if name in known}
    key = subjects.key_of(row.org, row.id)
    state = await load_schedule(deps.log, key)
    if state is None or state.deleted or state.calendars == dates:
        return
    event = ev.ScheduleUpdated(org=row.org, run=row.id, ts=deps.clock.now_ms(), spec=state.spec, calendars=dates, by=by)
    await deps.log.append(Entry(subjects.run_in(key), ev.encode(event)))
    log.info("a schedule has new dates of its calendars", extra={"org": row.org, "schedule": row.name})
