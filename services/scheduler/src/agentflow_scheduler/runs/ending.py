"""How a run ends before it is complete: by a failure, a deadline, or a cancel. Pure.

1. `cancel_run` may wait: active steps have a grace period in which they may end by themselves.
2. Everything under way is closed (`close_all`). Subworkflows are asked to end.
3. Undoing goes backwards through a tree of runs. A subworkflow undoes its own steps first, and then reports its end.
   Before that the run undoes nothing and does not end. `state.undoing` lists the subworkflows that it waits for,
   however their steps were closed: by the run's end, by a map that failed, by a timeout. The wait has a bound.
4. The steps that took effect are undone (saga.py).
5. Nodes with `finally: true` run (steps/finally_nodes.py).
6. One last event ends the run and names what was undone and what was not. The parent gets it in the same append.

`run.compensating` keeps how the run will end (`state.ending`) as soon as there is something to wait for. Without it a
crash may come after some steps were closed. `resume` finds the cause again then.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from agentflow_common import events as ev
from agentflow_common.events import ParentRef, Payload, StepError
from agentflow_common.lanes.fold import LANE_FULL
from agentflow_common.runs import timer_ids
from agentflow_common.runs.state import (
    ACTIVE,
    OPEN,
    Ending,
    Finishing,
    RunState,
    RunStatus,
    StepState,
    StepStatus,
    ended_by,
    undoing_steps,
)
from agentflow_scheduler.runs import run_slots
from agentflow_scheduler.runs.decisions import RunDecisions, StepContext
from agentflow_scheduler.runs.run import Run
from agentflow_scheduler.runs.saga import effective_steps, is_undone, undo_steps
from agentflow_scheduler.runs.scope import fitting
from agentflow_scheduler.runs.steps import attempts, finally_nodes, lane_slots, locks, subworkflows
from agentflow_scheduler.runs.steps.verdict import error_of, fails_run

CHILDREN_MS: Final = 6 * 3_600_000  # how long a run waits for its subworkflows to undo, for each level below it


def close_all(run: Run, out: RunDecisions, reason: str, force: bool = False) -> None:
    """Closes every step that is under way."""
    for key in [*run.in_flight, *run.external_waits]:
        attempts.cancel(StepContext.of(run, out, key), reason, force)
    for key, step in list(run.state.steps.items()):
        if step.status in OPEN:  # one that has parts
            out.emit(ev.StepCancelled, step=key, attempt=step.attempt, reason=reason)
        elif step.lane:
            lane_slots.release(StepContext.of(run, out, key))


def fail_run(run: Run, out: RunDecisions, error: StepError, step: str) -> None:
    """Fails the run. Its steps are compensated first."""
    close_all(run, out, f"the run failed at {step}" if step else error.message)
    _begin(run, out, Ending(str(RunStatus.FAILED), (), error, step))


def abort_run(run: Run, out: RunDecisions, error: StepError, step: str) -> None:
    """Fails the run at once. Its last event names what is not undone."""
    close_all(run, out, f"the run failed at {step}" if step else error.message)
    effective = effective_steps(run.state)
    done = tuple(key for key in effective if is_undone(run.state, key))
    left = (*(key for key in effective if key not in done), *undoing_steps(run.state))
    end_as(run, out, Finishing(str(RunStatus.FAILED), Payload(), error, step, "", done, left))


def refuse_run(run: Run, out: RunDecisions, error: StepError) -> None:
    """Ends a run that its run lane does not let begin."""
    if error.type == LANE_FULL:
        fail_run(run, out, error, "")
        return
    close_all(run, out, error.message)
    _begin(run, out, Ending(str(RunStatus.CANCELLED), (), error, reason=error.message))


def resume(run: Run, out: RunDecisions) -> bool:
    """Resumes an ending that a crash interrupted after some steps had been closed.

    The step that caused the failure may itself be a part of a closed step by now, so it is searched for again. Returns
    True if there was such an ending.
    """
    run.ending_searched = True
    if ended_by(run.state, run.plan.ends):  # completion.py goes on with it
        return False
    for key, step in run.state.steps.items():
        node = run.node(key)
        if node is not None and fails_run(node, key, step):
            fail_run(run, out, error_of(step), key)
            return True
    return False


def end_as_cancelled(run: Run, out: RunDecisions, reason: str) -> None:
    """Ends the run as cancelled at a step of its own. Its steps are compensated first."""
    close_all(run, out, reason)
    _begin(run, out, Ending(str(RunStatus.CANCELLED), (), reason=reason))


# --- a cancel ---


def cancel_run(run: Run, out: RunDecisions) -> None:
    """Cancels the run. If there is a grace period, active steps may first end by themselves."""
    state = run.state
    reason = state.cancel_reason or "the run was cancelled"
    if state.cancel_grace_ms and not state.cancel_forced and _wait_for_active(run, out, reason):
        return
    close_all(run, out, reason, state.cancel_forced)
    how = Ending(str(RunStatus.CANCELLED), (), reason=state.cancel_reason)
    if state.cancel_forced:
        _end(run, out, msgspec.structs.replace(how, steps=effective_steps(state)), (), ())
    else:
        _begin(run, out, how)


def _wait_for_active(run: Run, out: RunDecisions, reason: str) -> bool:
    state = run.state
    under_way = [StepContext.of(run, out, key) for key in (*run.in_flight, *run.external_waits)]
    if not any(_may_end_itself(at.step) for at in under_way):
        return False
    if not state.cancelling:
        out.emit(ev.RunCancelling, reason=reason, until=out.now_ms + state.cancel_grace_ms)
    for at in under_way:  # again each time: a crash may have come in between
        step = at.step
        if step.child and step.status is StepStatus.WAITING:
            cancelled = f"{step.child}:{state.cancel_grace_ms}"
            if cancelled not in run.cancelled_children:
                run.cancelled_children[cancelled] = None
                subworkflows.cancel(at, reason, grace_ms=state.cancel_grace_ms)
        elif not _may_end_itself(step):
            attempts.cancel(at, reason)
    timer = timer_ids.grace(state.cancel_grace_ms)
    if timer not in state.timers:
        out.emit(ev.TimerSet, timer=timer, kind="grace", fire_at=out.now_ms + state.cancel_grace_ms)
    return True


def _may_end_itself(step: StepState) -> bool:
    return step.status in ACTIVE or (step.status is StepStatus.WAITING and bool(step.child))


# --- what is undone first ---


def waits_for_children(run: Run, out: RunDecisions) -> bool:
    """True while subworkflows that were asked to end have not. After a bounded time the run goes on without them."""
    state = run.state
    if not state.undoing or state.patience_over:
        return False
    if timer_ids.CHILDREN not in state.timers:
        levels = max(1, run.plan.depth_max + 1 - state.depth)  # more than any of its children has
        out.emit(ev.TimerSet, timer=timer_ids.CHILDREN, kind="children", fire_at=out.now_ms + CHILDREN_MS * levels)
    return True


def _begin(run: Run, out: RunDecisions, how: Ending) -> None:
    state = run.state
    children = () if state.patience_over else undoing_steps(state)
    steps = () if children else effective_steps(state)
    if not (children or steps):
        _end(run, out, how, (), undoing_steps(state))
        return
    _compensate(out, msgspec.structs.replace(how, steps=steps, children=children))
    proceed(run, out)


def _compensate(out: RunDecisions, how: Ending) -> None:
    out.emit(ev.RunCompensating, **msgspec.structs.asdict(how))


def proceed(run: Run, out: RunDecisions) -> None:
    """Goes on with `state.ending`: waits for subworkflows, undoes the steps, and ends the run. Raises NeedBlob."""
    state = run.state
    how = state.ending
    assert how is not None  # noqa: S101
    if how.children:
        if not state.cancel_forced and waits_for_children(run, out):
            return
        how = msgspec.structs.replace(how, steps=effective_steps(state), children=())
        if how.steps and not state.cancel_forced:
            _compensate(out, how)
    undone = undo_steps(run, out, how.steps)
    if undone is not None:
        _end(run, out, how, undone, () if state.cancel_forced else undoing_steps(state))


# --- the end ---


def _end(run: Run, out: RunDecisions, how: Ending, compensated: tuple[str, ...], given_up: tuple[str, ...]) -> None:
    """Ends the run. given_up: steps whose subworkflows were waited for in vain."""
    left = (*(key for key in how.steps if key not in compensated), *given_up)
    finish(run, out, Finishing(how.status, Payload(), how.error, how.step, how.reason, compensated, left))


def finish(run: Run, out: RunDecisions, how: Finishing, for_parent: Payload | None = None) -> None:
    """Ends the run. Its nodes with `finally: true` run before. for_parent: see `end_as`."""
    if finally_nodes.are_due(run):
        out.emit(ev.RunFinishing, **msgspec.structs.asdict(how))
        run.begin_last()
    else:
        end_as(run, out, how, for_parent)


def end_as(run: Run, out: RunDecisions, how: Finishing, for_parent: Payload | None = None) -> None:
    """Ends the run with its last event. for_parent: the output, if it was computed before. Raises NeedBlob."""
    state = run.state
    if for_parent is None:
        for_parent = output_for_parent(out, how.output)
    common: dict[str, Any] = totals(state, out.now_ms)
    undone = {"compensated": how.compensated, "uncompensated": how.uncompensated}
    if how.status == RunStatus.COMPLETED:
        out.emit(ev.RunCompleted, output=how.output, **common)
    elif how.status == RunStatus.FAILED:
        assert how.error is not None  # noqa: S101
        out.emit(ev.RunFailed, error=how.error, step=how.step, **common, **undone)
    else:
        out.emit(ev.RunCancelled, reason=how.reason, error=how.error, **common, **undone)
    locks.give_back(state, out)
    run_slots.give_back(state, out)
    if state.cancel_forced:  # forwarded to the subworkflows that still undo
        for key, child in state.undoing.items():
            step, _, attempt = key.rpartition("/")
            parent = ParentRef(state.run, step, int(attempt))
            subworkflows.send_cancel(out, state, child, parent, reason=state.cancel_reason, force=True)
    subworkflows.notify_parent(run, out, for_parent, how.error)


def output_for_parent(out: RunDecisions, output: Payload) -> Payload:
    """Returns the run's output with all its values, if another run waits for it. Raises InvalidError, NeedBlob."""
    state: RunState = out.scope.state
    if state.parent is None or output == Payload():
        return Payload()
    return Payload(value=fitting(out.scope.inside(out.scope.look(output)), "the run's output"))


def totals(state: RunState, now_ms: int) -> dict[str, int]:
    return {"cost_nano": state.cost_nano, "duration_ms": max(0, now_ms - state.submitted_at)}
