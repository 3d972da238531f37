"""The invariants of the bookkeeping of a run. Pure.

The machine keeps the fields of `Run` up to date step by step, so that the cost of a decision depends on the changes
only. Here each field is computed anew from the state. The property tests and the simulation do so after every decision.

Two things are not checked. A step that is dirty has not been looked at since it changed, so it is not counted yet. And
once a run ends, by a failure or a cancel, the machine follows only what it closes and undoes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from agentflow_common.runs.parts import whole_of
from agentflow_common.runs.state import (
    DONE,
    OPEN,
    StepState,
    StepStatus,
    child_key,
    current_key,
    ended_by,
    parent_of,
    present_keys,
)
from agentflow_scheduler.runs.plan import PlanNode
from agentflow_scheduler.runs.run import EXTERNAL, HOLDS_SLOT, IN_FLIGHT, Run, is_begun, is_undo
from agentflow_scheduler.runs.run_slots import takes_slots
from agentflow_scheduler.runs.steps.locks import over
from agentflow_scheduler.runs.steps.verdict import final_verdict, judge


class Invariant(NamedTuple):
    """One field of the run, or one entry of it."""

    field: str
    actual: Any
    expected: Any


def check_invariants(run: Run) -> None:
    """Compares every field with the state, right after a decision. Raises AssertionError for one that differs."""
    for field, actual, expected in _invariants(run):
        if actual != expected:
            raise AssertionError(f"{run.state.run}: {field} is {actual!r}, the state says {expected!r}")


def _invariants(run: Run) -> Iterator[Invariant]:
    state = run.state
    yield from _statuses(run)
    yield from _flags(run)
    yield from _children(run)
    yield from _slot(run)
    ends = state.status.terminal or state.ending is not None or state.cancel_requested
    cut = state.status.terminal or state.finally_over or state.cancel_forced
    if not (cut if state.finishing is not None else ends or ended_by(state, run.plan.ends)):
        yield from _final_steps(run)
        yield from _beginnings(run)
        yield from _slots(run)
        yield from _locks(run)
    elif state.cancelling and state.cancel_grace_ms and not (cut or state.finishing or state.ending or run.broken):
        children = {step.child for step in state.steps.values() if step.status is StepStatus.WAITING and step.child}
        notified = {f"{child}:{state.cancel_grace_ms}" for child in children}
        yield Invariant("cancelled_children", notified & run.cancelled_children.keys(), notified)
    nodes = [current_key(state, name) for name, node in run.plan.nodes.items() if _is_turn(run, node)]
    if run.plan.graph and state.finishing is None:
        nodes = list(run.in_superstep)
    yield Invariant("undecided_count", run.undecided_count, sum(key not in run.decided for key in nodes))


def _is_turn(run: Run, node: PlanNode) -> bool:
    """True if a node is decided about now: one with `finally: true` at the end, and any other before."""
    return bool(node.at_end) is (run.state.finishing is not None)


def _statuses(run: Run) -> Iterator[Invariant]:
    steps = run.state.steps.items()
    holders = {key for key, step in steps if step.status is StepStatus.RUNNING and step.has_parts}
    in_flight = {key for key, step in steps if step.status in IN_FLIGHT} - holders
    yield Invariant("in_flight", set(run.in_flight), in_flight)
    yield Invariant("external_waits", set(run.external_waits), {key for key, step in steps if step.status in EXTERNAL})
    yield Invariant("in_superstep", run.in_superstep, frozenset(run.state.active))
    yield Invariant("open_children", set(run.open_children), {key for key, step in steps if step.width >= 0})
    inner = Counter[str]()
    for key, step in steps:
        if step.width > 0 and whole_of(key) != key:
            inner[whole_of(key)] += step.width
    yield Invariant("inner_children", {key: count for key, count in run.inner_children.items() if count}, dict(inner))


def _flags(run: Run) -> Iterator[Invariant]:
    state = run.state
    tops = [step for key, step in state.steps.items() if parent_of(key) is None]
    closed = any(step.status is StepStatus.CANCELLED and not step.lost_to for step in tops)
    ends = state.status.terminal or state.ending or state.cancel_requested or state.finishing
    if not (closed and (ends or ended_by(state, run.plan.ends))):
        yield Invariant("ending_lost", run.ending_lost, closed)
    yield Invariant("ending_searched", run.ending_searched and not run.ending_lost, False)
    yield Invariant("past_help", run.past_help and run.broken is None, False)
    yield Invariant("faults", [key for key in run.faults if run.node(key) is None], [])
    if not state.cancelling:
        yield Invariant("cancelled_children", run.cancelled_children, {})


def _children(run: Run) -> Iterator[Invariant]:
    """Yields what is kept about expanded steps while they run."""
    for key, step in run.state.steps.items():
        if step.width < 0 or step.status is not StepStatus.RUNNING:
            continue
        children = [child_key(key, index) for index in range(step.width)]
        decided = [child for child in children if child in run.decided]
        failed = [child for child in decided if run.state.steps[child].status not in DONE]
        yield Invariant(f"open_children[{key}]", run.open_children.get(key), step.width - len(decided))
        yield Invariant(f"failed_children[{key}]", run.failed_children.get(key, 0), len(failed))
        if key in run.next_children and not run.state.cancel_requested:
            pending = [index for index, child in enumerate(children) if not is_begun(run.state.steps.get(child))]
            yield Invariant(f"next_children[{key}]", run.next_children[key], pending[::-1])


def _final_steps(run: Run) -> Iterator[Invariant]:
    """Yields whether each step of the present visit or superstep is decided, and what waits for it."""
    for key, step in run.state.steps.items():
        node = run.node(key)
        if node is None or not _is_turn(run, node) or key in run.dirty or is_undo(key):
            continue
        if not run.is_present(key, node) or run.is_left_over(key):
            continue
        yield Invariant(f"decided[{key}]", key in run.decided, _is_final(run, node, key, step))
    for key in run.decided:
        yield Invariant(f"decided[{key}]", key in run.state.steps, True)
    for name in run.loop_exits:
        is_final = current_key(run.state, name) in run.decided
        yield Invariant(f"loop_exits[{name}]", (bool(run.plan.nodes[name].back), is_final), (True, True))
    for node in run.plan.nodes.values():
        if _is_turn(run, node) and (run.plan.graph is None or node.at_end):
            blockers = sum(not run.is_counted(source, node.id) for source in run.plan.waits_for(node))
            yield Invariant(f"blockers_left[{node.id}]", run.blockers(node.id), blockers)


def _is_final(run: Run, node: PlanNode, key: str, step: StepState) -> bool:
    if step.status in {StepStatus.COMPLETED, StepStatus.SKIPPED, StepStatus.FAILED}:
        return True  # one that failed and is tried again is RETRYING or under way by now, or dirty
    if step.status is StepStatus.CANCELLED:
        return bool(step.lost_to)
    goes_on = "go_on" in {judge(node, key, step), key in run.faults and final_verdict(node, key, run.faults[key])}
    return step.status is StepStatus.OUTCOME_UNKNOWN and goes_on


def _beginnings(run: Run) -> Iterator[Invariant]:
    """Yields the steps that may begin: each is dirty, or a `continue_as_new` that waits for the others."""
    continuations: set[str] = set()
    locked: set[str] = set()
    others: set[str] = set()
    for key, node in [(key, n) for n in run.plan.nodes.values() for key in present_keys(run.state, n.id)]:
        if not _is_turn(run, node):
            continue
        is_due = not run.blockers(node.id) or _is_met(run, node)
        may_begin = is_due and run.is_present(key, node) and not is_begun(run.state.steps.get(key))
        if may_begin and key not in run.dirty:
            (continuations if node.kind == "continue_as_new" else locked if node.locks else others).add(key)
    yield Invariant("continuations", set(run.continuations), continuations)
    yield Invariant("lock_waits", set(run.lock_waits), locked)
    yield Invariant("dirty", others, set())


def _slot(run: Run) -> Iterator[Invariant]:
    """Yields the steps that a run has begun without the slots of its run lanes."""
    state = run.state
    may_share = bool(state.lanes_above) and not state.run_lane
    if not takes_slots(run) or may_share or (state.run_lane and not state.awaits_slot):
        return
    begun = [key for key in (*run.in_flight, *run.external_waits) if is_begun(state.steps.get(key))]
    yield Invariant("in_flight", begun, [])


def _is_met(run: Run, node: PlanNode) -> bool:
    """True if so many nodes before a join have completed, over edges without a condition, that it is due."""
    over = [source for source, condition in node.sources if condition is None and source in run.decided]
    completed = sum(run.state.steps[source].status is StepStatus.COMPLETED for source in over)
    return 0 < node.need <= completed and all(name in run.decided for name in node.reads)


def _locks(run: Run) -> Iterator[Invariant]:
    """Yields the steps that run without the locks around their nodes, and locks that are kept for no node."""
    locks = run.state.locks
    held = {*run.state.lanes_above, *(() if locks is None else locks.held)}
    for key, step in run.state.steps.items():
        node = run.node(key)
        if node is not None and node.locks and step.status in OPEN and is_begun(step) and not is_undo(key):
            lanes = {locks.lanes[number] for number in node.locks} if locks is not None else {""}
            yield Invariant(f"locks of {key}", lanes - held, set())
    if locks is not None and not (run.loop_exits or run.dirty):
        yield Invariant("locks", over(run, locks), [])


def _slots(run: Run) -> Iterator[Invariant]:
    steps = run.state.steps
    over = {
        (key, step.attempt)
        for key, step in steps.items()
        if step.lane and step.status not in HOLDS_SLOT and key not in run.dirty
    }
    yield Invariant("released", over & run.released.keys(), over)
    unknown = {(key, attempt) for key, attempt in run.released if attempt > steps.get(key, StepState()).attempt}
    yield Invariant("released", unknown, set())
