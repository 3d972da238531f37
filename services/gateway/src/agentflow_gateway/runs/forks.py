"""Forks and retries of runs: load the run, let forking.py say what is kept, and begin the new run, once for a key."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any, Final

import msgspec

from agentflow_common import events as ev
from agentflow_common import ids, rpc, screening, subjects
from agentflow_common.definition.model import Definition, load_trusted
from agentflow_common.errors import AlreadyExistsError, InvalidError, Problem
from agentflow_common.events import OriginRef, Payload
from agentflow_common.runs import fork as forking
from agentflow_common.runs.fold import fold
from agentflow_common.runs.fork import Changes, Seed
from agentflow_common.runs.state import RunState, StepState
from agentflow_gateway import digests, limits
from agentflow_gateway.api.call_context import Call
from agentflow_gateway.definitions import check as definitions
from agentflow_gateway.definitions import unknown_names
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.runs import controls, submission, submit
from agentflow_gateway.runs import view as run_view
from agentflow_gateway.runs.submit import first_event, no_such_run, run_key

_LIGHT_BYTES: Final = 1024  # smaller outputs stay in the seed: a reference is hardly shorter
_BEGINS: Final = (
    ev.StepScheduled, ev.StepQueued, ev.StepWaiting, ev.StepExpanded, ev.StepIterated, ev.StepSkipped,
    ev.StepUndecidable,
)  # fmt: skip


class Forked(msgspec.Struct, frozen=True):
    """kept: steps whose result the new run has. stale: those of them that had read an input that was changed."""

    run: str
    deduplicated: bool
    kept: tuple[str, ...]
    stale: tuple[str, ...] = ()


async def fork(
    deps: Deps, call: Call, run_id: str, at: str, changes: Changes, key: str, tags: dict[str, str]
) -> Forked:
    """A new run from the step `at` of any run. NotFoundError, InvalidError with places."""
    submission.check_tags(tags)
    limits.check_text(at, "at", 200)
    if not at:
        raise InvalidError(
            "no step to fork at was given",
            problems=(Problem("at", "is empty", "name the step that is to run first"),),
        )
    digest = _digest(deps, [call.org, run_id, "fork", at, changes, tags])
    if (there := await _there(deps, call, "fork", run_id, key, digest)) is not None:
        return there
    log = await run_view.events(deps, run_key(call, run_id))
    state = fold(log)
    if state is None:
        raise no_such_run(run_id)
    definition = load_trusted(state.definition)
    before = _before(log, forking.whole_of(at)) if forking.has_visits(definition) else state
    seed = forking.fork(state, before or state, definition, at, changes)
    return await _begin(deps, call, _New("fork", at, key, digest, tags), state, definition, seed, changes)


async def retry(deps: Deps, call: Call, run_id: str, changes: Changes, key: str) -> Forked:
    """A new run that goes on where a failed or cancelled one stopped; the same key gives the same run."""
    digest = _digest(deps, [call.org, run_id, "retry", changes])
    if (there := await _there(deps, call, "retry", run_id, key, digest, always=True)) is not None:
        return there
    state = await controls.loaded(deps, call, run_id)
    definition = load_trusted(state.definition)
    seed = forking.retry(state, definition, changes)
    return await _begin(deps, call, _New("retry", "", key, digest, {}), state, definition, seed, changes)


class _New(msgspec.Struct, frozen=True):
    kind: str
    at: str
    key: str
    digest: str
    tags: dict[str, str]


def _digest(deps: Deps, covered: list[Any]) -> str:
    return hmac.new(deps.secret, msgspec.json.encode(covered, order="sorted"), hashlib.sha256).hexdigest()


def _run_id(call: Call, kind: str, origin: str, key: str) -> str:
    if kind == "fork" and not key:
        return ids.new_run_id()
    limits.check_text(key, "idempotency_key", limits.IDEMPOTENCY_KEY_CHARS_MAX)
    return ids.run_id_for_key(call.org, f"\x01{kind}\x00{origin}\x00{key}")


async def _there(
    deps: Deps, call: Call, kind: str, origin: str, key: str, digest: str, *, always: bool = False
) -> Forked | None:
    """What an earlier call with this key made."""
    if not key and not always:
        return None
    run = _run_id(call, kind, origin, key)
    owner = subjects.key_of(call.org, run)
    first = await first_event(deps, owner)
    if first is None and await deps.store.has_run(call.org, run):
        first = await first_event(deps, owner)  # submitted between the two looks
        if first is None:
            return Forked(run, True, ())  # archived: it was made, and is not made again
    if first is None:
        return None
    if not key and not digests.same_submission(first, digest):
        raise AlreadyExistsError(
            f"run {origin} has been retried as {run} with other changes: retry that one, or give an idempotency key"
            " for another retry of this one",
            kind="idempotency_key_reused",
        )
    seed = Seed(msgspec.convert(first.seed.value or {}, dict[str, StepState]))
    return Forked(submit.same(first, digest)[0], True, seed.kept)


def _before(log: list[tuple[int, ev.Event]], at: str) -> RunState | None:
    """The run as it was just before the step first began; None if it never did."""
    for place, (_, event) in enumerate(log):
        if isinstance(event, _BEGINS) and event.step == at:
            return fold(log[:place])
    return None


async def _begin(
    deps: Deps, call: Call, new: _New, state: RunState, definition: Definition, seed: Seed, changes: Changes
) -> Forked:
    origin = state.run
    run = _run_id(call, new.kind, origin, new.key)
    changes = msgspec.structs.replace(
        changes,
        prompts=await _pinned(deps, call, changes.prompts),
        step_inputs=await call.protect(deps.nc, run, changes.step_inputs),
    )
    edited = forking.edited(definition, seed, changes)
    canonical = definitions.loaded_of(edited).canonical if changes.nodes else state.definition
    encoded = msgspec.json.encode(changes.inputs)
    limits.check_size(len(encoded), deps.settings.inputs_bytes_max)
    limits.check_reserved(encoded, changes.inputs, "inputs")
    if state.redactions:  # what was redacted stays redacted in the new run, and can be put back there
        await call.ask(deps.nc, rpc.ADOPT, rpc.AdoptRequest(org=call.org, run=run, origin=origin))
    inputs = state.inputs
    if changes.inputs:
        fresh = await call.protect(deps.nc, run, changes.inputs)
        whole = forking.merged_inputs(await deps.blobs.unpack(state.inputs), fresh)
        inputs = await deps.blobs.pack(edited.check_inputs(whole), "the inputs")
    steps = forking.encoded_steps(await _lightened(deps, seed))
    await deps.load.admit(call.org, deps.clock.now_ms())
    event = ev.RunSubmitted(
        org=call.org,
        run=run,
        ts=deps.clock.now_ms(),
        trace=call.trace,
        workflow=state.workflow,
        version=state.version,
        definition=canonical,
        inputs=inputs,
        digest=new.digest,
        prompts=state.prompts | {ref: ref for ref in changes.prompts.values()},
        budget_nano=state.budget_nano,
        deadline_ms=state.deadline_ms,
        tags=state.tags
        | await _tags(deps, call, run, new.tags)
        | {run_view.ORIGIN_TAG: origin}
        | await _marks(deps, call, state, canonical),
        idempotency_key=digests.stored_key(deps.secret, new.key, screening.needs_screening(new.key)),
        priority=state.priority,
        submitted_by=call.identity.actor,
        redactions=state.redactions,
        origin=OriginRef(origin, new.kind, new.at),
        seed=Payload(value=steps),
        definitions=state.definitions,
        position=seed.position,
    )
    begun, deduplicated = await submit.begin(deps, call, event)
    stale = forking.stale_steps(definition, seed, changes.inputs)
    return Forked(begun, deduplicated, seed.kept, stale)


async def _marks(deps: Deps, call: Call, state: RunState, canonical: dict[str, Any]) -> dict[str, str]:
    """The mark of a fork whose definition was changed while its name and version are registered."""
    row = await deps.store.find_definition(call.org, state.workflow, state.version)
    if row is None or await definitions.is_registered(deps, call.org, state.workflow, state.version, canonical):
        return {}
    return {definitions.UNREGISTERED_TAG: definitions.UNREGISTERED}


async def _tags(deps: Deps, call: Call, run: str, tags: dict[str, str]) -> dict[str, str]:
    return dict(await call.protect(deps.nc, run, tags))


async def _pinned(deps: Deps, call: Call, prompts: dict[str, str]) -> dict[str, str]:
    """The prompts by node as `name@version`: what is changed means what the reference says today."""
    if not prompts:
        return {}
    refs = tuple(dict.fromkeys(prompts.values()))
    reply = await call.ask(deps.nc, rpc.PROMPT_RESOLVE, rpc.ResolvePromptsRequest(org=call.org, refs=refs))
    if reply.missing:
        listed = await call.ask(deps.nc, rpc.PROMPT_LIST, rpc.ListPromptsRequest(org=call.org, limit=1000))
        places = {ref: f"prompts.{node}" for node, ref in prompts.items()}
        problems = unknown_names.missing_prompts(places, reply.missing, [prompt.name for prompt in listed.prompts])
        raise InvalidError(f"the changes don't fit the run: {problems[0]}", problems=problems)
    return {node: reply.pinned[ref] for node, ref in prompts.items()}


async def _lightened(deps: Deps, seed: Seed) -> Seed:
    """Where the kept outputs together are too large for one message, they are stored out of line first."""
    if len(msgspec.json.encode(seed.steps)) <= forking.SEED_BYTES_MAX // 2:
        return seed
    steps = dict(seed.steps)
    for key, step in steps.items():
        output = step.output
        if output is None or output.ref is not None or len(msgspec.json.encode(output.value)) <= _LIGHT_BYTES:
            continue
        ref = await deps.blobs.store(output.value, f"the output of {key}")
        steps[key] = msgspec.structs.replace(step, output=Payload(ref=ref))
    return Seed(steps, seed.position, seed.again)
