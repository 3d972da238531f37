"""The critical path of a run: the chain of work and waits that determined how long it took. Pure.

It is found backwards. The last step that the run waited for ends the chain. Before a step stands the step
whose end released it: of the nodes that it waits for, the one that ended last. Of a join that starts early it is
the one that made the join complete, in a graph the last one of the superstep before, of a part the part
that had to end first. Order is that of the log's effects, so clocks of several services can't confuse it.

The segments begin at the submission, end at the run's end, and each begins where the one before it ends. So
their lengths sum to the duration exactly: what no attempt explains is a hold of the run, or `scheduler`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any, Final

from agentflow_common.definition.model import Definition
from agentflow_common.rpc.traces.views import TraceNode, TraceSegment
from agentflow_common.runs.state import UNDO, node_of, parent_of
from agentflow_trace.rows import Row
from agentflow_trace.views import nodes as definitions
from agentflow_trace.views.phases import Attempt, Hold, RunPhases, Step, fold

_HOLDS: Final = ("pause", "lock", "lane", "timer")  # if several hold at a time, the first one counts
_FOREVER: Final = 2**62


def critical_path(
    rows: Sequence[Row], until: int = 0, definition: Definition | None = None
) -> tuple[TraceSegment, ...]:
    """Returns the critical path of a run from its rows, in order of time.

    until: for a run that has not ended, the time to which the path goes, ms since the epoch; 0: to its newest
    event. definition: the pinned one; None: it is read from the rows.
    """
    definition = definition or definitions.pinned(rows)
    return path_of(fold(rows), definition, until)


def path_of(
    run: RunPhases, definition: Definition | None, until: int = 0, nodes: Sequence[TraceNode] | None = None
) -> tuple[TraceSegment, ...]:
    """Returns the critical path of a run from its phases. nodes: those of the definition, if they are known already."""
    if not run.submitted_at:
        return ()
    nodes = definitions.nodes_of(definition) if nodes is None else nodes
    walk = _Walk(run, definition, nodes, max(run.submitted_at, run.finished_at or until or run.newest_at))
    walk.back()
    return tuple(reversed(walk.segments))


class _Walk:
    """A walk back from the run's end. `at` is how far it has come, ms since the epoch."""

    def __init__(self, run: RunPhases, definition: Definition | None, nodes: Sequence[TraceNode], end: int) -> None:
        self.run = run
        self.at = end
        self.segments: list[TraceSegment] = []
        self.waits = {node.id: node.waits_for for node in nodes}
        self.back_edges: dict[str, list[str]] = {}
        for node in nodes:
            for target in node.loops_to:
                self.back_edges.setdefault(target, []).append(node.id)
        listed: Iterable[Any] = definition.dag.nodes if definition is not None else ()
        self.joins: dict[str, Any] = {}
        self.last: set[str] = set()  # nodes with `finally: true`
        for each in listed:
            if each.join != "all":
                self.joins[each.id] = each.join
            if each.at_end:
                self.last.add(each.id)
        self.parts: dict[str, list[Step]] = {}  # by step that has them; the steps of the run are under ""
        self.visits: dict[str, list[Step]] = {}
        for step in sorted(run.steps.values(), key=lambda step: step.settled or _FOREVER):
            parent = parent_of(step.key)
            self.parts.setdefault(parent if parent is not None and parent in run.steps else "", []).append(step)
            if parent is None and not step.key.endswith(UNDO):
                self.visits.setdefault(node_of(step.key), []).append(step)

    def back(self) -> None:
        """Walks from the end of the run to its submission."""
        step, later = self.last_step(), ""
        while step is not None:
            if step.settled:
                self.gap(step.ended, later)
            self.through(step)
            later, step = step.key, self.before(step)
        self.gap(self.run.submitted_at, later)

    # --- the chain ---

    def last_step(self) -> Step | None:
        """Returns the step that the run's end waited for."""
        steps = self.parts.get("", [])
        if not self.run.finished_at:
            return _open_of(steps) or _last_of(steps, _FOREVER)
        last = _last_of(steps, _FOREVER, lively=self.run.status != "cancelled")
        failed = self.run.steps.get(self.run.failed_step)
        if failed is None or last is None or last.key.endswith(UNDO) or node_of(last.key) in self.last:
            return last
        while (parent := self.run.steps.get(parent_of(failed.key) or "")) is not None:
            failed = parent
        return failed

    def before(self, step: Step) -> Step | None:
        """Returns the step whose end released this one; None for a step that the run began with."""
        node = node_of(step.key)
        if step.key.endswith(UNDO) or node in self.last:
            return _last_of(self.parts[""], step.offered, lively=False)
        if step.key in self.run.before:
            keys = self.run.before[step.key]
            ended = sorted((self.run.steps[key] for key in keys if key in self.run.steps), key=_settled)
            return _last_of(ended, step.offered)
        names = [*self.waits.get(node, ()), *(self.back_edges.get(node, ()) if "#" in step.key else ())]
        found = [_last_of(self.visits.get(name, []), step.offered, lively=False) for name in names]
        ended = sorted((one for one in found if one is not None), key=_settled)
        if node in self.joins:
            needed = 1 if self.joins[node] == "any" else int(self.joins[node])
            completed = [one for one in ended if one.status == "completed"]
            if len(completed) >= needed and "#" not in step.key:
                return completed[needed - 1]
        return _last_of(ended, step.offered)

    # --- one step ---

    def through(self, step: Step) -> None:
        """Walks through a step, from its end to its first offer."""
        if step.has_parts:
            self.through_parts(step)
            return
        for attempt in reversed(step.attempts):
            self.through_attempt(step, attempt)
        if not step.attempts:
            self.gap(step.began, step.key)

    def through_attempt(self, step: Step, attempt: Attempt) -> None:
        if attempt.end:
            if attempt.retry_at:
                self.gap(attempt.retry_at, step.key, attempt.number)
                self.emit("backoff", attempt.end, step.key, attempt.number)
            self.gap(attempt.end, step.key, attempt.number)
        for phase in reversed(attempt.phases):
            self.emit(phase.kind, phase.start, step.key, attempt.number, phase.on)

    def through_parts(self, step: Step) -> None:
        parts = self.parts.get(step.key, [])
        ended = step.settled or _FOREVER
        part = (None if step.settled else _open_of(parts)) or _last_of(parts, ended)
        later = step.key
        while part is not None:
            if part.settled:
                self.gap(part.ended, later, holds=step.holds)
            self.through(part)
            later, part = part.key, _last_of(parts, part.offered)
        self.gap(step.began, later, holds=step.holds)

    # --- segments ---

    def emit(self, kind: str, start: int, step: str, attempt: int = 0, on: str = "") -> None:
        """Adds the time from `start` to where the walk is."""
        start = max(self.run.submitted_at, min(start, self.at))
        if start == self.at:
            return
        last = self.segments[-1] if self.segments else None
        if last is not None and (last.kind, last.step, last.attempt, last.on) == (kind, step, attempt, on):
            self.segments[-1] = TraceSegment(kind, start, last.ended_at, step, attempt, on)
        else:
            self.segments.append(TraceSegment(kind, start, self.at, step, attempt, on))
        self.at = start

    def gap(self, start: int, step: str, attempt: int = 0, holds: Sequence[Hold] = ()) -> None:
        """Adds the time from `start` in which nothing of the chain ran: holds of the run, or the engine's own time."""
        start = max(self.run.submitted_at, start)
        while self.at > start:
            here = [hold for hold in (*self.run.holds, *holds) if hold.start < self.at]
            over = [hold for hold in here if not hold.end or hold.end >= self.at]
            if over:
                hold = min(over, key=lambda hold: _HOLDS.index(hold.kind))
                later = [other.end for other in here if other not in over and _first(other, hold)]
                self.emit(hold.kind, max(start, hold.start, *later), step, attempt, hold.on)
            else:
                self.emit("scheduler", max([start, *(hold.end for hold in here)]), step, attempt)


def _first(one: Hold, other: Hold) -> bool:
    return _HOLDS.index(one.kind) < _HOLDS.index(other.kind)


def _settled(step: Step) -> int:
    return step.settled or _FOREVER


def _last_of(steps: Sequence[Step], before: int, lively: bool = True) -> Step | None:
    """Returns the step that ended last before a place, if there is one. steps: in order of their ends.

    lively: a cancelled step released nothing, so it is taken only if no other one ended.
    """
    end = bisect_left(steps, before, key=_settled)
    found = next((step for step in reversed(steps[:end]) if step.status != "cancelled"), None) if lively else None
    return found or (steps[end - 1] if end else None)


def _open_of(steps: Sequence[Step]) -> Step | None:
    """Returns the open step that was offered first."""
    return min((step for step in steps if not step.settled), key=lambda step: step.offered, default=None)
