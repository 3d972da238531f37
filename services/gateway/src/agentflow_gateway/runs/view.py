"""A run as the API shows it: the fold of its log, payloads fetched within bounds, originals put back on request."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from agentflow_common import events as ev
from agentflow_common import rpc, subjects
from agentflow_common.errors import InvalidError, Problem
from agentflow_common.events import BlobRef, Payload
from agentflow_common.expressions.language import walk
from agentflow_common.expressions.sandbox import ExpressionError
from agentflow_common.runs.fold import RunFold, readable
from agentflow_common.runs.state import MARKER, SETTLED, RunState, StepState, is_marker
from agentflow_gateway import auth_rules, limits
from agentflow_gateway.api.call_context import Call
from agentflow_gateway.definitions import check as definitions
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.runs import archive
from agentflow_gateway.runs.submit import no_such_run, run_key
from agentflow_gateway.store.runs import RunFilter

STEP_OUTPUT_BYTES_MAX: Final = 256 * 1024  # one step's output in an answer; larger: {"$truncated": bytes}
ANSWER_BYTES_MAX: Final = 3 * 1024 * 1024  # clients' default limit is 4 MiB: step outputs beyond it are left out
DERIVED_MAX: Final = 20
ORIGIN_TAG: Final = "agentflow.origin"  # leads from a run to its forks: tags are what runs are found by


class RunView(msgspec.Struct):
    """A run ready to be shown. outputs: by step. last_seq: the newest event that it holds. seeded: steps whose result
    is another run's. derived: forks and retries of this run. unregistered: its definition is not the one that is
    registered under its name and version."""

    state: RunState
    inputs: Any
    output: Any
    outputs: dict[str, Any]
    last_seq: int
    seeded: frozenset[str] = frozenset()
    derived: tuple[str, ...] = ()
    unregistered: bool = False


class Folded(msgspec.Struct, frozen=True):
    """last_seq: the newest event that was folded. seeded: keys of the steps whose result the run began with."""

    state: RunState
    last_seq: int
    seeded: frozenset[str] = frozenset()


async def load(deps: Deps, key: subjects.EntityKey) -> Folded | None:
    """Reads in chunks, so that a long log does not stand in memory twice. None: there is no such run."""
    fold, last_seq = RunFold(), 0
    seeded: frozenset[str] = frozenset()
    async for stored in archive.messages(deps, key):
        event = readable(stored.subject, stored.data)
        if event is not None:
            fold.add(event, stored.seq)
        if isinstance(event, ev.RunSubmitted) and event.seed.value:
            seeded = frozenset(key for key, step in event.seed.value.items() if step.get("status") in SETTLED)
        last_seq = stored.seq
    state = fold.finish()
    return None if state is None else Folded(state, last_seq, seeded)


async def events(deps: Deps, key: subjects.EntityKey) -> list[tuple[int, ev.Event]]:
    """The whole log of a run, as it can be read."""
    return [
        (item.seq, event)
        async for item in archive.messages(deps, key)
        if (event := readable(item.subject, item.data)) is not None
    ]


async def view(deps: Deps, call: Call, run_id: str, *, reveal: bool, reason: str) -> RunView:
    """NotFoundError for a run of nobody or of another org. reveal needs its own permission and a reason; audited."""
    if reveal:
        auth_rules.require(call.identity, "reveal", "GetRun with reveal")
        limits.check_text(reason, "reveal_reason", limits.REASON_CHARS_MAX)
        if not reason.strip():
            raise InvalidError(
                "to reveal originals, say why: the reason is kept in the audit log",
                problems=(Problem("reveal_reason", "empty", "give a reason, for example a ticket number"),),
            )
    loaded = await load(deps, run_key(call, run_id))
    if loaded is None:
        raise no_such_run(run_id)
    state = loaded.state
    inputs = await deps.blobs.unpack(state.inputs)
    output = await deps.blobs.unpack(state.output) if state.output is not None else None
    left = ANSWER_BYTES_MAX - _size(state.inputs) - _size(state.output)
    output, left = await _filled(deps, output, _own_refs(state), left)
    outputs = await _step_outputs(deps, state, left)
    derived = await deps.store.list_runs(call.org, RunFilter(tags={ORIGIN_TAG: run_id}), None, DERIVED_MAX)
    known = await definitions.is_registered(deps, call.org, state.workflow, state.version, state.definition)
    found = RunView(
        state, inputs, output, outputs, loaded.last_seq, loaded.seeded, tuple(row.run for row in derived), not known
    )
    return await _revealed(deps, call, found, reason) if reveal else found


async def _step_outputs(deps: Deps, state: RunState, bytes_left: int) -> dict[str, Any]:
    """Small outputs first, so that one big step does not hide the others."""
    sized = [(_size(step.output), key, step.output) for key, step in state.steps.items() if step.output is not None]
    outputs: dict[str, Any] = {}
    for size, key, payload in sorted(sized, key=lambda item: item[0]):
        if size > STEP_OUTPUT_BYTES_MAX or size > bytes_left:
            outputs[key] = {"$truncated": size}
        else:
            outputs[key] = await deps.blobs.unpack(payload)
            bytes_left -= size
    return outputs


def _own_refs(state: RunState) -> dict[str, BlobRef]:
    """What this run stored out of line, by SHA-256."""
    payloads = [state.inputs, *(step.output for step in state.steps.values())]
    return {found.ref.sha256: found.ref for found in payloads if found is not None and found.ref is not None}


async def _filled(deps: Deps, value: Any, refs: dict[str, BlobRef], bytes_left: int) -> tuple[Any, int]:
    """(the value with parts that are stored out of line in their markers' place, bytes left); see runstate.blob_marker.

    Only what the run itself stored is fetched: a marker that came out of a tool or a model may name anybody's.
    """
    if isinstance(value, list):
        items = []
        for item in value:
            made, bytes_left = await _filled(deps, item, refs, bytes_left)
            items.append(made)
        return items, bytes_left
    if not isinstance(value, dict):
        return value, bytes_left
    ref, path = _marked(value, refs) if is_marker(value) else (None, ())
    if ref is not None:
        try:
            part = walk(await deps.blobs.fetch(ref), path, "output")
        except ExpressionError:
            return value, bytes_left
        size = len(msgspec.json.encode(part))
        return ({"$truncated": size}, bytes_left) if size > bytes_left else (part, bytes_left - size)
    made_fields = {}
    for name, item in value.items():
        made_fields[name], bytes_left = await _filled(deps, item, refs, bytes_left)
    return made_fields, bytes_left


def _marked(marker: dict[str, Any], refs: dict[str, BlobRef]) -> tuple[BlobRef | None, tuple[Any, ...]]:
    """Returns the reference and path of a marker, or None and () for a marker that the run itself did not store."""
    mark, path = marker[MARKER], marker["path"]
    sha256 = mark.get("sha256") if isinstance(mark, dict) else None
    if not isinstance(sha256, str) or not isinstance(path, list):
        return None, ()
    return refs.get(sha256), tuple(path)


def _size(payload: Payload | None) -> int:
    """Bytes as JSON, without fetching what is stored out of line."""
    if payload is None:
        return 0
    return payload.ref.size if payload.ref is not None else len(msgspec.json.encode(payload.value))


async def _revealed(deps: Deps, call: Call, found: RunView, reason: str) -> RunView:
    """One question to the security service, so one entry in the audit log."""
    value = {"inputs": found.inputs, "output": found.output, "outputs": found.outputs, "tags": found.state.tags}
    request = rpc.RestoreRequest(
        org=call.org, run=found.state.run, value=value, actor=call.identity.actor, reason=reason.strip()
    )
    restored = (await call.ask(deps.nc, rpc.RESTORE, request)).value
    found.inputs, found.output, found.outputs = restored["inputs"], restored["output"], restored["outputs"]
    found.state.tags = restored["tags"]
    return found


def pending_steps(state: RunState) -> dict[str, StepState]:
    """Every step of the definition, those that nothing has happened to yet as pending; then children and others."""
    steps: dict[str, StepState] = {}
    for node in state.definition.get("dag", {}).get("nodes", []):
        key = str(node["id"])
        steps[key] = state.steps.get(key) or StepState(kind=str(node.get("type", "")))
        steps[key].kind = steps[key].kind or str(node.get("type", ""))
    return steps | {key: step for key, step in state.steps.items() if key not in steps}
