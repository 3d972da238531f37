"""Submits runs: decode, check, decide, append. Answers are plain data; the gRPC services make messages of them."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from agentflow_common import events as ev
from agentflow_common import ids, money, rpc, screening, subjects
from agentflow_common.errors import AgentFlowError, AlreadyExistsError, ConflictError, RetryableError, TerminalError
from agentflow_common.log.event_log import Fence
from agentflow_gateway import digests, limits
from agentflow_gateway.api.call import Call
from agentflow_gateway.definitions import check as definitions
from agentflow_gateway.definitions.check import Checked, Source
from agentflow_gateway.runs import breakpoint_rules, submission
from agentflow_gateway.runs.lookup import first_event
from agentflow_gateway.runs.submission import Submission
from agentflow_gateway.runs.view import ORIGIN_TAG
from agentflow_gateway.store.runs import RunRow

KEY_USES_MAX: Final = 100


class Fired(msgspec.Struct, frozen=True):
    """A run that a schedule starts."""

    run: str
    parent: ev.ParentRef  # the schedule, to which the run reports its end
    origin: ev.OriginRef
    lane: ev.LaneAsk | None = None  # the run lane that the schedule gives it


async def submit(
    call: Call, source: Source, inputs: dict[str, Any], request: Submission, *, fired: Fired | None = None
) -> tuple[str, bool]:
    """Returns (run id, deduplicated). Everything is checked before anything is written; the one write is fenced.

    fired: the schedule that starts this run and has determined its id.
    Raises InvalidError, NotFoundError (unknown workflow), AlreadyExistsError (key used for another request) and
    RetryableError (a service or the log is away: the same call may be sent again).
    """
    submission.check_submission(request)
    encoded = msgspec.json.encode(inputs)
    limits.check_size(len(encoded), call.deps.settings.inputs_bytes_max)
    limits.check_reserved(encoded, inputs, "inputs")
    key = request.idempotency_key
    first: ev.RunSubmitted | None = None
    if fired is not None:
        run = fired.run
        first = await first_event(call.deps, subjects.key_of(call.org, run)) if key else None
    elif key:
        run, first = await _run_of_key(call, key)
    else:
        run = ids.new_run_id()
    checked = await definitions.check(call, source, run)
    full = checked.definition.check_inputs(inputs)
    breakpoint_rules.check_nodes(checked.canonical, request.break_at)

    digest = submission.submission_digest(call.deps.secret, call.org, checked.identity, inputs, request)
    if first is not None:
        return same(first, digest)
    try:
        marks = await definitions.check_name(call, source, checked, request.unregistered)
        await call.deps.load.admit(call.org, call.now_ms())
    except AgentFlowError:  # an earlier request with this key may have begun the run a moment ago
        first = await first_event(call.deps, subjects.key_of(call.org, run)) if key else None
        if first is None:
            raise
        return same(first, digest)
    event = await _event(call, run, checked, full, request)
    event = msgspec.structs.replace(event, digest=digest, tags=event.tags | marks)
    if fired is not None:
        event = msgspec.structs.replace(event, parent=fired.parent, origin=fired.origin, given_lane=fired.lane)
    return await begin(call, event)


async def _run_of_key(call: Call, key: str) -> tuple[str, ev.RunSubmitted | None]:
    """Returns the run id that a key stands for now, and the run's first event if it was submitted.

    A key is used while the log has its run. After the run was purged, the key begins a run with another id: under the
    old id, message ids, reservations and late reports of the two could be mistaken for each other. A run that is not
    listed is not looked for: if the log has it, the fence of the append refuses a second one.
    """
    if submission.is_fresh(key, call.now_ms()):
        return ids.run_id_for_key(call.org, key), None
    deps = call.deps
    for generation in range(KEY_USES_MAX):
        run = ids.run_id_for_key(call.org, f"{key}\x00{generation}" if generation else key)
        if not await deps.store.runs.has(call.org, run):
            return run, None
        first = await first_event(deps, subjects.key_of(call.org, run))
        if first is not None:
            return run, first
    raise TerminalError(
        f"this idempotency key began {KEY_USES_MAX} runs that are archived; use a new key", kind="idempotency_key_worn"
    )


async def begin(call: Call, event: ev.RunSubmitted) -> tuple[str, bool]:
    """Returns (run id, deduplicated). Appends the first event of a run once, even if the acknowledgement is lost."""
    encoded = ev.encode(event)
    submission.check_event_size(len(encoded))
    try:
        ack = await call.append(event, fence=Fence(0), encoded=encoded)
        call.deps.tails.appended(subjects.key_of(event.org, event.run), ack.seq)
    except (ConflictError, RetryableError) as error:
        if isinstance(error, RetryableError) and error.kind != "append_unknown":
            raise
        first = await first_event(call.deps, subjects.key_of(call.org, event.run))
        if first is None:
            raise
        if isinstance(error, ConflictError) or first.trace != event.trace:
            return same(first, event.digest)
    if (origin := event.tags.get(ORIGIN_TAG)) is not None:
        call.store.derived_memory.add(event.org, origin)
    call.store.runs.put_later(RunRow.submitted(event))
    return event.run, False


async def _event(
    call: Call, run: str, checked: Checked, inputs: dict[str, Any], request: Submission
) -> ev.RunSubmitted:
    """Returns the first event of the run, with sensitive values protected and large inputs packed."""
    tags, counts = dict(request.tags), dict[str, int]()
    if screening.needs_screening(inputs) or screening.needs_screening(tags):
        question = rpc.ProtectRequest(org=call.org, run=run, value={"inputs": inputs, "tags": tags}, purpose="input")
        reply = await call.ask(rpc.PROTECT, question)
        inputs, tags, counts = reply.value["inputs"], reply.value["tags"], dict(reply.counts)
    key = request.idempotency_key
    cents = request.budget_cents
    return ev.RunSubmitted(
        **call.header(run),
        workflow=checked.definition.name,
        version=checked.definition.version,
        definition=checked.canonical,
        inputs=await call.deps.blobs.pack(inputs, "the inputs"),
        prompts=checked.pinned,
        budget_nano=None if cents is None else money.from_cents(cents),
        deadline_ms=request.deadline_ms or checked.definition.deadline_ms,
        tags=tags,
        idempotency_key=digests.stored_key(call.deps.secret, key),
        priority=request.priority,
        submitted_by=call.identity.actor,
        redactions=counts,
        definitions=checked.definitions,
        break_at=tuple(dict.fromkeys(request.break_at)),
        break_every=request.step_by_step,
    )


def same(first: ev.RunSubmitted, digest: str) -> tuple[str, bool]:
    """Returns the run that an earlier request with the same digest began. AlreadyExistsError for another request."""
    if digests.same_submission(first, digest):
        return first.run, True
    raise AlreadyExistsError(
        f"this idempotency key was used with another request (run {first.run}); use a new key for a new run",
        kind="idempotency_key_reused",
    )
