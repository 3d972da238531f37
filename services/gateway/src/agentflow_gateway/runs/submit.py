"""What the API does to runs: decode, load, decide, append. Answers are plain data; grpc_*.py make messages of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from agentflow_common import events as ev
from agentflow_common import ids, money, rpc, screening, subjects
from agentflow_common.connections import transient
from agentflow_common.errors import AlreadyExistsError, ConflictError, NotFoundError, RetryableError, TerminalError
from agentflow_common.log.event_log import Entry, Fence
from agentflow_gateway import digests, limits
from agentflow_gateway.api import pages
from agentflow_gateway.api.call_context import Call
from agentflow_gateway.definitions import check as definitions
from agentflow_gateway.definitions.check import Checked, Source
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.runs import archive, submission
from agentflow_gateway.runs.submission import Submission
from agentflow_gateway.store.runs import RunFilter, RunRow

log = logging.getLogger(__name__)
KEY_USES_MAX: Final = 100


class Fired(msgspec.Struct, frozen=True):
    """A run that a schedule starts. parent: whom the run tells of its end."""

    run: str
    parent: ev.ParentRef
    origin: ev.OriginRef


async def submit(
    deps: Deps,
    call: Call,
    source: Source,
    inputs: dict[str, Any],
    request: Submission,
    *,
    fired: Fired | None = None,
) -> tuple[str, bool]:
    """(run id, deduplicated). All is validated before anything is written; the one write that counts is fenced.

    fired: the schedule that starts this run and has determined its id.
    Raises InvalidError, NotFoundError (unknown workflow), AlreadyExistsError (key used for something else),
    RetryableError (a service or the log is away: the same call may be sent again).
    """
    submission.check_submission(request)
    encoded = msgspec.json.encode(inputs)
    limits.check_size(len(encoded), deps.settings.inputs_bytes_max)
    limits.check_reserved(encoded, inputs, "inputs")
    keyed = request.idempotency_key
    first: ev.RunSubmitted | None = None
    if fired is not None:
        run = fired.run
        first = await first_event(deps, subjects.key_of(call.org, run)) if keyed else None
    elif keyed:
        run, first = await _run_of_key(deps, call.org, keyed)
    else:
        run = ids.new_run_id()
    checked = await definitions.check(deps, call, source, run)
    full = checked.definition.check_inputs(inputs)

    digest = submission.submission_digest(deps.secret, call.org, checked.identity, inputs, request)
    if first is not None:
        return same(first, digest)
    marks = await definitions.check_name(deps, call, source, checked, request.unregistered)
    await deps.load.admit(call.org, deps.clock.now_ms())
    event = await _event(deps, call, run, checked, full, request, digest)
    if marks:
        event = msgspec.structs.replace(event, tags=event.tags | marks)
    if fired is not None:
        event = msgspec.structs.replace(event, parent=fired.parent, origin=fired.origin)
    return await begin(deps, call, event)


async def _run_of_key(deps: Deps, org: str, key: str) -> tuple[str, ev.RunSubmitted | None]:
    """The run id that a key stands for now, and the run's first event if it was submitted.

    A key holds for as long as the log holds its run. Once that was purged, the key begins a run with another id: under
    the old one, message ids, reservations and late reports of the two could be taken for each other.
    """
    for generation in range(KEY_USES_MAX):
        run = ids.run_id_for_key(org, f"{key}\x00{generation}" if generation else key)
        owner = subjects.key_of(org, run)
        first, listed = await asyncio.gather(first_event(deps, owner), deps.store.has_run(org, run))
        if first is None and listed:  # purged, or submitted between the two looks: what is listed was written
            first = await first_event(deps, owner)
        if first is not None or not listed:
            return run, first
    raise TerminalError(
        f"this idempotency key began {KEY_USES_MAX} runs that are archived; use a new key", kind="idempotency_key_worn"
    )


async def begin(deps: Deps, call: Call, event: ev.RunSubmitted) -> tuple[str, bool]:
    """(run id, deduplicated). Appends the first event of a run, once, whatever becomes of the acknowledgement."""
    run, digest = event.run, event.digest
    key = subjects.key_of(call.org, run)
    data = ev.encode(event)
    submission.check_event_size(len(data))
    entry = Entry(subjects.run_in(key), data, fence=Fence(0))
    try:
        await deps.log.append(entry, call.timeout_s(10.0))
    except ConflictError:
        first = await first_event(deps, key)
        if first is None:
            raise
        return same(first, digest)
    except RetryableError as error:
        if error.kind != "append_unknown":
            raise
        first = await first_event(deps, key)
        if first is None:
            raise
        if first.trace != event.trace:
            return same(first, digest)
    await _remember(deps, event)
    return run, False


async def _event(
    deps: Deps, call: Call, run: str, checked: Checked, inputs: dict[str, Any], request: Submission, digest: str
) -> ev.RunSubmitted:
    """Protects what may be sensitive, packs what is large, and says what was asked."""
    tags, counts = dict(request.tags), dict[str, int]()
    if screening.needs_screening(inputs) or screening.needs_screening(tags):
        reply = await call.ask(
            deps.nc,
            rpc.PROTECT,
            rpc.ProtectRequest(org=call.org, run=run, value={"inputs": inputs, "tags": tags}, purpose="input"),
        )
        inputs, tags, counts = reply.value["inputs"], reply.value["tags"], dict(reply.counts)
    keyed = request.idempotency_key
    cents = request.budget_cents
    return ev.RunSubmitted(
        org=call.org,
        run=run,
        ts=deps.clock.now_ms(),
        trace=call.trace,
        workflow=checked.definition.name,
        version=checked.definition.version,
        definition=checked.canonical,
        inputs=await deps.blobs.pack(inputs, "the inputs"),
        digest=digest,
        prompts=checked.pinned,
        budget_nano=None if cents is None else money.from_cents(cents),
        deadline_ms=request.deadline_ms or checked.definition.deadline_ms,
        tags=tags,
        idempotency_key=digests.stored_key(deps.secret, keyed, screening.needs_screening(keyed)),
        priority=request.priority,
        submitted_by=call.identity.actor,
        redactions=counts,
        definitions=checked.definitions,
    )


def same(first: ev.RunSubmitted, digest: str) -> tuple[str, bool]:
    if digests.same_submission(first, digest):
        return first.run, True
    raise AlreadyExistsError(
        f"this idempotency key was used with another request (run {first.run}); use a new key for a new run",
        kind="idempotency_key_reused",
    )


async def _remember(deps: Deps, event: ev.RunSubmitted) -> None:
    """So that the run is listed before the scheduler has seen it. The projection would bring it anyway."""
    row = RunRow(
        org=event.org,
        run=event.run,
        workflow=event.workflow,
        version=event.version,
        submitted_at=event.ts,
        tags=event.tags,
    )
    with contextlib.suppress(*transient.WEATHER):
        await deps.store.put_runs([row])


async def first_event(deps: Deps, key: subjects.EntityKey) -> ev.RunSubmitted | None:
    """The `run.submitted` of a run, or None if the log holds no such run in this org."""
    stored = await deps.log.read(subjects.run_in(key), limit=1)
    if not stored:
        return None
    event = ev.decode(stored[0].data)
    return event if isinstance(event, ev.RunSubmitted) else None


def run_key(call: Call, run_id: str) -> subjects.EntityKey:
    """The key of a run of the caller's org: the org is part of every subject, so no other org's run can be reached."""
    return subjects.key_of(call.org, ids.check_token(run_id, "run_id"))


def no_such_run(run_id: str) -> NotFoundError:
    return NotFoundError(f"there is no run {run_id!r} in your org; see `agentctl workflow list`", kind="unknown_run")


STATUS_BY_TYPE: Final[Mapping[type[ev.Event], str]] = {
    ev.RunStarted: "running",
    ev.RunWaiting: "waiting",
    ev.RunPaused: "paused",
    ev.RunResumed: "running",
    ev.RunCancelling: "running",
    ev.RunCompensating: "running",
    ev.RunCompleted: "completed",
    ev.RunFailed: "failed",
    ev.RunCancelled: "cancelled",
}
ENDED: Final = frozenset({"completed", "failed", "cancelled"})


async def status_of(deps: Deps, key: subjects.EntityKey) -> str | None:
    """The run's status without folding it, or None if there is no such run."""
    last = await deps.log.last(subjects.out_run(key))
    if last is not None:
        return STATUS_BY_TYPE.get(type(ev.decode(last.data)), "running")
    return "pending" if await first_event(deps, key) is not None else await archive.status(deps, key)


async def list_runs(
    deps: Deps, call: Call, wanted: RunFilter, page_size: int, page_token: str
) -> tuple[list[RunRow], str]:
    """(rows, next page token or empty), newest first, of the caller's org."""
    limit = pages.page_size(page_size)
    limits.check_text(wanted.workflow, "workflow", 64)
    submission.check_tags(wanted.tags)
    limits.check_text(wanted.run_prefix, "run_id_prefix", 64)
    tags = msgspec.json.encode(wanted.tags).decode() * bool(wanted.tags)
    prefix = f"/{wanted.run_prefix}" * bool(wanted.run_prefix)
    filters = (",".join(wanted.statuses), wanted.workflow + prefix + tags)
    place = pages.read(page_token, pages.RunPlace)
    if place is not None:
        pages.check_filters((place.status, place.workflow), filters)
    after = None if place is None else (place.submitted_at, place.run)
    rows = await deps.store.list_runs(call.org, wanted, after, limit + 1)
    if len(rows) <= limit:
        return rows, ""
    rows = rows[:limit]
    return rows, pages.token(pages.RunPlace(rows[-1].submitted_at, rows[-1].run, *filters))
