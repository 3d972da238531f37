"""Stops a run before the steps of nodes with a breakpoint. Pure.

1. A step whose node has a breakpoint is blocked when it would begin. It is neither offered nor started, and it takes no
   lock. A step that is skipped does not begin, so nothing stops there.
2. From then on no other step begins in this turn. Those that are due beside it wait, too. Steps with a breakpoint are
   looked at first, so that a stop does not depend on the order of the nodes.
3. `run.stopped` names the steps with a breakpoint. The run is treated as one that is paused until it is asked to
   continue. These steps may begin then.
4. A change of the breakpoints is a decision of its own. So a worker that goes on by itself in a chain of steps is
   refused and asks the scheduler (chain.py), which ends a chain before a breakpoint.

Nodes with `finally: true` have no breakpoints: at the end of a run nothing stops it.
"""

from __future__ import annotations

from typing import Any

from agentflow_common import events as ev
from agentflow_common.runs.state import RunState, node_of
from agentflow_scheduler.runs.decisions import RunDecisions, StepContext
from agentflow_scheduler.runs.run import Run


def is_stopped(state: RunState) -> bool:
    """True if the run is stopped before some steps."""
    return state.stops is not None and bool(state.stops.before)


def note_changes(out: RunDecisions, state: RunState) -> None:
    """Writes down that breakpoints were set or removed."""
    if state.stops is not None and state.stops.asked:
        out.emit(ev.RunBreakpointsSet, at=state.stops.at, every=state.stops.every)


def next_key(run: Run) -> str:
    """Returns the dirty step that is decided next: the first one with a breakpoint, or else the first one.

    A join with losers comes before them in any case, as it closes those that have not begun.
    """
    stops = run.state.stops
    if stops is not None and not (stops.every or run.plan.joins):
        found = next((key for key in run.dirty if stops.stop_before(key, node_of(key))), None)
        if found is not None:
            return found
    return next(iter(run.dirty))


def hold(at: StepContext, is_skipped: bool = False) -> bool:
    """Blocks a step that would begin now, if the run stops before it or before another one. Returns True if it does.

    is_skipped: it is a join that would be skipped; it is blocked only because of another step.
    """
    stops = at.state.stops
    if stops is None or at.node.at_end:
        return False
    stops_here = not is_skipped and stops.stop_before(at.key, at.node.id)
    if not (stops_here or at.out.stopped):
        return False
    at.out.stopped[at.key] = stops_here
    return True


def stop(out: RunDecisions, state: RunState) -> None:
    """Stops the run before the steps that are blocked."""
    number = 0 if state.stops is None else state.stops.number
    out.emit(ev.RunStopped, steps=tuple(key for key, here in out.stopped.items() if here), number=number + 1)


def handed_over(state: RunState) -> dict[str, Any]:
    """Returns the breakpoints for the run that continues this one, as fields of `run.submitted`."""
    return {} if state.stops is None else {"break_at": state.stops.at, "break_every": state.stops.every}
