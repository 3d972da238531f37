"""Changes schedules: checks, appends a fact to the schedule's `in`, answers from the fold of its log."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from agentflow_common import events as ev
from agentflow_common import ids, places, screening, subjects
from agentflow_common.connections import transient
from agentflow_common.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidError,
    NotFoundError,
    OverloadedError,
    Problem,
)
from agentflow_common.expressions import language as expressions
from agentflow_common.hints import did_you_mean
from agentflow_common.log.event_log import Fence
from agentflow_common.schedules import spec as schedule_spec
from agentflow_common.schedules.fire_times import Timetable
from agentflow_common.schedules.load import load_schedule
from agentflow_common.schedules.spec import Spec
from agentflow_common.schedules.state import ScheduleState, schedule_id
from agentflow_common.subjects import EntityKey
from agentflow_gateway import limits
from agentflow_gateway.api.call import Call
from agentflow_gateway.definitions import check as definitions
from agentflow_gateway.definitions.check import Source
from agentflow_gateway.runs import submission
from agentflow_gateway.schedules import subject_rules, webhook_signatures
from agentflow_gateway.store.schedules import ScheduleRow

SCHEDULES_MAX: Final = 10_000  # of one org
_TRIES: Final = 3  # of a change that others make at the same moment


def key_of(org: str, name: str) -> EntityKey:
    return subjects.key_of(org, schedule_id(org, name))


async def find(call: Call, name: str) -> ScheduleState:
    """Returns the schedule. NotFoundError suggests what there is."""
    state = await load_schedule(call.deps.log, key_of(call.org, ids.check_token(name, "name")))
    if state is None or state.deleted:
        raise await no_such_schedule(call, name)
    return state


async def no_such_schedule(call: Call, name: str) -> NotFoundError:
    names = await call.store.schedules.names(call.org)
    hint = did_you_mean(name, names, "see `agentctl schedule list`", most=3, cutoff=0.5)
    return NotFoundError(f"there is no schedule {name!r} in your org; {hint}", kind="unknown_schedule")


def table_of(state: ScheduleState) -> Timetable:
    return schedule_spec.trusted(state.spec).timetable(state.anchor, state.calendars)


# --- create, update, delete ---


class _Prepared(msgspec.Struct, frozen=True):
    """A spec that may be stored: protected, its calendars looked up."""

    spec: dict[str, Any]
    calendars: dict[str, tuple[str, ...]]


async def _prepare(call: Call, spec: Spec, before: ScheduleState | None) -> _Prepared:
    """Returns the spec as it is stored. Everything that can be wrong with it is raised before anything is written."""
    submission.check_tags({**spec.tags, "schedule": spec.name})  # as its runs will have them
    limits.check_reserved(msgspec.json.encode(spec.inputs), spec.inputs, "inputs")
    if spec.trigger.subject:
        subject_rules.check_allowed(spec.trigger.subject, call.org, call.deps.settings)
    calendars = await calendar_dates(call, spec)
    now_ms = call.now_ms()
    if spec.cron and spec.timetable(now_ms, calendars).next(now_ms) is None:
        fix = "check `@at`, `end_at`, windows, weekdays and holidays"
        raise InvalidError.at("cron", "the schedule would never fire: no time is left", fix, kind="invalid_schedule")
    await _check_workflow(call, spec)
    plain = spec.canonical() if before is None else webhook_signatures.carried(spec.canonical(), spec, before.spec)
    value = {"inputs": plain.get("inputs", {}), "tags": spec.tags, "description": spec.description}
    if screening.needs_screening(value):
        safe = await call.protect(schedule_id(call.org, spec.name), value)
        plain |= {name: safe[name] for name in value if safe[name]}
    return _Prepared(plain, calendars)


async def _check_workflow(call: Call, spec: Spec) -> None:
    """Raises if the workflow does not exist now, or does not take these inputs. Templates are not judged."""
    checked = await definitions.check(call, Source(ref=spec.workflow))
    try:
        checked.definition.check_inputs(spec.inputs)
    except InvalidError as error:
        templated = [name for name, value in spec.inputs.items() if _templated(value)]
        problems = tuple(p for p in error.problems if not any(_is_inside(p.place, name) for name in templated))
        problems += tuple(p for p in error.problems if p not in problems and p.message.startswith("not an input"))
        if problems:
            raise InvalidError.of(problems, "the inputs don't fit the workflow", kind="invalid_schedule") from None


def _templated(value: Any) -> bool:
    """True if a template stands anywhere in the value."""
    return any(expressions.is_template(text) for _, text in places.texts(value))


def _is_inside(place: str, name: str) -> bool:
    """True if a problem's place is an input, or a part of it."""
    rest = place.removeprefix(f"inputs.{name}")
    return rest != place and rest[:1] in {"", ".", "["}


async def calendar_dates(call: Call, spec: Spec) -> dict[str, tuple[str, ...]]:
    """Returns the dates of the calendars that the spec names."""
    if not spec.calendars:
        return {}
    known = await call.store.calendars.by_name(call.org)
    missing = [name for name in spec.calendars if name not in known]
    if missing:
        fix = f"create it: agentctl schedule calendar set {missing[0]} 2030-12-25 ...; {calendars_text(known)}"
        problem = Problem("calendars", f"there is no calendar {missing[0]!r}", fix)
        raise InvalidError.of([problem], "the schedule is not valid", kind="invalid_schedule")
    return {name: known[name].dates for name in spec.calendars}


def calendars_text(known: Mapping[str, object]) -> str:
    return f"the calendars are: {', '.join(known)}" if known else "your org has no calendar yet"


async def create(call: Call, spec: Spec) -> tuple[ScheduleState, bool]:
    """Returns (state, whether it is new). AlreadyExistsError if the name is taken by another spec."""
    prepared = await _prepare(call, spec, None)
    key = key_of(call.org, spec.name)
    for _ in range(_TRIES):
        state = await load_schedule(call.deps.log, key)
        if state is not None and not state.deleted:
            if state.spec == webhook_signatures.carried(prepared.spec, spec, state.spec):
                return state, False
            raise AlreadyExistsError(
                f"a schedule {spec.name!r} with another spec exists: change it with "
                "`agentctl schedule update`, or choose another name",
                kind="schedule_exists",
            )
        if state is None and await call.store.schedules.count(call.org) >= SCHEDULES_MAX:
            raise OverloadedError(
                f"your org has {SCHEDULES_MAX:,} schedules, the limit: delete some", kind="too_many_schedules"
            )
        event = ev.ScheduleCreated(
            **call.header(key.name),
            name=spec.name,
            uid=os.urandom(6).hex(),
            spec=prepared.spec,
            calendars=prepared.calendars,
            by=call.identity.actor,
        )
        newest = await call.deps.log.last(subjects.run_in(key))
        fence = Fence(newest.seq if newest is not None else 0)
        with contextlib.suppress(ConflictError):  # another caller was first, or a late report came: look again
            await call.append(event, fence=fence)
            return await remembered(call, key), True
    raise OverloadedError(f"the schedule {spec.name!r} changes too fast; try again", kind="conflict")


async def update(call: Call, spec: Spec) -> tuple[ScheduleState, bool]:
    """Returns (state, whether anything changed)."""
    state = await find(call, spec.name)
    prepared = await _prepare(call, spec, state)
    if _comparable(state.spec) == _comparable(prepared.spec) and state.calendars == prepared.calendars:
        return state, False
    event = ev.ScheduleUpdated(
        **call.header(state.run),
        spec=prepared.spec,
        calendars=prepared.calendars,
        recount=state.spec.get("cron") != prepared.spec.get("cron"),
        by=call.identity.actor,
    )
    await call.append(event)
    return await after_change(call, state), True


def _comparable(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the spec without `paused`, which only counts at the beginning."""
    return {name: value for name, value in spec.items() if name != "paused"}


async def delete(call: Call, name: str, reason: str) -> None:
    state = await find(call, name)
    reason = await call.safe_reason(reason, state.run, "input")
    await call.append(ev.ScheduleDeleted(**call.header(state.run), reason=reason, by=call.identity.actor))
    await remembered(call, key_of(call.org, name))


async def set_paused(call: Call, name: str, paused: bool, reason: str) -> bool:
    """Returns whether that changed anything."""
    state = await find(call, name)
    if state.paused == paused:
        return False
    kind = ev.SchedulePaused if paused else ev.ScheduleResumed
    reason = await call.safe_reason(reason, state.run, "input")
    await call.append(kind(**call.header(state.run), reason=reason, by=call.identity.actor))
    await after_change(call, state)
    return True


async def after_change(call: Call, before: ScheduleState) -> ScheduleState:
    """Returns the state with what was just written. NotFoundError if the schedule was deleted before that."""
    state = await remembered(call, subjects.key_of(before.org, before.run))
    if state.deleted or state.uid != before.uid:
        raise await no_such_schedule(call, before.name)
    return state


def row_of(state: ScheduleState) -> ScheduleRow:
    """Returns what lists show of a folded state."""
    if state.deleted:
        status = "deleted"
    elif state.paused:
        status = "paused"
    else:
        status = state.listed if state.listed in {"finished", "broken"} else "active"
    return ScheduleRow.of(state, status, state.facts_seq)


async def remembered(call: Call, key: EntityKey) -> ScheduleState:
    """Returns the state with what was just written, and lists it before the scheduler has seen it."""
    state = await load_schedule(call.deps.log, key)
    if state is None:
        raise NotFoundError("the schedule is no longer in the log", kind="unknown_schedule")
    with contextlib.suppress(*transient.SURVIVED):
        await call.store.schedules.put(row_of(state))
    call.deps.schedules_changed.set()
    return state
