"""The timeline of a run from its rows. Pure, for display only.

The timeline has every attempt, while the fold of a run keeps only a step's newest one. Both apply
the same two rules, so a trace and the run's state never disagree:

- A decision has `seen`, the newest fact that it knew. A fact that it had not seen comes after it,
  wherever it is in the log.
- A report on an attempt that is over changes only the money spent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeVar

import msgspec

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.errors import UNREADABLE
from agentflow_common.rpc import TraceEvent, TraceReply, TraceStep
from agentflow_trace.model_calls import REPORTS, calls_of
from agentflow_trace.rows import REMOVED, SCHEDULE, UNDECODABLE, Row

_T = TypeVar("_T", bound=msgspec.Struct)
DECISIONS: Final = frozenset(ev.event_type(kind) for kind in ev.ALL_TYPES if issubclass(kind, ev.Decision))
ENDED: Final = {"run.completed": "completed", "run.failed": "failed", "run.cancelled": "cancelled"}
MOVED: Final = {
    "run.started": "running", "run.resumed": "running", "run.compensating": "running", "run.waiting": "waiting",
    "run.queued": "waiting", "run.paused": "paused", "run.stopped": "paused", "run.finishing": "running",
}  # fmt: skip
RUN_STATUSES: Final = frozenset({"pending", *MOVED.values(), *ENDED.values()})
_ENDED_BADLY: Final = frozenset({"failed", "retrying", "outcome_unknown"})
_ACTIVE: Final = frozenset({"scheduled", "running"})
APART: Final = frozenset({SCHEDULE, UNDECODABLE, REMOVED, "claim.taken"})  # shown, but never folded


class Timeline(msgspec.Struct):
    """A run, folded from its rows. Times in ms since the epoch; cost in nano-USD."""

    workflow: str = ""
    status: str = "pending"
    trace_id: str = ""
    submitted_at: int = 0
    finished_at: int = 0
    cost_nano: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    redactions: dict[str, int] = {}
    attempts: dict[tuple[str, int], TraceStep] = {}  # attempt 0 is a step that was never offered
    current: dict[str, int] = {}

    def steps(self) -> tuple[TraceStep, ...]:
        """Returns the attempts in the order in which they were first decided, with the time that each waited."""
        for attempt in self.attempts.values():
            attempt.wait_ms = waited_ms(attempt)
        return tuple(self.attempts.values())


def waited_ms(attempt: TraceStep) -> int:
    """Returns how long an attempt waited until it began, or until it ended without a begin."""
    begun = attempt.started_at or (attempt.finished_at if attempt.status not in _ACTIVE else 0)
    return max(0, begun - attempt.scheduled_at) if begun and attempt.scheduled_at else 0


class Folding:
    """A timeline in hand. Rows may be taken in portions: rows of AF_EVENTS in sequence order.

    line: what is decided. ahead: facts that no decision has seen yet, in order.
    """

    def __init__(self) -> None:
        self.line = Timeline()
        self.ahead: deque[Row] = deque()

    def take(self, row: Row) -> None:
        for one in _now(self.ahead, row):
            self.apply(one)

    def apply(self, row: Row) -> None:
        """Applies an event in the place where it took effect."""
        self.line.trace_id = self.line.trace_id or row.trace_id
        if row.type in DECISIONS:
            _decision(self.line, row)
        else:
            _fact(self.line, row)


def fold(rows: Iterable[Row]) -> Timeline:
    """Returns the timeline of one run.

    rows: in any order of streams, in sequence order within AF_EVENTS.
    """
    folding = Folding()
    for row in ordered(rows):
        folding.apply(row)
    return folding.line


def ordered(rows: Iterable[Row]) -> Iterator[Row]:
    """Yields the events of a run in the order in which they took effect. rows: as `fold` takes them."""
    ahead: deque[Row] = deque()
    for row in rows:
        yield from _now(ahead, row)
    yield from ahead


def _now(ahead: deque[Row], row: Row) -> list[Row]:
    """Returns the events that took effect with this row. ahead: facts that no decision has seen yet."""
    if row.stream != subjects.EVENTS_STREAM or row.type in APART:
        return []
    if row.type not in DECISIONS:
        ahead.append(row)
        return []
    seen: list[Row] = []
    while ahead and ahead[0].stream_seq <= row.seen:
        seen.append(ahead.popleft())
    return [*seen, row]


def _fact(line: Timeline, row: Row) -> None:
    if row.type == "run.submitted":
        line.workflow = row.workflow
        line.submitted_at = row.ts
        line.redactions = dict(row.redactions)
        return
    if row.type == "child.ended":
        _child_ended(line, row)
    elif row.type == "outcome.resolved":
        _outcome_resolved(line, row)
    elif row.type in _OF_ATTEMPTS:
        _of_attempt(line, row)


_OF_ATTEMPTS: Final = frozenset(
    {"step.started", "step.progressed", "step.completed", "step.failed", "step.outcome_unknown"}
)


def _body(row: Row, kind: type[_T]) -> _T:
    """Returns the fields of a body that have no column, or defaults if another program wrote an
    unreadable one.
    """
    try:
        return msgspec.json.decode(row.body, type=kind)
    except UNREADABLE:
        return kind()


class _Child(msgspec.Struct):
    """The fields of `child.ended` that have no column."""

    cost_nano: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


def _spend(line: Timeline, attempt: TraceStep | None, spent: Row | _Child) -> None:
    for holder in (line, attempt):
        if holder is not None:
            holder.cost_nano += spent.cost_nano
            holder.input_tokens += spent.input_tokens
            holder.output_tokens += spent.output_tokens


def _child_ended(line: Timeline, row: Row) -> None:
    """Adds the cost of a child, even if its end came too late to be used."""
    attempt = line.attempts.get((row.step, row.attempt))
    _spend(line, attempt, _body(row, _Child))
    if attempt is None or line.current.get(row.step) != row.attempt or attempt.status != "waiting":
        return
    if row.status != "continued":
        attempt.status = "completed" if row.status == "completed" else "failed"
        attempt.error = "" if row.status == "completed" else _error(row) or f"child_{row.status}"
        attempt.finished_at = row.ts
        attempt.duration_ms = float(max(0, row.ts - attempt.started_at))


class _Outcome(msgspec.Struct):
    outcome: str = ""


def _outcome_resolved(line: Timeline, row: Row) -> None:
    attempt = line.attempts.get((row.step, line.current.get(row.step, -1)))
    if attempt is None or attempt.attempt != row.attempt or attempt.status != "outcome_unknown":
        return
    outcome = _body(row, _Outcome).outcome
    attempt.status = {"completed": "completed", "retry": "retrying"}.get(outcome, "failed")
    attempt.finished_at = row.ts


def _of_attempt(line: Timeline, row: Row) -> None:
    attempt = line.attempts.get((row.step, row.attempt))
    _spend(line, attempt, row)
    if attempt is not None and row.type in REPORTS:
        attempt.calls += calls_of(row, len(attempt.calls) + 1)
    if attempt is None or line.current[row.step] != row.attempt or attempt.status not in _ACTIVE:
        return
    attempt.worker = row.worker or attempt.worker
    if row.type == "step.started" or (row.type == "step.progressed" and attempt.status == "scheduled"):
        attempt.status = "running"
        attempt.started_at = row.ts
    elif row.type != "step.progressed":
        _report(line, attempt, row)


def _report(line: Timeline, attempt: TraceStep, row: Row) -> None:
    """Applies a result to the active attempt. Only the first result counts."""
    attempt.finished_at = row.ts
    attempt.started_at = row.started_at or attempt.started_at
    attempt.duration_ms = row.duration_ms or float(max(0, row.ts - attempt.started_at) if attempt.started_at else 0)
    attempt.provider = row.provider
    attempt.model = row.model
    attempt.prompt = row.prompt
    attempt.cache_hit = row.cache_hit
    attempt.finish_reason = row.finish_reason
    if row.type == "step.completed":
        attempt.status = "completed"
        attempt.redactions = dict(row.redactions)
        for category, count in row.redactions.items():
            line.redactions[category] = line.redactions.get(category, 0) + count
        if '"begun":' in row.body:
            _goes_on(line, row)
    elif row.type == "step.failed":
        attempt.status = "failed"
        attempt.error = _error(row)
    else:
        attempt.status = "outcome_unknown"
        attempt.error = "outcome_unknown: the worker vanished after it had begun this non-idempotent step"


class _GoesOn(msgspec.Struct):
    begun: ev.BegunStep | None = None


def _goes_on(line: Timeline, row: Row) -> None:
    """Records that the worker goes on with the next step without the scheduler."""
    begun = _body(row, _GoesOn).begun
    if begun is not None and begun.step not in line.current and line.status not in ENDED.values():
        line.current[begun.step] = 1
        line.attempts[begun.step, 1] = TraceStep(begun.step, 1, "scheduled", scheduled_at=row.ts)


def _decision(line: Timeline, row: Row) -> None:
    if row.type in ENDED:
        line.status = ENDED[row.type]
        line.finished_at = row.ts
    elif row.type in MOVED:
        line.status = MOVED[row.type]
        line.workflow = line.workflow or row.workflow
    elif row.type in _OFFERED:
        _offered(line, row)
    elif row.type == "timer.set":
        if row.kind == "retry":
            _current(line, row).status = "retrying"
    elif row.type in _CLOSED:
        attempt = _current(line, row)
        if row.type == "step.timed_out" and attempt.error and attempt.status in _ENDED_BADLY:
            attempt.status = "failed"  # by its own error: the total time of all attempts was over after it
            return
        attempt.status = _CLOSED[row.type] or row.status
        attempt.finished_at = row.ts
        if attempt.started_at and not attempt.duration_ms:
            attempt.duration_ms = float(max(0, row.ts - attempt.started_at))
        if row.type == "step.timed_out":
            attempt.error = _of_time(row)
        elif row.type in {"step.undecidable", "step.resolved"}:
            attempt.error = _error(row)
        elif row.type in {"step.skipped", "step.cancelled"}:
            attempt.reason = _body(row, _NotDone).reason


class _NotDone(msgspec.Struct):
    """The field of `step.skipped` and `step.cancelled` that has no column."""

    reason: str = ""


class _TimedOut(msgspec.Struct):
    """The fields of `step.timed_out` that have no column."""

    bound: str = ""
    cause: ev.StepError | None = None


def _of_time(row: Row) -> str:
    """Returns why an attempt ended before it had a result."""
    found = _body(row, _TimedOut)
    text = "heartbeat_timeout: no heartbeat in time" if found.bound == "heartbeat" else "timeout: no result in time"
    return f"{text}; the last error was {found.cause.type}: {found.cause.message}" if found.cause else text


_OFFERED: Final = {
    "step.queued": "queued", "step.scheduled": "scheduled", "step.waiting": "waiting", "step.expanded": "running",
    "step.iterated": "running",
}  # fmt: skip
_CLOSED: Final = {
    "step.joined": "",
    "step.resolved": "",
    "step.skipped": "skipped",
    "step.cancelled": "cancelled",
    "step.timed_out": "failed",
    "step.undecidable": "failed",
}


def _offered(line: Timeline, row: Row) -> None:
    before = line.attempts.get((row.step, line.current.get(row.step, 0)))
    if before is not None and before.status == "retrying":
        before.status = "failed"  # the awaited retry has begun
    attempt = line.attempts.setdefault((row.step, row.attempt), TraceStep(row.step, row.attempt, "pending"))
    line.current[row.step] = row.attempt
    attempt.status = _OFFERED[row.type]
    if row.type != "step.iterated" or not attempt.scheduled_at:
        attempt.scheduled_at = row.ts
    if row.type in {"step.expanded", "step.waiting", "step.iterated"}:
        attempt.started_at = attempt.started_at or row.ts


def _current(line: Timeline, row: Row) -> TraceStep:
    number = line.current.setdefault(row.step, row.attempt)
    return line.attempts.setdefault((row.step, number), TraceStep(row.step, number, "pending"))


def _error(row: Row) -> str:
    return f"{row.error_type}: {row.error}" if row.error else row.error_type


def reply(run: str, rows: Sequence[Row], events: Sequence[TraceEvent] = ()) -> TraceReply:
    """Returns the answer to TRACE_GET with these events. The steps and the totals are those of all rows."""
    line = fold(rows)
    return TraceReply(
        run=run,
        workflow=line.workflow,
        status=line.status,
        trace_id=line.trace_id,
        started_at=line.submitted_at,
        finished_at=line.finished_at,
        cost_nano=line.cost_nano,
        input_tokens=line.input_tokens,
        output_tokens=line.output_tokens,
        redactions=line.redactions,
        steps=line.steps(),
        events=tuple(events),
    )
