"""Forks and retries of runs: loads the run, asks runs/fork.py what is kept, and begins the new run once for a key."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from agentflow_common import events as ev
from agentflow_common import ids, rpc, subjects
from agentflow_common.definition.model import Definition, load_trusted
from agentflow_common.errors import AlreadyExistsError, InvalidError
from agentflow_common.events import OriginRef, Payload
from agentflow_common.runs import fork as forking
from agentflow_common.runs.fold import fold
from agentflow_common.runs.fork import Changes, Seed
from agentflow_common.runs.parts import whole_of
from agentflow_common.runs.state import RunState, StepState
from agentflow_gateway import digests, limits
from agentflow_gateway.api.call import Call
from agentflow_gateway.definitions import check as definitions
from agentflow_gateway.runs import submission, submit
from agentflow_gateway.runs import view as run_view
from agentflow_gateway.runs.lookup import first_event, no_such_run

_LIGHT_BYTES: Final = 1024  # smaller outputs stay in the seed: a reference is hardly shorter
_BEGINS: Final = (
    ev.StepScheduled,
    ev.StepQueued,
    ev.StepWaiting,
    ev.StepExpanded,
    ev.StepIterated,
    ev.StepSkipped,
    ev.StepUndecidable,
)


class Forked(msgspec.Struct, frozen=True):
    """The new run, or the one that an earlier call with the same key made."""

    run: str
    deduplicated: bool
    kept: tuple[str, ...]  # steps whose result the new run has
    stale: tuple[str, ...] = ()  # those of them that had read an input that was changed


class _New(msgspec.Struct, frozen=True):
    """A request for a fork or a retry."""

    kind: str
    origin: str
    key: str
    digest: str
    changes: Changes
    at: str = ""
    tags: dict[str, str] = {}


async def fork(call: Call, run_id: str, at: str, changes: Changes, *, key: str, tags: dict[str, str]) -> Forked:
    """Begins a new run from the step `at` of any run. NotFoundError; InvalidError with places."""
    submission.check_tags(tags)
    limits.check_text(at, "at", 200)
    if not at:
        raise InvalidError.at("at", "the step to fork at is not given", "name the step that is to run first")
    digest = digests.digest_of(call.deps.secret, [call.org, run_id, "fork", at, changes, tags])
    new = _New("fork", run_id, key, digest, changes, at, tags)
    if key and (earlier := await _made_earlier(call, new)) is not None:
        return earlier
    log = await run_view.events(call, run_id)
    state = fold(log)
    if state is None:
        raise no_such_run(run_id)
    definition = load_trusted(state.definition)
    before = _before(log, whole_of(at)) if forking.has_visits(definition) else state
    seed = forking.fork(state, before or state, definition, at, changes)
    return await _begin(call, new, state, definition, seed)


async def retry(call: Call, run_id: str, changes: Changes, *, key: str) -> Forked:
    """Begins a new run where a failed or cancelled one stopped. The same key gives the same run."""
    digest = digests.digest_of(call.deps.secret, [call.org, run_id, "retry", changes])
    new = _New("retry", run_id, key, digest, changes)
    if (earlier := await _made_earlier(call, new)) is not None:
        return earlier
    state = await run_view.state_of(call, run_id)
    definition = load_trusted(state.definition)
    return await _begin(call, new, state, definition, forking.retry(state, definition, changes))


def _run_id(call: Call, new: _New) -> str:
    if new.kind == "fork" and not new.key:
        return ids.new_run_id()
    limits.check_text(new.key, "idempotency_key", limits.IDEMPOTENCY_KEY_CHARS_MAX)
    return ids.run_id_for_key(call.org, f"\x01{new.kind}\x00{new.origin}\x00{new.key}")


async def _made_earlier(call: Call, new: _New) -> Forked | None:
    """Returns what an earlier call with this key made."""
    run = _run_id(call, new)
    owner = subjects.key_of(call.org, run)
    first = await first_event(call.deps, owner)
    if first is None and await call.store.runs.has(call.org, run):
        first = await first_event(call.deps, owner)  # submitted between the two looks
        if first is None:
            return Forked(run, True, ())  # archived: it was made, and is not made again
    if first is None:
        return None
    if not new.key and not digests.same_submission(first, new.digest):
        raise AlreadyExistsError(
            f"run {new.origin} has been retried as {run} with other changes: retry that one, or give an idempotency "
            "key for another retry of this one",
            kind="idempotency_key_reused",
        )
    seed = Seed(msgspec.convert(first.seed.value or {}, dict[str, StepState]))
    return Forked(submit.same(first, new.digest)[0], True, seed.kept)


def _before(log: list[tuple[int, ev.Event]], at: str) -> RunState | None:
    """Returns the run as it was just before the step first began, or None if it never did."""
    for place, (_, event) in enumerate(log):
        if isinstance(event, _BEGINS) and event.step == at:
            return fold(log[:place])
    return None


async def _begin(call: Call, new: _New, state: RunState, definition: Definition, seed: Seed) -> Forked:
    run, deps = _run_id(call, new), call.deps
    changes = msgspec.structs.replace(
        new.changes,
        prompts=await _pinned(call, new.changes.prompts),
        step_inputs=await call.protect(run, new.changes.step_inputs),
    )
    edited = forking.edited(definition, seed, changes)
    canonical = definitions.loaded_of(edited).canonical if changes.nodes else state.definition
    encoded = msgspec.json.encode(changes.inputs)
    limits.check_size(len(encoded), deps.settings.inputs_bytes_max)
    limits.check_reserved(encoded, changes.inputs, "inputs")
    if state.redactions:  # what was redacted stays redacted in the new run, and can be put back there
        await call.ask(rpc.ADOPT, rpc.AdoptRequest(org=call.org, run=run, origin=new.origin))
    inputs = state.inputs
    if changes.inputs:
        fresh = await call.protect(run, changes.inputs)
        whole = forking.merged_inputs(await deps.blobs.unpack(state.inputs), fresh)
        inputs = await deps.blobs.pack(edited.check_inputs(whole, private=True), "the inputs")
    steps = forking.encoded_steps(await _lightened(call, seed))
    await deps.load.admit(call.org, call.now_ms())
    tags = {
        **state.tags,
        **await call.protect(run, new.tags),
        run_view.ORIGIN_TAG: new.origin,
        **await _marks(call, state, canonical),
    }
    event = ev.RunSubmitted(
        **call.header(run),
        workflow=state.workflow,
        version=state.version,
        definition=canonical,
        inputs=inputs,
        digest=new.digest,
        prompts=state.prompts | {ref: ref for ref in changes.prompts.values()},
        budget_nano=state.budget_nano,
        deadline_ms=state.deadline_ms,
        tags=tags,
        idempotency_key=digests.stored_key(deps.secret, new.key),
        priority=state.priority,
        submitted_by=call.identity.actor,
        redactions=state.redactions,
        origin=OriginRef(new.origin, new.kind, new.at),
        seed=Payload(value=steps),
        definitions=state.definitions,
        position=seed.position,
        given_lane=state.given_lane,
    )
    begun, deduplicated = await submit.begin(call, event)
    stale = forking.stale_steps(definition, seed, changes.inputs)
    return Forked(begun, deduplicated, seed.kept, stale)


async def _marks(call: Call, state: RunState, canonical: dict[str, Any]) -> dict[str, str]:
    """Returns the mark of a fork whose definition was changed while its name and version are registered."""
    row = await call.store.definitions.find(call.org, state.workflow, state.version)
    if row is None or await definitions.is_registered(call, state.workflow, state.version, canonical):
        return {}
    return {definitions.UNREGISTERED_TAG: definitions.UNREGISTERED}


async def _pinned(call: Call, prompts: dict[str, str]) -> dict[str, str]:
    """Returns the prompts by node as `name@version`: a change means what its reference means today."""
    pinned, problems = await definitions.resolve_prompts(
        call, {ref: f"prompts.{node}" for node, ref in prompts.items()}
    )
    if problems:
        raise InvalidError.of(problems, "the changes don't fit the run")
    return {node: pinned[ref] for node, ref in prompts.items()}


async def _lightened(call: Call, seed: Seed) -> Seed:
    """Returns the seed with its outputs stored out of line if together they are too large for one message."""
    if len(msgspec.json.encode(seed.steps)) <= forking.SEED_BYTES_MAX // 2:
        return seed
    steps = dict(seed.steps)
    for key, step in steps.items():
        output = step.output
        if output is None or output.ref is not None or len(msgspec.json.encode(output.value)) <= _LIGHT_BYTES:
            continue
        ref = await call.deps.blobs.store(output.value, f"the output of {key}")
        steps[key] = msgspec.structs.replace(step, output=Payload(ref=ref))
    return Seed(steps, seed.position, seed.again)
