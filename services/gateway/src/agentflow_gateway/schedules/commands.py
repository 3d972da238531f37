"""What the API does to schedules: check, append a fact to the schedule's `in`, answer from the fold of its log."""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from agentflow_common import events as ev
from agentflow_common import ids, rpc, screening, subjects
from agentflow_common.connections import transient
from agentflow_common.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidError,
    NotFoundError,
    OverloadedError,
    Problem,
    TerminalError,
)
from agentflow_common.expressions import language as expressions
from agentflow_common.log.event_log import Ack, Entry, Fence
from agentflow_common.schedules import fire_times
from agentflow_common.schedules import spec as schedule_spec
from agentflow_common.schedules.fire_times import Timetable
from agentflow_common.schedules.fold import INBOX_MAX, ScheduleState, child_id, schedule_id
from agentflow_common.schedules.load import load_schedule
from agentflow_common.schedules.spec import Spec
from agentflow_common.subjects import EntityKey
from agentflow_gateway import digests, limits
from agentflow_gateway.api.call_context import Call
from agentflow_gateway.definitions import check as definitions
from agentflow_gateway.definitions.check import Source
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.runs import submission
from agentflow_gateway.schedules import subject_rules, webhook_signatures
from agentflow_gateway.store.schedules import ScheduleRow

SCHEDULES_MAX: Final = 10_000  # of one org
TIMES_MAX: Final = 1_000
BACKFILL_TIMES_MAX: Final = 10_000
BACKFILLS_MAX: Final = 20  # that go on at a time
TRIGGERS_WAITING_MAX: Final = INBOX_MAX // 2  # so that those which come at the same moment still find room
PAYLOAD_BYTES_MAX: Final = 256 * 1024
ID_CHARS_MAX: Final = 200
_TRIES: Final = 3  # of a change that others make at the same moment


def key_of(org: str, name: str) -> EntityKey:
    return subjects.key_of(org, schedule_id(org, name))


def read_spec(text: str | None, data: dict[str, Any] | None) -> Spec:
    if text is not None:
        return schedule_spec.parse_text(text)
    if data is not None:
        return schedule_spec.parse(data)
    fix = "set `text` (YAML or JSON) or `data`"
    raise InvalidError(f"no schedule was given: {fix}", problems=(Problem("source", "not set", fix),))


async def find(deps: Deps, call: Call, name: str) -> ScheduleState:
    """NotFoundError suggests what there is."""
    state = await load_schedule(deps.log, key_of(call.org, ids.check_token(name, "name")))
    if state is None or state.deleted:
        raise await no_such_schedule(deps, call.org, name)
    return state


async def no_such_schedule(deps: Deps, org: str, name: str) -> NotFoundError:
    close = difflib.get_close_matches(name, await deps.schedules.names(org), n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(close)}?" if close else "see `agentctl schedule list`"
    return NotFoundError(f"there is no schedule {name!r} in your org; {hint}", kind="unknown_schedule")


def table_of(state: ScheduleState) -> Timetable:
    return schedule_spec.trusted(state.spec).timetable(state.anchor, state.calendars)


# --- create, update, delete ---


class _Prepared(msgspec.Struct, frozen=True):
    """A spec that may be stored: protected, its calendars looked up."""

    spec: dict[str, Any]
    calendars: dict[str, tuple[str, ...]]


async def _prepare(deps: Deps, call: Call, spec: Spec, known: ScheduleState | None) -> _Prepared:
    """Everything that can be wrong with a spec is told here, before anything is written."""
    submission.check_tags({**spec.tags, "schedule": spec.name})  # as its runs will have them
    encoded = msgspec.json.encode(spec.inputs)
    limits.check_reserved(encoded, spec.inputs, "inputs")
    if spec.trigger.subject:
        subject_rules.check_allowed(spec.trigger.subject, call.org, deps.settings)
    calendars = await calendar_dates(deps, call.org, spec)
    now_ms = deps.clock.now_ms()
    if spec.cron and spec.timetable(now_ms, calendars).next(now_ms) is None:
        fix = "check `@at`, `end_at`, windows, weekdays and holidays"
        raise InvalidError(
            f"the schedule would never fire: no time is left ({fix})",
            kind="invalid_schedule",
            problems=(Problem("cron", "no time is left", fix),),
        )
    await _check_workflow(deps, call, spec)
    plain = spec.canonical() if known is None else webhook_signatures.carried(spec.canonical(), spec, known.spec)
    value = {"inputs": plain.get("inputs", {}), "tags": spec.tags, "description": spec.description}
    if screening.needs_screening(value):
        run = schedule_id(call.org, spec.name)
        request = rpc.ProtectRequest(org=call.org, run=run, value=value, purpose="input")
        safe = (await call.ask(deps.nc, rpc.PROTECT, request)).value
        plain |= {name: safe[name] for name in value if safe[name]}
    return _Prepared(plain, calendars)


async def _check_workflow(deps: Deps, call: Call, spec: Spec) -> None:
    """The workflow is there now and takes these inputs, as far as values and not templates tell."""
    checked = await definitions.check(deps, call, Source(ref=spec.workflow))
    try:
        checked.definition.check_inputs(spec.inputs)
    except InvalidError as error:
        templated = {f"inputs.{name}" for name, value in spec.inputs.items() if _templated(value)}
        problems = tuple(p for p in error.problems if not (p.place in templated and p.message.startswith("must be")))
        if problems:
            text = f"the inputs don't fit the workflow: {problems[0]}"
            raise InvalidError(text, problems=problems, kind="invalid_schedule") from None


def _templated(value: Any) -> bool:
    return isinstance(value, str) and expressions.is_template(value)


async def calendar_dates(deps: Deps, org: str, spec: Spec) -> dict[str, tuple[str, ...]]:
    if not spec.calendars:
        return {}
    known = await deps.schedules.calendars(org)
    missing = [name for name in spec.calendars if name not in known]
    if missing:
        there = ", ".join(known) or "none"
        fix = f"make it: agentctl schedule calendar set {missing[0]} 2030-12-25 ...; there are {there}"
        problem = Problem("calendars", f"there is no calendar {missing[0]!r}", fix)
        raise InvalidError(f"the schedule is not valid: {problem}", kind="invalid_schedule", problems=(problem,))
    return {name: known[name].dates for name in spec.calendars}


async def create(deps: Deps, call: Call, spec: Spec) -> tuple[ScheduleState, bool]:
    """(state, whether it is new). AlreadyExistsError if the name is taken by another spec."""
    prepared = await _prepare(deps, call, spec, None)
    key = key_of(call.org, spec.name)
    for _ in range(_TRIES):
        state = await load_schedule(deps.log, key)
        if state is not None and not state.deleted:
            if state.spec == webhook_signatures.carried(prepared.spec, spec, state.spec):
                return state, False
            raise AlreadyExistsError(
                f"there is a schedule {spec.name!r} already, with another spec: change it with "
                "`agentctl schedule update`, or choose another name",
                kind="schedule_exists",
            )
        if state is None and await deps.schedules.count(call.org) >= SCHEDULES_MAX:
            raise OverloadedError(
                f"your org has {SCHEDULES_MAX:,} schedules, the bound: delete some", kind="too_many_schedules"
            )
        event = ev.ScheduleCreated(
            **base(deps, call, key), name=spec.name, uid=os.urandom(6).hex(), spec=prepared.spec,
            calendars=prepared.calendars, by=call.identity.actor,
        )  # fmt: skip
        newest = await deps.log.last(subjects.run_in(key))
        fence = Fence(newest.seq if newest is not None else 0)
        with contextlib.suppress(ConflictError):  # somebody else was first, or a late word came: look again
            await append(deps, call, key, event, fence=fence)
            return await remembered(deps, key), True
    raise OverloadedError(f"the schedule {spec.name!r} changes too fast; try again", kind="conflict")


async def update(deps: Deps, call: Call, spec: Spec) -> tuple[ScheduleState, bool]:
    """(state, whether anything changed)."""
    state = await find(deps, call, spec.name)
    prepared = await _prepare(deps, call, spec, state)
    if _comparable(state.spec) == _comparable(prepared.spec) and state.calendars == prepared.calendars:
        return state, False
    key = key_of(call.org, spec.name)
    recount = state.spec.get("cron") != prepared.spec.get("cron")
    event = ev.ScheduleUpdated(
        **base(deps, call, key), spec=prepared.spec, calendars=prepared.calendars, recount=recount,
        by=call.identity.actor,
    )  # fmt: skip
    await append(deps, call, key, event)
    return await _told(deps, call, state), True


def _comparable(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Whether it begins paused is of no matter later."""
    return {name: value for name, value in spec.items() if name != "paused"}


async def delete(deps: Deps, call: Call, name: str, reason: str) -> None:
    await find(deps, call, name)
    key = key_of(call.org, name)
    reason = await _safe_reason(deps, call, key, reason)
    await append(deps, call, key, ev.ScheduleDeleted(**base(deps, call, key), reason=reason, by=call.identity.actor))
    await remembered(deps, key)


# --- pause, trigger, backfill ---


async def set_paused(deps: Deps, call: Call, name: str, paused: bool, reason: str) -> bool:
    """Whether that changed anything."""
    state = await find(deps, call, name)
    if state.paused == paused:
        return False
    key = key_of(call.org, name)
    kind = ev.SchedulePaused if paused else ev.ScheduleResumed
    reason = await _safe_reason(deps, call, key, reason)
    await append(deps, call, key, kind(**base(deps, call, key), reason=reason, by=call.identity.actor))
    await _told(deps, call, state)
    return True


async def _told(deps: Deps, call: Call, before: ScheduleState) -> ScheduleState:
    """The state with what was just written. NotFoundError if the schedule was deleted before that came."""
    name = str(before.spec["name"])
    state = await remembered(deps, key_of(call.org, name))
    if state.deleted or state.uid != before.uid:
        raise await no_such_schedule(deps, call.org, name)
    return state


class Triggered(msgspec.Struct, frozen=True):
    """run: the one that comes of it, if one does. seq: of the event that asks for it. earlier: the schedule knew the
    trigger before that event, which changes nothing then."""

    key: EntityKey
    kind: str
    trigger_id: str
    run: str
    seq: int
    earlier: bool


async def trigger(
    deps: Deps, call: Call, name: str, kind: str, payload: Any, *, trigger_id: str = "", overlap: str = ""
) -> Triggered:
    """Asks for a run. TerminalError if the schedule is paused and nobody asks by hand."""
    limits.check_text(trigger_id, "trigger_id", ID_CHARS_MAX)
    if overlap and overlap not in schedule_spec.OVERLAPS:
        fix = f"use {', '.join(schedule_spec.OVERLAPS)}"
        raise InvalidError(
            f"overlap {overlap[:40]!r} is not known ({fix})", problems=(Problem("overlap", "not known", fix),)
        )
    encoded = msgspec.json.encode(payload)
    limits.check_size(len(encoded), PAYLOAD_BYTES_MAX, "payload")
    limits.check_reserved(encoded, payload, "payload")
    state = await find(deps, call, name)
    if state.paused and kind != "manual":
        raise TerminalError(f"the schedule {name!r} is paused: it starts no runs", kind="schedule_paused")
    if len(state.inbox) >= TRIGGERS_WAITING_MAX:
        raise OverloadedError(
            f"the schedule {name!r} has {TRIGGERS_WAITING_MAX:,} triggers to decide already; try again",
            kind="too_many_triggers",
            retry_after_ms=5_000,
        )
    key = key_of(call.org, name)
    if screening.needs_screening(payload):
        request = rpc.ProtectRequest(org=call.org, run=key.name, value=payload, purpose="input")
        payload = (await call.ask(deps.nc, rpc.PROTECT, request)).value
    trigger_id = trigger_id or os.urandom(12).hex()
    if screening.needs_screening(trigger_id):
        trigger_id = digests.stored_key(deps.secret, trigger_id, True)
    event = ev.ScheduleTriggered(
        **base(deps, call, key), id=trigger_id, kind=kind, payload=await deps.blobs.pack(payload, "the payload"),
        overlap=overlap, by=call.identity.actor,
    )  # fmt: skip
    ack = await append(deps, call, key, event, msg_id=f"trigger:{key.name}:{state.uid}:{kind}:{trigger_id}")
    earlier = not ack.duplicate and f"{kind}:{trigger_id}" in state.known_ids
    return Triggered(key, kind, trigger_id, child_id(state, kind, trigger_id, 0), ack.seq, earlier)


async def backfill(
    deps: Deps, call: Call, name: str, start: int, end: int, overlap: str, backfill_id: str, dry_run: bool
) -> tuple[str, list[int], bool]:
    """(its id, the times, whether a backfill with the id was asked for before: then this one changes nothing)."""
    overlap = overlap or "buffer_all"
    problems = []
    if overlap not in {"allow", "buffer_all"}:
        problems.append(Problem("overlap", f"{overlap[:40]!r} is not for backfills", "use buffer_all or allow"))
    if not 0 < start <= fire_times.LAST_MS or not 0 < end <= fire_times.LAST_MS:
        problems.append(Problem("start", "out of range", "give two times between 1970 and now, in ms since the epoch"))
    elif start > end:
        problems.append(Problem("start", "not before the end", "give two times, the earlier one first"))
    elif end > deps.clock.now_ms():
        problems.append(Problem("end", "in the future", "a backfill is of the past; the schedule does the rest"))
    if problems:
        raise InvalidError(f"the backfill is not valid: {problems[0]}", problems=tuple(problems))
    limits.check_text(backfill_id, "backfill_id", ID_CHARS_MAX)
    state = await find(deps, call, name)
    times = table_of(state).between(start, end, BACKFILL_TIMES_MAX + 1)
    if len(times) > BACKFILL_TIMES_MAX:
        fix = "make it shorter"
        raise InvalidError(
            f"the backfill holds more than {BACKFILL_TIMES_MAX:,} times: {fix}",
            problems=(Problem("end", f"more than {BACKFILL_TIMES_MAX:,} times", fix),),
        )
    backfill_id = backfill_id or os.urandom(6).hex()
    known = f"backfill:{backfill_id}" in state.known_ids
    if dry_run or known or not times:
        return backfill_id, times, known
    if len(state.backfills) >= BACKFILLS_MAX:
        raise OverloadedError(
            f"the schedule {name!r} has {BACKFILLS_MAX} backfills to do already; wait for one",
            kind="too_many_backfills",
        )
    key = key_of(call.org, name)
    event = ev.ScheduleBackfillRequested(
        **base(deps, call, key), id=backfill_id, start=start, end=end, overlap=overlap, by=call.identity.actor
    )
    await append(deps, call, key, event, msg_id=f"backfill:{key.name}:{state.uid}:{backfill_id}")
    await _told(deps, call, state)
    return backfill_id, times, False


# --- shared ---


def base(deps: Deps, call: Call, key: EntityKey) -> dict[str, Any]:
    return {"org": key.org, "run": key.name, "ts": deps.clock.now_ms(), "trace": call.trace}


async def _safe_reason(deps: Deps, call: Call, key: EntityKey, reason: str) -> str:
    limits.check_text(reason, "reason", limits.REASON_CHARS_MAX)
    if not screening.needs_screening(reason):
        return reason
    request = rpc.ProtectRequest(org=call.org, run=key.name, value=reason, purpose="input")
    return str((await call.ask(deps.nc, rpc.PROTECT, request)).value)


async def append(
    deps: Deps, call: Call, key: EntityKey, event: ev.Event, *, msg_id: str = "", fence: Fence | None = None
) -> Ack:
    entry = Entry(subjects.run_in(key), ev.encode(event), msg_id=msg_id, fence=fence)
    return await deps.log.append(entry, call.timeout_s(10.0))


def row_of(state: ScheduleState) -> ScheduleRow:
    """What lists show of a folded state."""
    if state.deleted:
        status = "deleted"
    elif state.paused:
        status = "paused"
    else:
        status = state.listed if state.listed in {"finished", "broken"} else "active"
    return ScheduleRow(
        org=state.org, name=state.name, id=state.run, uid=state.uid, status=status,
        workflow=str(state.spec.get("workflow", "")), spec=state.spec, calendars=state.calendars,
        subject=str(state.spec.get("trigger", {}).get("subject", "")), anchor=state.anchor,
        created_at=state.created_at, seq=state.facts_seq,
    )  # fmt: skip


async def remembered(deps: Deps, key: EntityKey) -> ScheduleState:
    """The state with what was just written; so that lists show it before the scheduler has seen it."""
    state = await load_schedule(deps.log, key)
    if state is None:
        raise NotFoundError("the schedule is not in the log any more", kind="unknown_schedule")
    with contextlib.suppress(*transient.WEATHER):
        await deps.schedules.put([row_of(state)])
    deps.schedules_changed.set()
    return state
