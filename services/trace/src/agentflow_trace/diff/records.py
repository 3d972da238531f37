"""A run as a comparison needs it: its steps with all attempts, what each was given and what it gave. Pure.

`machine.fold` gives the attempts. This module adds what has no column: definition, inputs and outputs.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from agentflow_common import events as ev
from agentflow_common.definition.model import Definition
from agentflow_common.errors import UNREADABLE, InvalidError
from agentflow_common.rpc import TraceStep
from agentflow_common.rpc.traces.views import TraceNode
from agentflow_common.runs.state import is_marker, marked_ref, node_of
from agentflow_common.screening import TOKEN
from agentflow_trace import machine, rows
from agentflow_trace.diff.graph import Node, nodes_of
from agentflow_trace.rows import Row
from agentflow_trace.views import nodes as views
from agentflow_trace.views.critical_path import path_of
from agentflow_trace.views.phases import fold as fold_phases

PINNED_MAX: Final = 32  # definitions that are kept in memory


class Value(msgspec.Struct, frozen=True):
    """A JSON value in a form that can be compared between runs."""

    data: Any
    sha256: str
    size: int  # bytes
    stored: bool = False  # the log has only a reference to it


class Step(msgspec.Struct):
    """A step of a run with all of its attempts. Times in ms since the epoch."""

    key: str
    kind: str = ""
    attempts: list[TraceStep] = []
    inputs: Value | None = None  # None: not known
    output: Value | None = None
    child: str = ""
    reused: bool = False

    @property
    def node(self) -> str:
        return node_of(self.key)

    @property
    def last(self) -> TraceStep:
        return self.attempts[-1]


class Pinned(NamedTuple):
    """The definition that a run was submitted with, in the forms that a comparison needs."""

    raw: dict[str, Any]
    nodes: dict[str, Node]
    model: Definition | None  # None: it can't be read
    views: tuple[TraceNode, ...]


NOT_PINNED: Final = Pinned({}, {}, None, ())


class RunRecord(msgspec.Struct):
    """A run. Times in ms since the epoch, cost in nano-USD."""

    run: str
    workflow: str = ""
    version: int = 0
    pinned: Pinned = NOT_PINNED
    prompts: dict[str, str] = {}
    inputs: Value | None = None
    output: Value | None = None
    status: str = ""
    error: str = ""
    origin: str = ""
    submitted_at: int = 0
    ended_at: int = 0
    cost_nano: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    steps: dict[str, Step] = {}
    path: dict[str, dict[str, int]] = {}  # ms on the critical path by step and kind of time; "" is the run itself

    @property
    def duration_ms(self) -> int:
        return max(0, self.ended_at - self.submitted_at)


def value_of(data: Any) -> Value:
    """Returns a value with its digest, in which vault tokens are numbered: their ids differ in every run."""
    if is_marker(data) and not data["path"]:  # a part of a stored value is compared as its marker
        with contextlib.suppress(InvalidError):
            ref = marked_ref(data)
            return Value(None, ref.sha256, ref.size, stored=True)
    text = msgspec.json.encode(data, order="sorted")
    if b"<" in text and TOKEN.search(text.decode()):
        text = msgspec.json.encode(numbered(data), order="sorted")
    return Value(data, hashlib.sha256(text).hexdigest(), len(text))


def numbered(data: Any) -> Any:
    """Returns a value with its vault tokens numbered by their first use."""
    seen: dict[str, str] = {}

    def text(value: str) -> str:
        return TOKEN.sub(lambda match: seen.setdefault(match[0], f"<{match[1]}:{len(seen) + 1}>"), value)

    def walk(value: Any) -> Any:
        if isinstance(value, str):
            return text(value)
        if isinstance(value, dict):
            return {key: walk(value[key]) for key in sorted(value)}
        return [walk(item) for item in value] if isinstance(value, list) else value

    return walk(data)


class _Payload(msgspec.Struct):
    value: Any = None
    ref: ev.BlobRef | None = None


class _Next(msgspec.Struct):
    step: str = ""
    kind: str = ""
    inputs: dict[str, Any] = {}
    refs: dict[str, ev.OutputRef] = {}


class _Wire(msgspec.Struct):
    """The fields of all event types that have no column and are compared."""

    inputs: Any = None
    output: _Payload | None = None
    then: tuple[_Next, ...] = ()
    child: str = ""
    kind: str = ""


class _Submitted(msgspec.Struct):
    definition: msgspec.Raw = msgspec.Raw(b"{}")
    inputs: _Payload = msgspec.field(default_factory=_Payload)
    prompts: dict[str, str] = {}
    version: int = 0
    origin: ev.OriginRef | None = None
    seed: _Payload = msgspec.field(default_factory=_Payload)


class _Seeded(msgspec.Struct):
    status: str = "completed"
    kind: str = ""
    output: _Payload | None = None
    child: str = ""
    llm: ev.LlmUsage | None = None


_wire: Final = msgspec.json.Decoder(_Wire)
_submitted: Final = msgspec.json.Decoder(_Submitted)
_READ: Final = frozenset({"step.scheduled", "step.waiting", "step.completed", "step.resolved", "child.ended"})


def read(run: str, found: Sequence[Row]) -> RunRecord:
    """Returns the record of a run from all of its rows, in the order that the store gives them."""
    line = machine.fold(found)
    record = RunRecord(
        run,
        workflow=line.workflow,
        status=line.status,
        submitted_at=line.submitted_at,
        cost_nano=line.cost_nano,
        input_tokens=line.input_tokens,
        output_tokens=line.output_tokens,
        steps={},
    )
    record.ended_at = line.finished_at or max((row.ts for row in found if row.type not in _LATER), default=0)
    _read_submission(record, found)
    for attempt in line.steps():
        step = record.steps.setdefault(attempt.step, Step(attempt.step, attempts=[]))
        step.attempts.append(attempt)
    _read_bodies(record, found)
    _read_run(record, found)
    _read_path(record, found)
    for step in record.steps.values():
        step.attempts.sort(key=lambda attempt: attempt.attempt)
        if not step.kind and step.node in record.pinned.nodes:
            step.kind = record.pinned.nodes[step.node].kind
    return record


_LATER: Final = frozenset({rows.SCHEDULE, rows.REMOVED})


@lru_cache(PINNED_MAX)
def pinned(data: bytes) -> Pinned:
    """Returns a pinned definition from its JSON. Runs of the same definition share it."""
    try:
        raw = msgspec.json.decode(data, type=dict[str, Any])
        nodes = nodes_of(raw)
    except (*UNREADABLE, LookupError, TypeError, AttributeError):
        return NOT_PINNED
    model = views.loaded(raw)
    return Pinned(raw, nodes, model, views.nodes_of(model))


def _read_submission(record: RunRecord, found: Sequence[Row]) -> None:
    row = next((row for row in found if row.type == "run.submitted"), None)
    if row is None:
        return
    try:
        body = _submitted.decode(row.body)
    except UNREADABLE:
        return
    record.pinned, record.prompts, record.version = pinned(bytes(body.definition)), body.prompts, body.version
    record.inputs = _value(body.inputs)
    record.origin = body.origin.run if body.origin is not None else ""
    for key, seeded in _seeds(body.seed.value).items():
        usage = seeded.llm
        attempt = TraceStep(key, 1, seeded.status)
        if usage is not None:
            attempt.provider, attempt.model, attempt.prompt = usage.provider, usage.model, usage.prompt
        output = _value(seeded.output) if seeded.output is not None else None
        record.steps[key] = Step(key, seeded.kind, attempts=[attempt], output=output, child=seeded.child, reused=True)


def _seeds(value: Any) -> dict[str, _Seeded]:
    try:
        return msgspec.convert(value or {}, dict[str, _Seeded])
    except UNREADABLE:
        return {}


def _read_bodies(record: RunRecord, found: Sequence[Row]) -> None:
    chained: list[_Next] = []
    for part, row in rows.parts(found):
        if row.type not in _READ or not row.step:
            continue
        try:
            body = _wire.decode(rows.own_body(row, part))
        except UNREADABLE:
            continue
        step = record.steps.get(row.step)
        if step is None:
            continue
        if row.type == "step.scheduled":
            step.kind = step.kind or body.kind
            step.inputs = value_of(body.inputs or {})
            chained.extend(body.then)
        elif row.type == "step.waiting":
            step.kind, step.child = step.kind or body.kind, body.child or step.child
        elif body.output is not None and _counts(step, row):
            step.output = _value(body.output)
    for following in chained:
        step = record.steps.get(following.step)
        if step is not None and step.inputs is None:
            step.kind = step.kind or following.kind
            step.inputs = _chained_inputs(record, following)


def _counts(step: Step, row: Row) -> bool:
    """True if the row's output is the step's: reports on an attempt that is over change nothing."""
    return row.attempt == step.last.attempt and step.last.status == "completed"


def _chained_inputs(record: RunRecord, following: _Next) -> Value | None:
    """Returns the inputs of a step that a worker began by itself; None if they are a part of a stored output."""
    inputs = dict(following.inputs)
    for name, ref in following.refs.items():
        source = record.steps.get(ref.step)
        if source is None or source.output is None or source.output.stored:
            return None
        data = source.output.data
        for part in ref.path:
            try:
                data = data[part]
            except (LookupError, TypeError):
                return None
        inputs[name] = data
    return value_of(inputs)


def _value(payload: _Payload) -> Value:
    if payload.ref is not None:
        return Value(None, payload.ref.sha256, payload.ref.size, stored=True)
    return value_of(payload.value)


class _Ended(msgspec.Struct):
    output: _Payload | None = None
    error: ev.StepError | None = None


def _read_run(record: RunRecord, found: Sequence[Row]) -> None:
    for row in found:
        if row.type in machine.ENDED:
            try:
                body = msgspec.json.decode(row.body, type=_Ended)
            except UNREADABLE:
                continue
            record.output = _value(body.output) if body.output is not None else None
            record.error = f"{body.error.type}: {body.error.message}" if body.error is not None else ""


def _read_path(record: RunRecord, found: Sequence[Row]) -> None:
    """Adds the parts of the run's duration. Their sum is the duration."""
    path: dict[str, dict[str, int]] = {}
    phases = fold_phases(found)
    for segment in path_of(phases, record.pinned.model, record.ended_at, record.pinned.views):
        kinds = path.setdefault(segment.step, {})
        kinds[segment.kind] = kinds.get(segment.kind, 0) + segment.ended_at - segment.started_at
    record.path = path
