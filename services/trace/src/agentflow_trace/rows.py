"""Turns a message of a stream into rows of `events`: pure, total (no message is refused) and
cheap.

Every message becomes a row:

- A `step.completed` that reports several steps has a row for each of them. `later` is the number of
  rows of the message after this one, so each message has exactly one row with 0. That row has the
  whole body.
- A schedule is `timer.schedule`.
- An unreadable message is `undecodable`.
- A sequence whose message the server had removed before it was read is `log.removed`. Such a
  schedule fired, was replaced, or was purged.

The rows of a stream therefore have no gap, and a gap always means that rows were lost.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Final, NamedTuple

import msgspec

from agentflow_common import events as ev
from agentflow_common import subjects, telemetry

SCHEDULE: Final = "timer.schedule"
UNDECODABLE: Final = "undecodable"
REMOVED: Final = "log.removed"
SCHEDULE_HEADER: Final = "Nats-Schedule"
_SCHEDULE_LINE: Final = f"\r\n{SCHEDULE_HEADER}:".encode()
_TIMERS: Final = subjects.EVENTS_SUBJECTS[1].removesuffix(">")
PARTITION_ROWS: Final = 10_000_000  # as in migrations/0001_events.sql

_U32 = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
_U64 = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_I64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Ms = Annotated[int, msgspec.Meta(ge=0, le=9_000_000_000_000)]  # the year 2255: DateTime64 ends in 2299


class Row(NamedTuple):
    """The columns of `events`, in order. Times in ms since the epoch; cost in nano-USD."""

    stream: str
    stream_seq: int
    ts: int
    stored_at: int
    org: str = ""
    run: str = ""
    type: str = ""
    subject: str = ""
    seen: int = 0
    step: str = ""
    attempt: int = 0
    kind: str = ""
    status: str = ""
    workflow: str = ""
    version: int = 0
    worker: str = ""
    trace_id: str = ""
    provider: str = ""
    model: str = ""
    prompt: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nano: int = 0
    started_at: int = 0
    duration_ms: float = 0.0
    cache_hit: bool = False
    redactions: dict[str, int] = {}  # noqa: RUF012 - shared and never written to
    error_type: str = ""
    error: str = ""
    body: str = ""
    finish_reason: str = ""
    later: int = 0


_NUMBERS: Final = {
    "attempt": "UInt32",
    "later": "UInt32",
    "version": "UInt32",
    "cost_nano": "Int64",
    "duration_ms": "Float64",
    "cache_hit": "Bool",
}
_TIMES: Final = frozenset({"ts", "stored_at", "started_at"})
_UINT64: Final = frozenset({"stream_seq", "seen", "input_tokens", "output_tokens"})


def _column_type(name: str) -> str:
    if name in _TIMES:
        return "DateTime64(3, 'UTC')"
    if name in _UINT64:
        return "UInt64"
    if name == "redactions":
        return "Map(String, UInt64)"
    return _NUMBERS.get(name, "String")


# the types of the insert: ClickHouse converts String to LowCardinality several times faster than Python
COLUMNS: Final[dict[str, str]] = {name: _column_type(name) for name in Row._fields}


class _Error(msgspec.Struct, gc=False):
    type: str = ""
    message: str = ""


class _Usage(msgspec.Struct, gc=False):
    provider: str = ""
    model: str = ""
    prompt: str = ""
    input_tokens: _U64 = 0
    output_tokens: _U64 = 0
    cost_nano: _I64 = 0
    cache_hit: bool = False
    finish_reason: str = ""


_NONE: Final = _Usage()


class _Wire(msgspec.Struct, gc=False):
    """The fields of all event types that have a column.

    One struct decodes faster than the union of all types.
    """

    type: str
    ts: _Ms
    org: str = ""
    run: str = ""
    trace: str = ""
    seen: _U64 = 0
    step: str = ""
    attempt: _U32 = 0
    kind: str = ""
    action: str = ""
    status: str = ""
    workflow: str = ""
    version: _U32 = 0
    worker: str = ""
    actor: str = ""
    prompt: str = ""
    provider: str = ""
    model: str = ""
    input_tokens: _U64 = 0
    output_tokens: _U64 = 0
    cost_nano: _I64 = 0
    started_at: _Ms = 0
    duration_ms: float = 0.0
    redactions: dict[str, _U64] = {}
    counts: dict[str, _U64] = {}
    error: _Error | None = None
    llm: _Usage | None = None
    reason: str = ""


_decoder: Final = msgspec.json.Decoder(_Wire)
_trace_id: Final = functools.lru_cache(4096)(telemetry.trace_id)  # events of one run have the same, and few subjects
_COMPLETED: Final = ev.event_type(ev.StepCompleted)
_BEFORE: Final = b'"before":'


def of(
    stream: str,
    subject: str,
    data: bytes,
    seq: int,
    stored_at: int,
    headers: dict[str, str] | bytes | None = None,
) -> Row:
    """Returns the row of one message.

    The subject decides its org and run, because the log's rules protect it. The body adds the rest. headers: parsed, or
    as they came.
    """
    org, run = owner(subject)
    body = text(data)
    mark = _SCHEDULE_LINE if isinstance(headers, bytes) else SCHEDULE_HEADER
    scheduled = subject.startswith(_TIMERS) or (headers is not None and mark in headers)
    try:
        wire = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        kind = SCHEDULE if scheduled else UNDECODABLE
        return Row(stream, seq, stored_at, stored_at, org, run, kind, subject, body=body)
    if scheduled:
        # the body is the fact that will be appended later: only its place is taken (org, run, step)
        return Row(
            stream, seq, wire.ts, stored_at, org or wire.org, run or wire.run, SCHEDULE, subject,
            step=wire.step, attempt=wire.attempt, kind=wire.kind, trace_id=telemetry.trace_id(wire.trace), body=body,
        )  # fmt: skip
    # a run's final event repeats the sum of its steps' costs, which must not count twice
    own_cost = wire.cost_nano if wire.type == "cost.settled" else 0
    # a child's tokens are in the child's own rows
    own = (0, 0) if wire.type == "child.ended" else (wire.input_tokens, wire.output_tokens)
    usage = wire.llm
    if usage is None:
        named = wire.provider or wire.model or wire.prompt or own_cost or own != (0, 0)
        usage = _Usage(wire.provider, wire.model, wire.prompt, *own, own_cost) if named else _NONE
    error = wire.error
    values = (
        stream,
        seq,
        wire.ts,
        stored_at,
        org or wire.org,
        run or wire.run,
        wire.type,
        subject,
        wire.seen,
        wire.step,
        wire.attempt,
        wire.kind or wire.action,
        wire.status,
        wire.workflow,
        wire.version,
        wire.worker or wire.actor,
        _trace_id(wire.trace),
        usage.provider,
        usage.model,
        usage.prompt,
        usage.input_tokens,
        usage.output_tokens,
        usage.cost_nano,
        wire.started_at,
        wire.duration_ms,
        usage.cache_hit,
        wire.redactions or wire.counts,
        error.type if error else "",
        error.message if error else wire.reason,
        body,
        usage.finish_reason,
        0,
    )
    return tuple.__new__(Row, values)  # each message of the log comes by here, and Row(...) takes several times as long


def singly(row: Row, data: bytes) -> Sequence[Row]:
    """Returns the rows of a message, given the row that `of` makes of it: one for each step that it reports."""
    if row.type != _COMPLETED or _BEFORE not in data:
        return (row,)
    event = ev.try_decode(data)
    reports = () if event is None else ev.single(event)[:-1]
    before = [of(row.stream, row.subject, ev.encode(report), row.stream_seq, row.stored_at) for report in reports]
    return (*(one._replace(later=len(before) - number) for number, one in enumerate(before)), row)


def parts(found: Iterable[Row]) -> Iterator[tuple[int, Row]]:
    """Yields each row with its place among the rows of its message, from 0. The rows are in order."""
    part = 0
    for row in found:
        yield part, row
        part = part + 1 if row.later else 0


def own_body(row: Row, part: int) -> str:
    """Returns the body of an event without the steps that it reports beside its own. part: its place, see `parts`."""
    if not part or row.later:
        return row.body
    event = ev.try_decode(row.body.encode())
    return row.body if event is None else ev.encode(ev.single(event)[-1]).decode()


def text(data: bytes) -> str:
    """Returns a message as text for the column `body`."""
    return data.decode("utf-8", "backslashreplace")


def removed(stream: str, seq: int, stored_at: int) -> Row:
    """Returns the row of a sequence whose message has left the log. stored_at: of the message after it."""
    return Row(stream, seq, stored_at, stored_at, type=REMOVED)


@functools.lru_cache(4096)
def owner(subject: str) -> tuple[str, str]:
    """Returns (org, run) of a subject; empty strings if it does not name them."""
    key = subjects.parse(subject)
    if key is not None:
        return key.org, key.name
    parts = subject.split(".")
    if len(parts) == 4 and parts[1] in {"cost", "audit"}:
        return parts[2], "" if parts[3] == "_" else parts[3]
    if len(parts) >= 5 and parts[1] == "timer":
        return "", parts[3]
    return "", ""


def columns(rows: list[Row]) -> list[tuple[Any, ...]]:
    """Returns rows as columns, in the order of COLUMNS."""
    return list(zip(*rows, strict=True))


def stretches(first: int, last: int, most: int) -> Iterator[tuple[int, int]]:
    """Yields (first sequence, number) for the parts of a stretch: each in one partition, and of `most` at the most."""
    while first <= last:
        end = min(last, (first // PARTITION_ROWS + 1) * PARTITION_ROWS - 1, first + most - 1)
        yield first, end - first + 1
        first = end + 1


def same_partition(rows: list[Row]) -> int:
    """Returns the number of first rows in one partition, so that inserting them is atomic."""
    partition = rows[0].stream_seq // PARTITION_ROWS
    if rows[-1].stream_seq // PARTITION_ROWS == partition:
        return len(rows)
    return next(n for n, row in enumerate(rows) if row.stream_seq // PARTITION_ROWS != partition)
