"""One action on every run that a filter finds: counted first, done on request, a page at a time, safe to repeat.

The runs are those that were submitted before the first call, newest first; the cursor holds that moment and the place,
so a call that broke off is continued with it. Repeating the whole has no further effect: what has ended is not
cancelled again, a run is retried once, a signal carries the batch's id.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec

from agentflow_common import ids
from agentflow_common.errors import InvalidError, Problem
from agentflow_common.runs.fork import Changes
from agentflow_gateway import limits
from agentflow_gateway.api import errors, pages
from agentflow_gateway.api.call_context import Call
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.runs import controls, forks, submission
from agentflow_gateway.store.runs import ACTIVE, RunFilter, RunRow

LIMIT_DEFAULT: Final = 10_000
LIMIT_MAX: Final = 100_000
SAMPLE: Final = 20
PAGE: Final = 100
AT_ONCE: Final = 16  # each may fold a run's whole log
COUNT_MAX: Final = 1_000_000
FAILURES_MAX: Final = 1000  # told one by one; the rest is counted

# what an action can do something about
_FITTING: Final = {
    "cancel": ACTIVE,
    "pause": ("pending", "running", "waiting"),
    "resume": ("paused",),
    "retry": ("failed", "cancelled"),
    "signal": ACTIVE,
}


class Order(msgspec.Struct, frozen=True):
    """What is to be done. batch: names the signal's batch."""

    action: str
    reason: str = ""
    grace_ms: int = 0
    force: bool = False
    signal: str = ""
    payload: Any = None
    batch: str = ""


class Failure(msgspec.Struct, frozen=True):
    run: str
    kind: str
    message: str


class Progress(msgspec.Struct):
    """matched: in the first one, how many runs there are. created: new runs by the one that was retried."""

    matched: int = 0
    done: int = 0
    failed: int = 0
    sample: list[RunRow] = []
    failures: list[Failure] = []
    cursor: str = ""
    finished: bool = False
    created: dict[str, str] = {}


class _Cursor(msgspec.Struct, frozen=True, array_like=True):
    """until: runs that were submitted before; at, run: the last one that was done; digest: of what is being done."""

    until: pages.At
    at: pages.At
    run: pages.Text
    digest: str


def fitting(order: Order, wanted: RunFilter) -> RunFilter:
    """The filter, narrowed to what the action can do something about. InvalidError where nothing is left, or nothing
    narrows it."""
    submission.check_tags(wanted.tags)
    limits.check_text(order.reason, "reason", limits.REASON_CHARS_MAX)
    if order.action == "signal" and not order.signal:
        raise InvalidError("a signal needs a name", problems=(Problem("signal", "is empty", "give the signal's name"),))
    if order.action == "cancel":
        controls.check_grace(order.grace_ms, order.force)
    if wanted.since < 0 or wanted.until < 0 or (wanted.until and wanted.since >= wanted.until):
        raise InvalidError(
            "the filter's times find no run",
            problems=(Problem("filter", "`since` must come before `until`", "give ms since the epoch, or 0 for none"),),
        )
    if "@" in wanted.workflow:
        name = wanted.workflow.partition("@")[0]
        raise InvalidError(
            f"a filter takes the name of a workflow, not {wanted.workflow!r}",
            problems=(Problem("filter.workflow", "names a version", f"give {name!r}"),),
        )
    known = _FITTING[order.action]
    statuses = tuple(status for status in wanted.statuses if status in known) if wanted.statuses else known
    if not statuses:
        fix = f"leave the status out, or choose from {', '.join(known)}"
        raise InvalidError(
            f"a run that is {wanted.statuses[0]} can't be given: {order.action}",
            problems=(Problem("filter.status", f"{wanted.statuses[0]} does not go with {order.action}", fix),),
        )
    if wanted == RunFilter():
        fix = "give a status, a workflow, a tag, an error type or a time"
        raise InvalidError("the filter finds every run", problems=(Problem("filter", "is empty", fix),))
    return msgspec.structs.replace(wanted, statuses=statuses)


async def run(
    deps: Deps, call: Call, order: Order, wanted: RunFilter, *, execute: bool, limit: int, cursor: str
) -> AsyncIterator[Progress]:
    """Progress after each page; the last one is `finished`, or its cursor says where the limit stopped it."""
    if not 0 <= limit <= LIMIT_MAX:
        raise InvalidError(
            f"limit {limit} is out of range",
            problems=(Problem("limit", "out of range", f"use 1 to {LIMIT_MAX:,}, or 0 for {LIMIT_DEFAULT:,}"),),
        )
    digest = ids.digest(msgspec.json.encode([order, wanted], order="sorted"))[:16]
    place = _read_cursor(cursor, digest)
    wanted = fitting(order, wanted)
    until = place.until if place else min(wanted.until or 2**62, deps.clock.now_ms() + 1)
    wanted = msgspec.structs.replace(wanted, until=until)
    after = (place.at, place.run) if place and place.run else None
    first = await deps.store.list_runs(call.org, wanted, after, SAMPLE)
    matched = await deps.store.count_runs(call.org, wanted, COUNT_MAX)
    start = _Cursor(until, *(after or (0, "")), digest)
    yield Progress(matched=matched, sample=first, cursor=pages.token(start), finished=not execute)
    if not execute:
        return
    left, progress = limit or LIMIT_DEFAULT, Progress()
    while left > 0:
        rows = await deps.store.list_runs(call.org, wanted, after, min(PAGE, left))
        if not rows:
            break
        await _page(deps, call, order, rows, progress)
        after = (rows[-1].submitted_at, rows[-1].run)
        left -= len(rows)
        progress.cursor = pages.token(_Cursor(until, *after, digest))
        yield progress
        progress = Progress(done=progress.done, failed=progress.failed)
    ended = left > 0
    yield Progress(
        done=progress.done, failed=progress.failed, finished=ended,
        cursor="" if ended or after is None else pages.token(_Cursor(until, *after, digest)),
    )  # fmt: skip


async def _page(deps: Deps, call: Call, order: Order, rows: list[RunRow], progress: Progress) -> None:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(row: RunRow) -> None:
        async with gate:
            try:
                created = await _do(deps, call, order, row.run)
            except asyncio.CancelledError:
                raise
            except Exception as raised:
                error = errors.known(raised)
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


async def _do(deps: Deps, call: Call, order: Order, run_id: str) -> str:
    """Returns the run that came of it, if one did."""
    if order.action == "cancel":
        await controls.cancel(deps, call, run_id, order.reason, order.grace_ms, order.force)
    elif order.action == "pause":
        await controls.pause(deps, call, run_id, order.reason)
    elif order.action == "resume":
        await controls.resume(deps, call, run_id, order.reason)
    elif order.action == "retry":
        return (await forks.retry(deps, call, run_id, Changes(), "")).run
    else:
        await controls.signal(deps, call, run_id, order.signal, order.payload, f"batch-{order.batch}")
    return ""


def _read_cursor(text: str, digest: str) -> _Cursor | None:
    found = pages.read(text, _Cursor, "cursor", "pass the cursor of the call that broke off, or none")
    if found is not None and found.digest != digest:
        fix = "repeat the call as it was, or begin anew without a cursor"
        raise InvalidError(
            "the cursor belongs to another batch", problems=(Problem("cursor", "made for another call", fix),)
        )
    return found
