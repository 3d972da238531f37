"""A run as the API shows it: the fold of its log, payloads within bounds, original values on request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from agentflow_common import events as ev
from agentflow_common import rpc
from agentflow_common.events import BlobRef, Payload
from agentflow_common.expressions.language import walk
from agentflow_common.expressions.sandbox import ExpressionError
from agentflow_common.log.consumers import Delivery
from agentflow_common.log.event_log import Stored
from agentflow_common.runs.fold import RunFold, readable
from agentflow_common.runs.state import MARKER, SETTLED, RunState, StepState, is_marker, node_of
from agentflow_gateway.api.call import Call
from agentflow_gateway.definitions import check as definitions
from agentflow_gateway.runs import archive
from agentflow_gateway.runs.lookup import no_such_run, run_key

STEP_OUTPUT_BYTES_MAX: Final = 256 * 1024  # one step's output in an answer; larger: {"$truncated": bytes}
ANSWER_BYTES_MAX: Final = 3 * 1024 * 1024  # clients' default limit is 4 MiB: step outputs beyond it are left out
ORIGIN_TAG: Final = "agentflow.origin"  # leads from a run to its forks: tags are what runs are found by


class RunView(msgspec.Struct):
    """A run ready to be shown."""

    state: RunState
    inputs: Any
    output: Any
    outputs: dict[str, Any]  # by step
    shared: dict[str, Any] | None  # the shared state of a graph
    first_seq: int  # of the run's first event
    last_seq: int  # of the newest event that is in the state
    seeded: frozenset[str] = frozenset()  # steps whose result is another run's
    derived: tuple[str, ...] = ()  # forks and retries of this run
    unregistered: bool = False  # another definition is registered under its definition's name and version
    text: str = ""  # its definition as registered texts are written


class Beside(NamedTuple):
    """The part of an answer about a run that is not in its log."""

    derived: tuple[str, ...]
    unregistered: bool


class Folded(msgspec.Struct, frozen=True):
    """A run as its log gives it."""

    state: RunState
    first_seq: int  # of the first event
    last_seq: int  # of the newest event that was folded
    seeded: frozenset[str] = frozenset()  # steps whose result the run began with


async def load(call: Call, run_id: str) -> Folded | None:
    """Folds the run's log. None if there is no such run."""
    folding = _Folding()
    async for stored in archive.messages(call, run_key(call, run_id)):
        folding.add(stored)
    return folding.finish()


def fold(messages: Iterable[Stored | Delivery]) -> Folded | None:
    """Folds a whole log that is at hand. Pure."""
    folding = _Folding()
    for message in messages:
        folding.add(message)
    return folding.finish()


class _Folding:
    def __init__(self) -> None:
        self._fold = RunFold()
        self._first_seq = 0
        self._last_seq = 0
        self._seeded: frozenset[str] = frozenset()

    def add(self, message: Stored | Delivery) -> None:
        event = readable(message.subject, message.data)
        if event is not None:
            self._fold.add(event, message.seq)
        if isinstance(event, ev.RunSubmitted) and event.seed.value:
            self._seeded = frozenset(key for key, step in event.seed.value.items() if step.get("status") in SETTLED)
        self._first_seq = self._first_seq or message.seq
        self._last_seq = message.seq

    def finish(self) -> Folded | None:
        state = self._fold.finish()
        return None if state is None else Folded(state, self._first_seq, self._last_seq, self._seeded)


async def state_of(call: Call, run_id: str) -> RunState:
    """Returns the run's state. NotFoundError for an unknown run."""
    folded = await load(call, run_id)
    if folded is None:
        raise no_such_run(run_id)
    return folded.state


async def events(call: Call, run_id: str) -> list[tuple[int, ev.Event]]:
    """Returns (sequence, event) for every readable event of a run."""
    return [
        (item.seq, event)
        async for item in archive.messages(call, run_key(call, run_id))
        if (event := readable(item.subject, item.data)) is not None
    ]


async def view(
    call: Call, run_id: str, *, reveal: bool, reason: str, whole: Iterable[Delivery] | None = None
) -> RunView:
    """Returns the run for the API. NotFoundError for an unknown run and for another org's.

    reveal: with original values. That needs its own permission and a reason, and is audited.
    whole: the run's log, if it is at hand.
    """
    if reveal:
        call.check_reveal(reason, "GetRun with reveal")
    folded = await load(call, run_id) if whole is None else fold(whole)
    if folded is None:
        raise no_such_run(run_id)
    state, deps = folded.state, call.deps
    inputs = await deps.blobs.unpack(state.inputs)
    output = await deps.blobs.unpack(state.output) if state.output is not None else None
    bytes_left = ANSWER_BYTES_MAX - _size(state.inputs) - _size(state.output)
    output, bytes_left = await _filled(call, output, _own_refs(state), bytes_left)
    shared, bytes_left = await _shared_state(call, state, bytes_left)
    text = definitions.registered_text(state.definition)
    beside = await beside_log(call, run_id, folded.first_seq, state.workflow, state.version, text)
    shown = RunView(
        state=state,
        inputs=inputs,
        output=output,
        outputs=(await _within(call, _outputs_of(state), bytes_left))[0],
        shared=shared,
        first_seq=folded.first_seq,
        last_seq=folded.last_seq,
        seeded=folded.seeded,
        derived=beside.derived,
        unregistered=beside.unregistered,
        text=text,
    )
    return await _revealed(call, shown, reason) if reveal else shown


async def beside_log(call: Call, run_id: str, first_seq: int, name: str, version: int, text: str) -> Beside:
    """Returns what the tables say about a run.

    first_seq: of its first event.
    text: its definition as registered texts are written.
    """
    derived = await call.store.shown.derived(call.org, run_id, first_seq)
    row = await call.store.definitions.find(call.org, name, version)
    same = row is not None and row.canonical == text
    if row is not None and not same:  # it may have been written differently
        same = await definitions.is_registered(call, name, version, msgspec.json.decode(text))
    return Beside(derived, not same)


def _outputs_of(state: RunState) -> dict[str, Payload]:
    return {key: step.output for key, step in state.steps.items() if step.output is not None}


async def _shared_state(call: Call, state: RunState, bytes_left: int) -> tuple[dict[str, Any] | None, int]:
    """Returns (the shared state of a graph or None, bytes left)."""
    if "graph" not in state.definition:
        return None, bytes_left
    values, bytes_left = await _within(call, state.shared, bytes_left)
    refs = _own_refs(state)
    shared: dict[str, Any] = {}
    for key in state.shared:
        shared[key], bytes_left = await _filled(call, values[key], refs, bytes_left)
    return shared, bytes_left


async def _within(call: Call, payloads: Mapping[str, Payload], bytes_left: int) -> tuple[dict[str, Any], int]:
    """Returns (the values, bytes left): small ones first, so that one big value does not hide the others."""
    values: dict[str, Any] = {}
    for key, payload in sorted(payloads.items(), key=lambda item: _size(item[1])):
        size = _size(payload)
        if size > STEP_OUTPUT_BYTES_MAX or size > bytes_left:
            values[key] = {"$truncated": size}
        else:
            values[key] = await call.deps.blobs.unpack(payload)
            bytes_left -= size
    return values, bytes_left


def _own_refs(state: RunState) -> dict[str, BlobRef]:
    """Returns what this run stored out of line, by SHA-256."""
    payloads = [state.inputs, *(step.output for step in state.steps.values()), *state.shared.values()]
    return {item.ref.sha256: item.ref for item in payloads if item is not None and item.ref is not None}


async def _filled(call: Call, value: Any, refs: dict[str, BlobRef], bytes_left: int) -> tuple[Any, int]:
    """Returns (the value with markers replaced by the parts that they stand for, bytes left); see runs.state.

    Only what the run itself stored is fetched: a marker that came out of a tool or a model may name another run's.
    """
    if isinstance(value, list):
        items = []
        for item in value:
            part, bytes_left = await _filled(call, item, refs, bytes_left)
            items.append(part)
        return items, bytes_left
    if not isinstance(value, dict):
        return value, bytes_left
    ref, path = _marked(value, refs) if is_marker(value) else (None, ())
    if ref is not None:
        try:
            part = walk(await call.deps.blobs.fetch(ref), path, "output")
        except ExpressionError:
            return value, bytes_left
        size = len(msgspec.json.encode(part))
        return ({"$truncated": size}, bytes_left) if size > bytes_left else (part, bytes_left - size)
    fields = {}
    for name, item in value.items():
        fields[name], bytes_left = await _filled(call, item, refs, bytes_left)
    return fields, bytes_left


def _marked(marker: dict[str, Any], refs: dict[str, BlobRef]) -> tuple[BlobRef | None, tuple[Any, ...]]:
    """Returns the reference and path of a marker, or None and () for a marker that the run itself did not store."""
    mark, path = marker[MARKER], marker["path"]
    sha256 = mark.get("sha256") if isinstance(mark, dict) else None
    if not isinstance(sha256, str) or not isinstance(path, list):
        return None, ()
    return refs.get(sha256), tuple(path)


def _size(payload: Payload | None) -> int:
    """Returns the bytes as JSON, without fetching what is stored out of line."""
    if payload is None:
        return 0
    return payload.ref.size if payload.ref is not None else len(msgspec.json.encode(payload.value))


async def _revealed(call: Call, view: RunView, reason: str) -> RunView:
    """Asks the security service once, so that the audit log gets one entry."""
    value = {"inputs": view.inputs, "output": view.output, "outputs": view.outputs, "tags": view.state.tags}
    if view.shared is not None:
        value["shared"] = view.shared
    request = rpc.RestoreRequest(
        org=call.org, run=view.state.run, value=value, actor=call.identity.actor, reason=reason.strip()
    )
    restored = (await call.ask(rpc.RESTORE, request)).value
    view.inputs, view.output, view.outputs = restored["inputs"], restored["output"], restored["outputs"]
    view.state.tags, view.shared = restored["tags"], restored.get("shared")
    return view


def pending_steps(state: RunState) -> dict[str, StepState]:
    """Returns every step of the definition, as pending if nothing has happened to it yet, then children and others."""
    nodes = {str(node["id"]): node for node in state.definition.get("dag", {}).get("nodes", [])}
    steps = {key: state.steps.get(key) or StepState() for key in nodes}
    steps |= {key: step for key, step in state.steps.items() if key not in steps}
    for key, step in steps.items():
        step.kind = step.kind or _kind_of(key, nodes)
    return steps


def _kind_of(key: str, nodes: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns the type of a step by its place: that of its node, or of the body of the map at its level."""
    work: Mapping[str, Any] = nodes.get(node_of(key), {})
    for _ in range(key.count("[")):
        work = work.get("config", {}).get("body") or work  # a parallel node has no body: its parts do what it does
    return str(work.get("type", ""))
