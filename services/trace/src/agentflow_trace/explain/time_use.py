"""Finds what used the time before a moment: the critical path up to it, or the phases of one step. Pure.

Segments are those of the critical path, with two changes. The time of a subworkflow is that of its own critical path.
Work of an attempt that failed, and the delay after it, is `retry`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.rpc.traces.views import TraceSegment
from agentflow_common.runs.state import node_of
from agentflow_trace.explain.run_log import Entry, Logs, RunLog
from agentflow_trace.rows import Row
from agentflow_trace.views import phases
from agentflow_trace.views.critical_path import critical_path

DEPTH_MAX: Final = 8  # of subworkflows that are looked into
RETRY: Final = "retry"
OF_RUN: Final = frozenset({"pause", "breakpoint", "lock"})  # kinds of waits that are those of the run as a whole


class Span(NamedTuple):
    """A stretch of time. kind: as of a segment, or `retry`."""

    kind: str
    log: RunLog
    step: str
    attempt: int
    begin: int
    end: int
    on: str = ""

    @property
    def ms(self) -> int:
        return self.end - self.begin


def of_run(logs: Logs, log: RunLog, begin: int, end: int, rows: Sequence[Row] = (), depth: int = 0) -> list[Span]:
    """Returns the spans of the critical path from `begin` to `end`. rows: those that count; none: all of the run."""
    path = critical_path(rows or log.rows, until=end)
    return _spans(logs, log, path, begin, end, depth)


def until_event(log: RunLog, entry: Entry | None) -> list[Row]:
    """Returns the rows before an event: what the run had done when it came."""
    if entry is None:
        return log.rows
    return [row for row in log.rows if row.stream == subjects.EVENTS_STREAM and row.stream_seq < entry.seq]


def of_step(logs: Logs, log: RunLog, key: str, attempt: int | None, entry: Entry) -> list[Span]:
    """Returns the spans of a step until the event that closed it. attempt: this one alone; None: all of them.

    Of a step with parts it is the part that was open, and had begun first.
    """
    folded = phases.fold(until_event(log, _timer_of(log, key, entry)))
    step = folded.steps.get(key)
    if step is None:
        return []
    begin = step.began
    while step.has_parts and (part := _open_part(folded, step.key)) is not None:
        step = part
    found: list[TraceSegment] = []
    for one in step.attempts:
        if attempt in {None, one.number} or step.key != key:
            found += _segments(step.key, one, entry.ts)
    if found and attempt is not None and step.key == key:
        begin = found[0].started_at
    return _spans(logs, log, found, begin, entry.ts, 0)


def _timer_of(log: RunLog, key: str, entry: Entry) -> Entry:
    """Returns the event that the limit had come. The parts of a step are closed between it and the decision."""
    fired = [
        other for other in log.of_step(key)
        if isinstance(other.event, ev.TimerFired) and other.seq < entry.seq and other.event.kind != "retry"
    ]  # fmt: skip
    return fired[-1] if fired else entry


def _open_part(run: phases.RunPhases, key: str) -> phases.Step | None:
    parts = [step for name, step in run.steps.items() if name.startswith((f"{key}[", f"{key}@"))]
    open_parts = [step for step in parts if not step.settled and not step.has_parts]
    return min(open_parts, key=lambda step: step.offered, default=None)


def _segments(key: str, attempt: phases.Attempt, end: int) -> Iterator[TraceSegment]:
    stop = attempt.end or end
    for number, phase in enumerate(attempt.phases):
        last = number + 1 == len(attempt.phases)
        over = stop if last else attempt.phases[number + 1].start
        yield TraceSegment(phase.kind, phase.start, over, key, attempt.number, phase.on)
    if attempt.end and attempt.retry_at:
        yield TraceSegment("backoff", attempt.end, min(attempt.retry_at, end), key, attempt.number)


def _spans(logs: Logs, log: RunLog, path: Iterable[TraceSegment], begin: int, end: int, depth: int) -> list[Span]:
    spans: list[Span] = []
    for part in path:
        start, over = max(begin, part.started_at), min(end, part.ended_at)
        if start >= over:
            continue
        stopped = part.kind == "pause" and part.on == "breakpoint"
        kind = (
            "breakpoint"
            if stopped
            else RETRY
            if part.kind == "backoff" or (part.kind == "work" and _failed(log, part))
            else part.kind
        )
        step = "" if kind in OF_RUN else part.step
        span = Span(kind, log, step, part.attempt, start, over, part.on)
        child = logs.get(part.on) if part.kind == "child" and depth < DEPTH_MAX else None
        spans += [span] if child is None else _around(span, of_run(logs, child, start, over, depth=depth + 1))
    return spans


def _around(span: Span, inner: list[Span]) -> list[Span]:
    """Returns the spans of a subworkflow, with the time before it began and after it ended. They fill the span."""
    if not inner:
        return [span]
    outer = (span._replace(end=inner[0].begin), *inner, span._replace(begin=inner[-1].end))
    return [part for part in outer if part.ms > 0]


def _failed(log: RunLog, part: TraceSegment) -> bool:
    return log.last_of_step(part.step, ev.StepFailed, ev.StepOutcomeUnknown, attempt=part.attempt) is not None


def shares(spans: list[Span]) -> list[tuple[int, Span]]:
    """Returns the time of each kind, run and node, the longest first, with the longest span of each."""
    found: dict[tuple[str, str, str], tuple[int, Span]] = {}
    for span in spans:
        key = (span.kind, span.log.run, node_of(span.step))
        ms, longest = found.get(key, (0, span))
        found[key] = ms + span.ms, longest if longest.ms >= span.ms else span
    return sorted(found.values(), key=lambda use: -use[0])
