"""Asks a schedule for runs: one now, or those of past times."""

from __future__ import annotations

import os
from typing import Any, Final

import msgspec

from agentflow_common import events as ev
from agentflow_common.errors import InvalidError, OverloadedError, Problem, TerminalError
from agentflow_common.schedules import fire_times
from agentflow_common.schedules import spec as schedule_spec
from agentflow_common.schedules.fold import INBOX_MAX
from agentflow_common.schedules.state import child_id
from agentflow_common.subjects import EntityKey
from agentflow_gateway import digests, limits
from agentflow_gateway.api.call import Call
from agentflow_gateway.schedules import commands

TIMES_MAX: Final = 1_000
BACKFILL_TIMES_MAX: Final = 10_000
BACKFILLS_MAX: Final = 20  # that run at a time
TRIGGERS_WAITING_MAX: Final = INBOX_MAX // 2  # so that those which come at the same moment still find room
PAYLOAD_BYTES_MAX: Final = 256 * 1024
ID_CHARS_MAX: Final = 200


class Trigger(msgspec.Struct, frozen=True):
    """A request for a run."""

    kind: str  # `manual`, `webhook`, `subject`, `file` or `row`
    payload: Any = None
    id: str = ""  # the same id is one trigger
    overlap: str = ""  # another policy than the schedule's


class Triggered(msgspec.Struct, frozen=True):
    """A trigger that is in the schedule's log."""

    key: EntityKey
    kind: str
    trigger_id: str
    run: str  # the id of its run, if it starts one
    seq: int  # of the event that asks for it
    earlier: bool  # the schedule knew the trigger before that event, which then changes nothing


class Backfill(msgspec.Struct, frozen=True):
    """A request for the runs of past times."""

    start: int  # ms since the epoch
    end: int
    overlap: str = ""
    id: str = ""


async def trigger(call: Call, name: str, asked: Trigger) -> Triggered:
    """Asks for a run. TerminalError if the schedule is paused and the trigger is not `manual`."""
    limits.check_text(asked.id, "trigger_id", ID_CHARS_MAX)
    if asked.overlap and asked.overlap not in schedule_spec.OVERLAPS:
        fix = f"use {', '.join(schedule_spec.OVERLAPS)}"
        raise InvalidError.at("overlap", f"unknown overlap {asked.overlap[:40]!r}", fix)
    encoded = msgspec.json.encode(asked.payload)
    limits.check_size(len(encoded), PAYLOAD_BYTES_MAX, "payload")
    limits.check_reserved(encoded, asked.payload, "payload")
    state = await commands.find(call, name)
    if state.paused and asked.kind != "manual":
        raise TerminalError(f"the schedule {name!r} is paused: it starts no runs", kind="schedule_paused")
    if len(state.inbox) >= TRIGGERS_WAITING_MAX:
        raise OverloadedError(
            f"the schedule {name!r} already has {TRIGGERS_WAITING_MAX:,} triggers to decide; try again",
            kind="too_many_triggers",
            retry_after_ms=5_000,
        )
    payload = await call.protect(state.run, asked.payload)
    trigger_id = asked.id or os.urandom(12).hex()
    trigger_id = digests.stored_key(call.deps.secret, trigger_id)
    event = ev.ScheduleTriggered(
        **call.header(state.run),
        id=trigger_id,
        kind=asked.kind,
        payload=await call.deps.blobs.pack(payload, "the payload"),
        overlap=asked.overlap,
        by=call.identity.actor,
    )
    ack = await call.append(event, f"trigger:{state.run}:{state.uid}:{asked.kind}:{trigger_id}")
    return Triggered(
        key=commands.key_of(call.org, name),
        kind=asked.kind,
        trigger_id=trigger_id,
        run=child_id(state, asked.kind, trigger_id, 0),
        seq=ack.seq,
        earlier=not ack.duplicate and f"{asked.kind}:{trigger_id}" in state.known_ids,
    )


async def backfill(call: Call, name: str, asked: Backfill, *, dry_run: bool) -> tuple[str, list[int], bool]:
    """Returns (the backfill's id, the times, whether a backfill with the id was asked for before).

    If it was, this one changes nothing.
    """
    overlap = asked.overlap or "buffer_all"
    if problems := _problems(asked, overlap, call.now_ms()):
        raise InvalidError.of(problems, "the backfill is not valid")
    limits.check_text(asked.id, "backfill_id", ID_CHARS_MAX)
    state = await commands.find(call, name)
    times = commands.table_of(state).between(asked.start, asked.end, BACKFILL_TIMES_MAX + 1)
    if len(times) > BACKFILL_TIMES_MAX:
        raise InvalidError.at("end", f"the backfill has more than {BACKFILL_TIMES_MAX:,} times", "make it shorter")
    backfill_id = asked.id or os.urandom(6).hex()
    repeated = f"backfill:{backfill_id}" in state.known_ids
    if dry_run or repeated or not times:
        return backfill_id, times, repeated
    if len(state.backfills) >= BACKFILLS_MAX:
        raise OverloadedError(
            f"the schedule {name!r} already has {BACKFILLS_MAX} backfills to do; wait for one",
            kind="too_many_backfills",
        )
    event = ev.ScheduleBackfillRequested(
        **call.header(state.run),
        id=backfill_id,
        start=asked.start,
        end=asked.end,
        overlap=overlap,
        by=call.identity.actor,
    )
    await call.append(event, f"backfill:{state.run}:{state.uid}:{backfill_id}")
    await commands.after_change(call, state)
    return backfill_id, times, False


def _problems(asked: Backfill, overlap: str, now_ms: int) -> list[Problem]:
    problems = []
    if overlap not in {"allow", "buffer_all"}:
        problems.append(Problem("overlap", f"{overlap[:40]!r} is not for backfills", "use buffer_all or allow"))
    if not 0 < asked.start <= fire_times.LAST_MS or not 0 < asked.end <= fire_times.LAST_MS:
        problems.append(Problem("start", "out of range", "give two times between 1970 and now, in ms since the epoch"))
    elif asked.start > asked.end:
        problems.append(Problem("start", "not before the end", "give two times, the earlier one first"))
    elif asked.end > now_ms:
        problems.append(Problem("end", "in the future", "a backfill covers past times; the schedule does the rest"))
    return problems
