"""Decides what follows for one step from its present status. Pure.

    not begun            wait for the nodes before it; then skip, expand, wait for something outside, or offer it
    retrying             the next attempt, once its time has come
    queued, scheduled,   its limits of time; in a lane, the offer once the slot is granted
    running              with parts: the next parts, or the end of the step
    waiting              what it waits for may have come, or its time may be over
    failed,              what its policy says: see attempts.handle_failure
    outcome_unknown
    completed, skipped   it is final: what waits for it comes closer

`advance` may be called at any time and any number of times. After a crash it decides exactly what is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from agentflow_common import events as ev
from agentflow_common.errors import InvalidError
from agentflow_common.events import StepError
from agentflow_common.runs.parts import whole_of
from agentflow_common.runs.state import ACTIVE, StepStatus, iteration_key, parent_of, present_keys
from agentflow_scheduler.runs import completion
from agentflow_scheduler.runs.decisions import RunDecisions, StepContext
from agentflow_scheduler.runs.plan import skip_reason
from agentflow_scheduler.runs.run import Run, is_begun, is_undo
from agentflow_scheduler.runs.steps import attempts, breakpoints, expansion, joins, lane_slots, locks, waits
from agentflow_scheduler.runs.steps.time_limits import await_heartbeat, set_missing_timers, watch_heartbeat
from agentflow_scheduler.runs.steps.verdict import mistake


def advance(run: Run, out: RunDecisions, key: str) -> None:
    """Decides what follows from a step's present status. Does nothing if that was decided before. Raises NeedBlob."""
    node = run.node(key)
    if node is None:
        return
    at = StepContext(run, out, node, key)
    step = run.state.steps.get(key)
    if step is not None and step.lane:
        lane_slots.release_if_over(at)
    if key in run.decided or is_undo(key) or not run.is_present(key, node) or run.is_left_over(key):
        return
    if node.at_end is (run.state.finishing is None):  # see finally_nodes.py
        return
    try:
        if not is_begun(step):
            _advance_pending(at)
        elif key in run.faults:
            _fail(at, InvalidError(run.faults[key].message))
        else:
            _advance_begun(at)
    except InvalidError as error:
        _fail(at, error)


def _advance_pending(at: StepContext) -> None:
    run, key = at.run, at.key
    if key in present_keys(run.state, at.node.id):
        if not run.blockers(at.node.id) or joins.is_due(at):
            _begin(at)
        return
    parent = parent_of(key)  # a child is begun by the step that it is a part of
    if parent is not None and key == iteration_key(parent, run.state.steps[parent].iteration):
        attempts.begin(at, 1)


_BEGIN: Final[dict[str, Callable[[StepContext], None]]] = {
    "map": expansion.expand,
    "loop": expansion.begin_loop,
    "wait": waits.begin_wait,
    "signal": waits.begin_signal,
    "approval": waits.begin_approval,
}


def _begin(at: StepContext) -> None:
    """Skips, expands, starts or offers a step that does not wait for other steps any more, or asks for its locks."""
    at.run.lock_waits.pop(at.key, None)
    try:
        at.run.check_fault(at.key)
        if at.node.need:
            reason = joins.skip_reason(at)
        else:
            reason = skip_reason(at.scope, at.node, bool(at.run.plan.loops) and at.run.is_revisited(at.node))
        if at.key in at.out.stopped:
            return  # a join, which has not closed the others yet
        if reason:
            at.emit(ev.StepSkipped, reason=reason)
            at.run.mark_final(at.key)
        elif breakpoints.hold(at):
            pass  # it begins once the run continues
        elif at.node.kind == "continue_as_new":
            at.run.continuations[at.key] = None
        elif not locks.admit(at):
            pass  # it begins once its run has the locks
        elif at.node.kind == "end":
            completion.begin_end(at)
        elif at.node.kind in _BEGIN:
            _BEGIN[at.node.kind](at)
        elif at.node.parallel:
            expansion.expand(at)
        else:
            attempts.begin(at, 1)
    except InvalidError as error:
        attempts.fail_undecidable(at, error)


_AWAITED: Final[dict[str, Callable[[StepContext], None]]] = {
    "wait": waits.advance_wait,
    "signal": waits.advance_signal,
    "approval": waits.advance_approval,
    "subworkflow": waits.advance_subworkflow,
}


def _advance_begun(at: StepContext) -> None:
    step = at.step
    status = step.status
    if status in {StepStatus.COMPLETED, StepStatus.SKIPPED}:
        if at.node.kind == "continue_as_new" and status is StepStatus.COMPLETED:
            at.out.successor = at.key  # only the end is missing
        at.run.mark_final(at.key)
    elif status in {StepStatus.FAILED, StepStatus.OUTCOME_UNKNOWN}:
        attempts.handle_failure(at)
    elif status is StepStatus.CANCELLED and (step.lost_to or parent_of(at.key) is not None):
        if step.lost_to:
            at.run.mark_final(at.key)
    elif status is StepStatus.WAITING:
        _AWAITED[step.waiting](at)
    elif status is StepStatus.RETRYING:
        _advance_retrying(at)
    elif step.expired and step.has_parts:
        expansion.cancel_parts(at, "the step took too long")
        _time_out(at)
    elif step.width >= 0:
        expansion.advance_children(at)
    elif step.kind == "loop":
        expansion.advance_loop(at)
    else:
        _advance_attempt(at)


def _advance_retrying(at: StepContext) -> None:
    step = at.step
    if step.expired:
        _time_out(at)
    elif step.due:
        attempts.begin(at, step.attempt + 1)
    else:
        set_missing_timers(at)


def _advance_attempt(at: StepContext) -> None:
    """Decides about an attempt that waits for its slot, is offered, or runs."""
    step = at.step
    queued = step.status is StepStatus.QUEUED and not step.expired
    if queued and step.granted:
        set_missing_timers(at)
        attempts.start_in_lane(at)
    elif queued and not step.lane:
        attempts.ask_for_slot_again(at)
    elif not (step.due or step.expired):
        set_missing_timers(at)
        watch_heartbeat(at)
    elif step.reason == "heartbeat" and step.beat and not step.expired:
        await_heartbeat(at)
    else:
        _time_out(at)


def _time_out(at: StepContext) -> None:
    step, policy = at.step, at.node.policy
    if step.expired:
        bound, length_ms = "total", policy.total_timeout_ms
    elif step.reason == "heartbeat":
        bound, length_ms = "heartbeat", policy.heartbeat_ms
    else:
        bound, length_ms = "", at.node.timeout_ms
    at.emit(ev.StepTimedOut, attempt=step.attempt, timeout_ms=length_ms or 0, bound=bound, cause=_cause_of(at))
    lane_slots.release(at)
    attempts.handle_failure(at)


def _cause_of(at: StepContext) -> StepError | None:
    """Returns the error before a step's total time was over: of its last attempt, or of one of its parts."""
    if not at.step.expired:
        return None
    if not at.step.has_parts:
        return at.step.error
    parts = [part for key, part in at.state.steps.items() if whole_of(key) == at.key and part.error is not None]
    return max(parts, key=lambda part: part.finished_at).error if parts else None


def _fail(at: StepContext, error: InvalidError) -> None:
    """Fails a step that can't go on, with its parts. If it is over already, the run fails because of it."""
    step = at.state.steps.get(at.key)
    if step is not None and step.status in {StepStatus.COMPLETED, StepStatus.SKIPPED}:
        at.out.failure = (at.run.faults.get(at.key) or mistake(at.key, error), at.key)
        return
    expansion.cancel_parts(at, "the step can't go on")
    if step is not None and (step.status in ACTIVE or step.child) and not step.has_parts:
        attempts.cancel(at, "the step can't go on")  # the worker or the subworkflow is asked to stop
    attempts.fail_undecidable(at, error)
    lane_slots.release_if_over(at)
