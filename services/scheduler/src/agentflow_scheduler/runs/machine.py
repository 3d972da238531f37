"""The run machine: decides what happens next in a run, as a pure function of its folded state.

There is no I/O, no clock and no randomness in here. `decide` goes through these phases in order. The first one that is
not over ends the turn:

1. Start: a run that is pending is started, and the timer of its deadline is set.
2. Ending: a run that is being compensated goes on with that. Nothing else is decided any more.
3. Cancel: a run that was asked to cancel is closed and compensated, after its grace period.
4. Deadline: a run that takes too long fails.
5. Pause: a paused run begins nothing. A timer ends the pause if it was asked for until a time. A run that is stopped
   before a breakpoint is treated alike, until it is asked to continue.
6. Slot: a run that takes a slot of a run lane asks for it, and begins no step before it has it. One that is refused
   ends.
7. Steps: each dirty step is advanced, until none is left. That may make other steps dirty. In between, the back edges
   of loops are decided, and at last a `continue_as_new` that is due. A step that needs a value from outside, or room
   in a worker pool, waits for the next turn.
8. Superstep: when all steps of a graph's superstep are decided, the next one begins, and the steps follow again.
9. End: a step failed the run, or it ends at an `end` node, or it continues as a new one, or it waits, or nothing is
   left and it completes.
10. Finally: once it is decided how the run ends, its nodes with `finally: true` run, and nothing but these. Then comes
    the last event.

Each decision is folded into the state as it is taken. The decisions are returned in order, with the facts for other
entities that go out together with them. The machine is driven by the state and not by single events. So after a crash,
deciding again on the refolded log adds exactly what is missing. The same log and times give the same decisions.

A node runs when every node that it waits for is decided and at least one incoming edge was taken: its source ran, and
its condition holds. A step that failed, and without which the run goes on, has run; its output is null. A node is
skipped when no edge was taken or its own condition is false.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from agentflow_common import events as ev
from agentflow_common.errors import InvalidError
from agentflow_common.events import StepError
from agentflow_common.runs import timer_ids
from agentflow_common.runs.state import OPEN, Finishing, RunStatus, ended_by, node_of
from agentflow_scheduler.runs import back_edges, chain, completion, continuation, ending, run_slots
from agentflow_scheduler.runs.decisions import RunDecisions, StepContext, unbounded
from agentflow_scheduler.runs.faults import ENDING_LOST_TEXT, ENGINE_ERROR, StepFault
from agentflow_scheduler.runs.graphs import supersteps
from agentflow_scheduler.runs.run import Run
from agentflow_scheduler.runs.scope import NeedBlob
from agentflow_scheduler.runs.steps import advance, breakpoints, finally_nodes, lane_slots, locks
from agentflow_scheduler.runs.steps.verdict import UNDECIDABLE


def decide(run: Run, now_ms: int, blobs: Mapping[str, Any], take: Callable[[str], bool] = unbounded) -> RunDecisions:
    """Decides everything that can be decided now.

    blobs: the fetched values that are stored out of line, by SHA-256. take: asks for room in a worker pool, see
    RunDecisions.

    Raises StepFault for an error of the engine itself. The run's state then contains a part of the decisions and can't
    be used. It has to be read from the log again and decided as faults.py says.
    """
    out = RunDecisions(run, now_ms, blobs, take)
    try:
        if not run.state.status.terminal:
            _decide(run, out)
    except NeedBlob as need:
        out.ask(need.refs)
    except Exception as error:
        raise StepFault(out.at, error) from error
    return out


def _decide(run: Run, out: RunDecisions) -> None:
    state = run.state
    if state.finishing is None:
        _decide_steps(run, out)
    if state.finishing is not None and not state.status.terminal:
        _finish(run, out, state.finishing)


def _decide_steps(run: Run, out: RunDecisions) -> None:
    state = run.state
    if run.broken is not None and run.past_help:
        ending.abort_run(run, out, *run.broken)
        return
    _start(run, out)
    if state.ending is not None:
        ending.proceed(run, out)
    elif run.broken is not None:
        ending.fail_run(run, out, *run.broken)
    elif state.cancel_requested:
        ending.cancel_run(run, out)
    elif state.deadline_passed:
        error = StepError("deadline", f"the run did not end within {state.deadline_ms} ms", retryable=False)
        ending.fail_run(run, out, error, "")
    elif run.ending_lost and not run.ending_searched and ending.resume(run, out):
        pass
    elif state.slot_refused is not None:
        ending.refuse_run(run, out, state.slot_refused)
    elif state.locks is not None and state.locks.refused is not None:
        ending.fail_run(run, out, state.locks.refused, "")
    elif state.pause_requested or breakpoints.is_stopped(state):
        _pause(run, out)
    else:
        if state.status is RunStatus.PAUSED:
            out.emit(ev.RunResumed)
        _begin(run, out)


def _start(run: Run, out: RunDecisions) -> None:
    state = run.state
    if state.status is RunStatus.PENDING:
        out.emit(
            ev.RunStarted,
            workflow=state.workflow,
            version=state.version,
            steps=len(run.plan.nodes),
            submitted_at=state.submitted_at,
            tags=state.tags,
        )
    if state.deadline_ms is not None and not state.deadline_passed and timer_ids.DEADLINE not in state.timers:
        out.emit(ev.TimerSet, timer=timer_ids.DEADLINE, kind="deadline", fire_at=state.submitted_at + state.deadline_ms)


def _begin(run: Run, out: RunDecisions) -> None:
    """Advances the steps as soon as the run has the slot of its run lane, if it takes one."""
    breakpoints.note_changes(out, run.state)
    try:
        admitted = run_slots.admit(run, out)
    except InvalidError as error:
        ending.fail_run(run, out, StepError(UNDECIDABLE, error.message, retryable=False), "")
        return
    if admitted:
        _advance(run, out)


def _pause(run: Run, out: RunDecisions) -> None:
    """Gives the slots of keyed lanes back. Running steps go on, and their reports are decided on after the pause."""
    state, until = run.state, run.state.paused_until
    breakpoints.note_changes(out, state)
    if state.status is not RunStatus.PAUSED:
        out.emit(ev.RunPaused, reason=state.pause_reason, by=state.paused_by, until=until)
    if until and timer_ids.pause_end(until) not in state.timers:
        out.emit(ev.TimerSet, timer=timer_ids.pause_end(until), kind="pause", fire_at=until)
    for key in run.dirty:
        step = state.steps.get(key)
        if step is not None and step.lane:
            out.at = key
            at = StepContext.of(run, out, key)
            lane_slots.release_if_over(at)
            lane_slots.give_back(at)


def _advance(run: Run, out: RunDecisions) -> None:
    waiting: dict[str, None] = {}  # steps that can't be decided now, for want of a value or of room in a pool
    out.end = ended_by(run.state, run.plan.ends)
    try:
        _advance_steps(run, out, waiting)
        while run.plan.graph is not None and not (run.undecided_count or out.failure or out.successor or out.end):
            if run.state.status.terminal or not supersteps.begin_superstep(run, out):
                break
            _advance_steps(run, out, waiting)
    finally:  # a back edge or a graph may need a value, too
        run.dirty.update(waiting)
    out.at = ""
    if out.failure is None:
        locks.release(run, out)
    if out.failure is not None:
        ending.fail_run(run, out, *out.failure)
    elif out.end:
        completion.end_early(run, out)
    elif out.stopped:
        breakpoints.stop(out, state=run.state)
    elif out.successor:
        continuation.finish(run, out)
    elif run.undecided_count and not waiting and run.ending_searched and not _goes_on(run, out):
        ending.fail_run(run, out, StepError(ENGINE_ERROR, ENDING_LOST_TEXT, retryable=False), "")
    elif run.undecided_count or run.loop_exits or waiting:
        _emit_waiting(run, out)
        chain.extend(run, out)
    elif not ending.waits_for_children(run, out):
        completion.complete(run, out)


def _finish(run: Run, out: RunDecisions, how: Finishing) -> None:
    """Runs the nodes with `finally: true`, and then ends the run."""
    state = run.state
    out.failure, out.end = None, ""  # they led here
    out.scope = out.scope.within(finally_nodes.names(how))
    error: tuple[StepError, str] | None = run.broken
    if not (error or state.finally_over or state.cancel_forced):
        error = _advance_last(run, out)
        if error is None and run.undecided_count:
            return
    if error or state.finally_over or state.cancel_forced:  # one that has ended gives its slot back here, too
        if error is None and state.finally_over and finally_nodes.left(run):
            error = (finally_nodes.too_late(run), "")
        reason = error[0].message if error else state.cancel_reason or "the run was cancelled by force"
        ending.close_all(run, out, reason, state.cancel_forced)
    if state.cancel_forced or not ending.waits_for_children(run, out):
        ending.end_as(run, out, finally_nodes.end_of(run, how, error))


def _advance_last(run: Run, out: RunDecisions) -> tuple[StepError, str] | None:
    """Advances the nodes with `finally: true`. Returns the error of the engine that ends them, if there is one."""
    if timer_ids.FINALLY not in run.state.timers:
        fire_at = out.now_ms + run.plan.definition.finally_ms
        out.emit(ev.TimerSet, timer=timer_ids.FINALLY, kind="finally", fire_at=fire_at)
    waiting: dict[str, None] = {}
    try:
        _advance_steps(run, out, waiting)
    finally:
        run.dirty.update(waiting)
    out.at = ""
    if out.failure is None and run.undecided_count:
        _emit_waiting(run, out)
    return out.failure


def _goes_on(run: Run, out: RunDecisions) -> bool:
    """True if something is left that the run waits for."""
    queued = run.dirty or run.loop_exits or run.continuations or run.lock_waits or run.state.undoing or out.held
    return bool(queued) or any(step.status in OPEN for step in run.state.steps.values())


def _advance_steps(run: Run, out: RunDecisions, waiting: dict[str, None]) -> None:
    while (run.dirty or run.loop_exits or run.continuations) and out.failure is None:
        if out.successor or out.end or run.state.status.terminal:
            break
        if run.loop_exits:
            back_edges.decide_next(run, out)
            continue
        if not run.dirty:
            if waiting or run.lock_waits or not continuation.begin(run, out):
                break
            continue
        key = out.at = breakpoints.next_key(run)
        del run.dirty[key]
        try:
            advance.advance(run, out, key)
        except NeedBlob as need:
            waiting[key] = None
            out.ask(need.refs)
        if key in out.stopped:
            waiting[key] = None
        if out.held and key in run.dirty:
            del run.dirty[key]
            waiting[key] = None


def _emit_waiting(run: Run, out: RunDecisions) -> None:
    state = run.state
    idle = not (run.in_flight or run.dirty or out.held)
    waits = (*run.external_waits, *run.lock_waits)
    if state.finishing is not None:  # an unknown outcome before the end is nothing that it waits for
        waits = tuple(key for key in run.external_waits if node_of(key) in run.plan.last)
    if idle and state.status is RunStatus.RUNNING and waits:
        out.emit(ev.RunWaiting, steps=waits)
    elif state.status is RunStatus.WAITING and run.in_flight:
        out.emit(ev.RunResumed)
