"""Locks around several nodes of a run: taken before the first of them begins, given back when all have ended. Pure.

A lock is a keyed lane with one slot. Three rules keep runs from waiting for each other in a circle:

1. A run takes all its locks before the first node under any of them begins.
2. It takes them one after the other, in the order of their names.
3. It begins to take them again, in a loop of edges, only once it has given all of them back.

A lock that a run above holds around the node that started this run counts as taken. What a run still has when it ends
goes back in the append that ends it (`give_back`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agentflow_common import events as ev
from agentflow_common.lanes.fold import LOCK
from agentflow_common.lanes.names import lane_name
from agentflow_common.runs.state import Locks, RunState, RunStatus, current_key, node_of, undoing_steps
from agentflow_common.subjects import EntityKey
from agentflow_scheduler.runs import chain, run_slots
from agentflow_scheduler.runs.decisions import RunDecisions, StepContext
from agentflow_scheduler.runs.run import Run
from agentflow_scheduler.runs.scope import Resolver, in_field


def admit(at: StepContext) -> bool:
    """True if the run has the locks of the step's node. Asks for the next one. Raises InvalidError, NeedBlob."""
    run, state = at.run, at.state
    if not at.node.locks:
        return True
    locks = state.locks
    if locks is not None and _complete(state, locks) and all(_has(state, locks.lanes[n]) for n in at.node.locks):
        if state.status is RunStatus.WAITING and at.node.kind in chain.KINDS:
            at.out.emit(
                ev.RunResumed
            )  # before the offer, which a worker may extend only if nothing is decided after it
        return True
    if locks is None or not (locks.held or locks.awaited):
        names = tuple(
            in_field(f"lock[{number}].key", _name, at, lock.key) for number, lock in enumerate(run.plan.locks)
        )
        locks = Locks(names, 1 if locks is None else locks.attempt + 1)
        _ask(at.out, state, locks)
    elif not (locks.awaited or _complete(state, locks)):
        _ask(at.out, state, locks)
    if state.locks is not None and _complete(state, state.locks):  # the runs above have all of them
        return True
    run.lock_waits[at.key] = None
    return False


def _name(at: StepContext, key: Resolver) -> str:
    return lane_name(LOCK, at.state.org, key(at.out.scope))


def _ask(out: RunDecisions, state: RunState, locks: Locks) -> None:
    order = to_take(state, locks)
    lane = order[locks.taken] if order else ""
    out.emit(ev.RunLocking, lane=lane, lanes=locks.lanes, attempt=locks.attempt)
    if lane:
        _send(out, state, lane, ev.LaneRequested, priority=state.priority, limit=1)


def to_take(state: RunState, locks: Locks) -> list[str]:
    """Returns the locks that the run takes itself, in the order in which it takes them."""
    return sorted(set(locks.lanes).difference(state.lanes_above))


def _complete(state: RunState, locks: Locks) -> bool:
    return locks.taken == len(to_take(state, locks))


def _has(state: RunState, lane: str) -> bool:
    return lane in state.lanes_above or (state.locks is not None and lane in state.locks.held)


def release(run: Run, out: RunDecisions) -> None:
    """Gives the locks back whose nodes have ended. Loops that may run a node again are decided by now."""
    state = run.state
    if state.locks is not None and not run.loop_exits:
        for lane in over(run, state.locks):
            out.emit(ev.RunUnlocked, lane=lane)
            _send(out, state, lane, ev.LaneReleased)


def over(run: Run, locks: Locks) -> list[str]:
    """Returns the locks that the run has or waits for, and whose nodes have all ended.

    In a workflow with loops of edges they are over together, because a loop may come back to any of them. So they are
    while the run takes them, because it begins with all of them. A node counts as running while a subworkflow of it
    undoes its steps.
    """
    state = run.state
    undoing = {node_of(key) for key in undoing_steps(state)}
    lanes = [*locks.held, locks.awaited] if locks.awaited else list(locks.held)
    busy = {
        lane
        for lane, lock in zip(locks.lanes, run.plan.locks, strict=True)
        if any(name in undoing or current_key(state, name) not in run.decided for name in lock.nodes)
    }
    if run.plan.loops or not _complete(state, locks):
        return [] if busy else lanes
    return [lane for lane in lanes if lane not in busy]


def give_back(state: RunState, out: RunDecisions) -> None:
    """Gives everything back in the append that ends the run."""
    for lane, own in messages(state):
        out.send(ev.LaneReleased, to_org=lane.org, to=lane.name, **own)


def around(at: StepContext) -> tuple[str, ...]:
    """Returns the locks around a step. A subworkflow that it starts does not take them again."""
    locks = at.state.locks
    return () if locks is None else tuple(dict.fromkeys(locks.lanes[number] for number in at.node.locks))


def messages(state: RunState) -> Iterator[tuple[EntityKey, dict[str, Any]]]:
    """Yields each lock that the run has or waits for, and the fields of a fact about it."""
    if state.locks is not None:
        for lane in (*state.locks.held, state.locks.awaited):
            if lane:
                yield run_slots.message(state, lane, state.locks.attempt)


def _send(out: RunDecisions, state: RunState, lane: str, event_type: type[ev.Event], **fields: Any) -> None:
    assert state.locks is not None  # noqa: S101
    to, own = run_slots.message(state, lane, state.locks.attempt)
    out.send(event_type, to_org=to.org, to=to.name, **own, **fields)
