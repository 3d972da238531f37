"""The steps of a trace as a tree: parts below their step, and the steps of a subworkflow's run below the step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from agentflow_sdk import Client, Trace, TraceStep

CHILDREN_MAX: Final = 200  # runs of subworkflows in one view


@dataclass(slots=True)
class Member:
    """A step with its attempts, its parts, and the steps of its subworkflow's run."""

    run_id: str
    key: str
    attempts: list[TraceStep] = field(default_factory=list)
    below: list[Member] = field(default_factory=list)
    critical_ms: int = 0  # of the critical path of its own run

    @property
    def newest(self) -> TraceStep:
        """The attempt that decided how the step ended."""
        return self.attempts[-1]

    @property
    def began(self) -> int:
        """When it first waited or began, ms since the epoch."""
        times = [time for one in self.attempts for time in (one.queued_at, one.scheduled_at, one.started_at) if time]
        return min(times, default=0)

    @property
    def ended(self) -> int:
        """When it ended, ms since the epoch; 0 while it goes on."""
        return self.newest.finished_at

    @property
    def own_cost_nano(self) -> int:
        """The cost of its attempts. A step with a subworkflow has the cost of that run."""
        return sum(attempt.cost_nano_usd for attempt in self.attempts)

    @property
    def cost_nano(self) -> int:
        """The cost with its parts."""
        own = self.own_cost_nano
        return own or sum(member.cost_nano for member in self.below)

    @property
    def tokens(self) -> tuple[int, int]:
        """The tokens that models read and wrote, with its parts."""
        own = (sum(one.input_tokens for one in self.attempts), sum(one.output_tokens for one in self.attempts))
        if own != (0, 0) or not self.below:
            return own
        parts = [member.tokens for member in self.below]
        return sum(part[0] for part in parts), sum(part[1] for part in parts)


def families(trace: Trace, children: Mapping[str, Trace] | None = None) -> list[Member]:
    """Returns the steps of a run in the order in which they began. children: traces of subworkflows' runs, by run."""
    return _families(trace, children or {}, {trace.run_id})


def _families(trace: Trace, children: Mapping[str, Trace], above: set[str]) -> list[Member]:
    from agentflow_common.runs.state import parent_of

    members: dict[str, Member] = {}
    for attempt in trace.steps:
        member = members.get(attempt.step)
        if member is None:
            member = members[attempt.step] = Member(trace.run_id, attempt.step)
        member.attempts.append(attempt)
    for segment in trace.critical_path:
        if segment.step in members:
            members[segment.step].critical_ms += segment.duration_ms
    top: list[Member] = []
    for key, member in members.items():
        parent = parent_of(key)
        (members[parent].below if parent in members else top).append(member)
        for attempt in member.attempts:
            child = children.get(attempt.child_run_id)
            if child is not None and child.run_id not in above:
                member.below.extend(_families(child, children, above | {child.run_id}))
    return top


def walk(members: list[Member], depth: int = 0) -> Iterator[tuple[int, Member]]:
    """Yields each step with its depth, a step before what is below it."""
    for member in members:
        yield depth, member
        yield from walk(member.below, depth + 1)


def children_of(client: Client, trace: Trace, *, bodies: bool = False) -> tuple[dict[str, Trace], int]:
    """Returns (the traces of all subworkflows' runs below a run, by run; the number of those that were left out)."""
    from agentflow_sdk import NotFoundError

    found: dict[str, Trace] = {}
    todo = _child_runs(trace)
    seen = {trace.run_id, *todo}
    missing = 0
    while todo and len(found) < CHILDREN_MAX:
        run = todo.pop(0)
        try:
            found[run] = client.traces.get(run, bodies=bodies)
        except NotFoundError:  # it was submitted to the log and is not in the trace store yet, or it was never begun
            missing += 1
            continue
        more = [child for child in _child_runs(found[run]) if child not in seen]
        seen.update(more)
        todo.extend(more)
    return found, missing + len(todo)


def _child_runs(trace: Trace) -> list[str]:
    return list(dict.fromkeys(step.child_run_id for step in trace.steps if step.child_run_id))
