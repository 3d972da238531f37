"""One action on every run that a filter matches: counted first, done on request, a page at a time, safe to repeat.

The runs are those that were submitted before the first call, newest first. The cursor contains that moment and the
place, so it continues a call that was cut short. A repetition has no further effect: an ended run is not cancelled
again, a run is retried once, and a signal carries the batch's id.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec

from agentflow_common import ids
from agentflow_common.errors import InvalidError
from agentflow_common.runs.fork import Changes
from agentflow_gateway import limits
from agentflow_gateway.api import errors, pages
from agentflow_gateway.api.call import Call
from agentflow_gateway.controls import commands
from agentflow_gateway.runs import forks, submission
from agentflow_gateway.store.runs import ACTIVE, RunFilter, RunRow

LIMIT_DEFAULT: Final = 10_000
LIMIT_MAX: Final = 100_000
SAMPLE: Final = 20
PAGE: Final = 100
AT_ONCE: Final = 16  # each may fold a run's whole log
COUNT_MAX: Final = 1_000_000
FAILURES_MAX: Final = 1000  # listed one by one; the rest is counted

# the statuses of runs that an action can change
_FITTING: Final = {
    "cancel": ACTIVE,
    "pause": ("pending", "running", "waiting"),
    "resume": ("paused",),
    "retry": ("failed", "cancelled"),
    "signal": ACTIVE,
}


class Order(msgspec.Struct, frozen=True):
    """The action, and what it needs."""

    action: str
    reason: str = ""
    grace_ms: int = 0
    force: bool = False
    signal: str = ""
    payload: Any = None
    batch: str = ""  # part of the signals' ids
    until: int = 0  # when the pauses end by themselves, ms since the epoch; 0: when the runs are resumed


class Failure(msgspec.Struct, frozen=True):
    run: str
    kind: str
    message: str


class Progress(msgspec.Struct):
    matched: int = 0  # how many runs the filter matches; in the first one only
    done: int = 0
    failed: int = 0
    sample: list[RunRow] = []
    failures: list[Failure] = []
    cursor: str = ""
    finished: bool = False
    created: dict[str, str] = {}  # new runs by the run that was retried


class _Cursor(msgspec.Struct, frozen=True, array_like=True):
    until: pages.Number  # runs that were submitted before
    at: pages.Number  # with `run`: the last run that was done
    run: pages.Text
    digest: str  # of the order and the filter


def fitting(order: Order, chosen: RunFilter, now_ms: int) -> RunFilter:
    """Returns the filter, narrowed to the runs that the action can change.

    InvalidError if no run is left, or if the filter matches every run.
    """
    submission.check_tags(chosen.tags)
    limits.check_text(order.reason, "reason", limits.REASON_CHARS_MAX)
    if order.action == "signal" and not order.signal:
        raise InvalidError.at("signal", "the name of the signal is empty", "give the signal's name")
    if order.action == "cancel":
        commands.check_grace(order.grace_ms, order.force)
    if order.until and order.action != "pause":
        text = f"only a pause ends by itself, and the action is {order.action}"
        raise InvalidError.at("until", text, "leave it out; the filter has an `until` of its own")
    limits.check_until(order.until, now_ms)
    if chosen.since < 0 or chosen.until < 0 or (chosen.until and chosen.since >= chosen.until):
        fix = "let `since` come before `until`, in ms since the epoch, or give 0 for no bound"
        raise InvalidError.at("filter", "the filter's times match no run", fix)
    if "@" in chosen.workflow:
        fix = f"give {chosen.workflow.partition('@')[0]!r}"
        raise InvalidError.at("filter.workflow", f"a filter takes the name of a workflow, not {chosen.workflow!r}", fix)
    possible = _FITTING[order.action]
    statuses = tuple(status for status in chosen.statuses if status in possible) if chosen.statuses else possible
    if not statuses:
        text = f"the action {order.action} can't change a run that is {chosen.statuses[0]}"
        raise InvalidError.at("filter.status", text, f"leave the status out, or choose from {', '.join(possible)}")
    if chosen == RunFilter():
        fix = "give a status, a workflow, a tag, an error type or a time"
        raise InvalidError.at("filter", "the filter is empty and matches every run", fix)
    return msgspec.structs.replace(chosen, statuses=statuses)


async def run(
    call: Call, order: Order, chosen: RunFilter, *, execute: bool, limit: int, cursor: str
) -> AsyncIterator[Progress]:
    """Yields progress after each page. The last one is `finished`, or its cursor says where the limit stopped it."""
    if not 0 <= limit <= LIMIT_MAX:
        fix = f"use 1 to {LIMIT_MAX:,}, or 0 for {LIMIT_DEFAULT:,}"
        raise InvalidError.at("limit", f"limit {limit} is out of range", fix)
    what = msgspec.structs.replace(order, until=0)  # `2h` from now is another time when the call is repeated
    digest = ids.digest(msgspec.json.encode([what, chosen], order="sorted"))[:16]
    place = _read_cursor(cursor, digest)
    chosen = fitting(order, chosen, call.now_ms())
    until = place.until if place else min(chosen.until or 2**62, call.now_ms() + 1)
    chosen = msgspec.structs.replace(chosen, until=until)
    after = (place.at, place.run) if place and place.run else None
    first = await call.store.runs.find(call.org, chosen, after, SAMPLE)
    matched = await call.store.runs.count(call.org, chosen, COUNT_MAX)
    start = _Cursor(until, *(after or (0, "")), digest)
    yield Progress(matched=matched, sample=first, cursor=pages.token(start), finished=not execute)
    if not execute:
        return
    left, progress = limit or LIMIT_DEFAULT, Progress()
    while left > 0:
        rows = await call.store.runs.find(call.org, chosen, after, min(PAGE, left))
        if not rows:
            break
        await _page(call, order, rows, progress)
        after = (rows[-1].submitted_at, rows[-1].run)
        left -= len(rows)
        progress.cursor = pages.token(_Cursor(until, *after, digest))
        yield progress
        progress = Progress(done=progress.done, failed=progress.failed)
    ended = left > 0
    last_cursor = "" if ended or after is None else pages.token(_Cursor(until, *after, digest))
    yield Progress(done=progress.done, failed=progress.failed, finished=ended, cursor=last_cursor)


async def _page(call: Call, order: Order, rows: list[RunRow], progress: Progress) -> None:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(row: RunRow) -> None:
        async with gate:
            try:
                created = await _do(call, order, row.run)
            except asyncio.CancelledError:
                raise
            except Exception as raised:
                error = errors.for_client(raised)
                progress.failed += 1
                if len(progress.failures) < FAILURES_MAX:
                    progress.failures.append(Failure(row.run, error.kind, error.message))
            else:
                progress.done += 1
                if created:
                    progress.created[row.run] = created

    async with asyncio.TaskGroup() as group:
        for row in rows:
            group.create_task(one(row))


async def _do(call: Call, order: Order, run_id: str) -> str:
    """Returns the id of the new run that the action made, if it made one."""
    if order.action == "cancel":
        await commands.cancel(call, run_id, order.reason, grace_ms=order.grace_ms, force=order.force)
    elif order.action == "pause":
        await commands.pause(call, run_id, order.reason, order.until)
    elif order.action == "resume":
        await commands.resume(call, run_id, order.reason)
    elif order.action == "retry":
        return (await forks.retry(call, run_id, Changes(), key="")).run
    else:
        await commands.signal(call, run_id, order.signal, order.payload, f"batch-{order.batch}")
    return ""


def _read_cursor(text: str, digest: str) -> _Cursor | None:
    cursor = pages.read(text, _Cursor, "cursor", "pass the cursor of the call that was cut short, or none")
    if cursor is not None and cursor.digest != digest:
        fix = "repeat the call as it was, or begin again without a cursor"
        raise InvalidError.at("cursor", "the cursor belongs to another batch", fix)
    return cursor
