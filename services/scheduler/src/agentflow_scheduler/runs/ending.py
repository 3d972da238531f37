"""How a run ends: what is under way is closed, what has taken effect is undone, then one last event. Pure.

Undoing goes backwards through a tree of runs. A subworkflow that is told to end undoes its own steps first, and then
tells its parent that it has ended. The parent undoes nothing and does not end before that. `state.undoing` holds the
subworkflows that it waits for, however their steps were closed: by the run's end, by a map that gave up, by a timeout.
The wait has a bound.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from agentflow_common import events as ev
from agentflow_common.errors import InvalidError
from agentflow_common.events import ParentRef, Payload, StepError
from agentflow_common.runs import timer_ids
from agentflow_common.runs.state import (
    ACTIVE,
    OPEN,
    RunState,
    RunStatus,
    StepState,
    StepStatus,
    undo_key,
    undoing_steps,
)
from agentflow_common.subjects import kind_of
from agentflow_scheduler.runs import attempts, expansion
from agentflow_scheduler.runs.decisions import RunDecisions
from agentflow_scheduler.runs.run import Run
from agentflow_scheduler.runs.verdict import error_of, is_final, is_unsure

_NO_EFFECT: Final = frozenset({StepStatus.PENDING, StepStatus.SKIPPED, StepStatus.QUEUED, StepStatus.RETRYING})
CHILDREN_MS: Final = 6 * 3_600_000  # that a run waits for its subworkflows to undo, for each level that may be below it


def close_all(run: Run, out: RunDecisions, reason: str, force: bool = False) -> None:
    for key in [*run.in_flight, *run.external_waits]:
        expansion.close(run, out, key, reason, force)
    for key, step in list(run.state.steps.items()):
        if step.status in OPEN:  # expanded and iterating ones
            out.emit(ev.StepCancelled, step=key, attempt=step.attempt, reason=reason)
        if step.lane and step.status not in OPEN:
            attempts.release(run, out, key, step)


def fail(run: Run, out: RunDecisions, error: StepError, step: str, undo: bool = True) -> None:
    """Fails the run. undo: its steps are compensated first; else it ends at once, and says what is not undone."""
    close_all(run, out, f"the run failed at {step}" if step else error.message)
    if undo:
        _begin_ending(run, out, RunStatus.FAILED, error, step, "")
        return
    effective = _effective(run.state)
    done = tuple(key for key in effective if _is_undone(run.state, key))
    left = (*(key for key in effective if key not in done), *undoing_steps(run.state))
    _end(run, out, RunStatus.FAILED, error, step, "", done, left)


def _is_undone(state: RunState, key: str) -> bool:
    undo = state.steps.get(undo_key(key))
    return undo is not None and undo.status is StepStatus.COMPLETED and not _acted_twice(state.steps[key])


def resume(run: Run, out: RunDecisions) -> bool:
    """Goes on with the end of a run that has failed, when a crash came after some of its steps were closed: what it
    failed of may be a part of a closed step by now, of which nothing follows. Whether there was such an end."""
    run.ending_searched = True
    for key, step in run.state.steps.items():
        node = run.node(key)
        if node is not None and is_final(node, key, step):
            fail(run, out, error_of(step), key)
            return True
    return False


def cancel(run: Run, out: RunDecisions) -> None:
    """Active steps may first end by themselves, if there is a grace period."""
    state = run.state
    reason = state.cancel_reason or "the run was cancelled"
    if state.cancel_grace_ms and not state.cancel_forced and _wait_for_active(run, out, reason):
        return
    close_all(run, out, reason, state.cancel_forced)
    if state.cancel_forced:
        _end(run, out, RunStatus.CANCELLED, None, "", state.cancel_reason, (), _effective(state))
    else:
        _begin_ending(run, out, RunStatus.CANCELLED, None, "", state.cancel_reason)


def _wait_for_active(run: Run, out: RunDecisions, reason: str) -> bool:
    state = run.state
    active = [key for key in (*run.in_flight, *run.external_waits) if _may_end_itself(state.steps[key])]
    if not active:
        return False
    if not state.cancelling:
        until = out.now_ms + state.cancel_grace_ms
        out.emit(ev.RunCancelling, reason=reason, until=until)
    for key in [*run.in_flight, *run.external_waits]:  # a crash may have come in between
        step = state.steps[key]
        if step.child and step.status is StepStatus.WAITING:
            word = f"{step.child}:{state.cancel_grace_ms}"
            if word not in run.cancelled_children:
                run.cancelled_children[word] = None
                attempts.cancel_child(run, out, key, step.attempt, step.child, reason, grace_ms=state.cancel_grace_ms)
        elif not _may_end_itself(step):
            expansion.close(run, out, key, reason)
    timer = timer_ids.grace(state.cancel_grace_ms)
    if timer not in state.timers:
        out.emit(ev.TimerSet, timer=timer, kind="grace", fire_at=out.now_ms + state.cancel_grace_ms)
    return True


def _may_end_itself(step: StepState) -> bool:
    return step.status in ACTIVE or (step.status is StepStatus.WAITING and bool(step.child))


# --- compensation ---


def _effective(state: RunState) -> tuple[str, ...]:
    """Steps whose effect is there, or may be: the newest first."""
    return tuple(key for key in reversed(state.undo) if _may_have_effect(state.steps[key]))


def _may_have_effect(step: StepState) -> bool:
    if step.status in _NO_EFFECT:
        return False
    if step.child:  # a run that did not complete undoes its own steps
        return step.status is StepStatus.COMPLETED or step.late is not None
    return step.status is not StepStatus.FAILED or is_unsure(step)


def _acted_twice(step: StepState) -> bool:
    """Whether two runs of a subworkflow completed, one of them after its step had given it up: one is undone."""
    return bool(step.child) and step.late is not None and step.status is StepStatus.COMPLETED


def waits_for_children(run: Run, out: RunDecisions) -> bool:
    """True while subworkflows that were told to end have not; there is a time by which the run goes on without them."""
    state = run.state
    if not state.undoing or state.patience_over:
        return False
    if timer_ids.CHILDREN not in state.timers:
        levels = attempts.DEPTH_MAX + 1 - state.depth  # more than any of its children has
        out.emit(ev.TimerSet, timer=timer_ids.CHILDREN, kind="children", fire_at=out.now_ms + CHILDREN_MS * levels)
    return True


def _begin_ending(
    run: Run, out: RunDecisions, status: RunStatus, error: StepError | None, step: str, reason: str
) -> None:
    how: dict[str, Any] = {"status": str(status), "error": error, "step": step, "reason": reason}
    children = () if run.state.patience_over else undoing_steps(run.state)
    effective = () if children else _effective(run.state)
    if not (children or effective):
        _end(run, out, status, error, step, reason, (), undoing_steps(run.state))
        return
    out.emit(ev.RunCompensating, steps=effective, children=children, **how)
    compensate(run, out)


def compensate(run: Run, out: RunDecisions) -> None:
    """Undoes one step after the other, once the subworkflows have undone theirs; then the run ends. Raises NeedBlob."""
    state = run.state
    ending = state.ending
    assert ending is not None  # noqa: S101
    if ending.children:
        if not state.cancel_forced and waits_for_children(run, out):
            return
        ending = msgspec.structs.replace(ending, steps=_effective(state), children=())
        if ending.steps and not state.cancel_forced:
            out.emit(ev.RunCompensating, **msgspec.structs.asdict(ending))
    done: list[str] = []
    undone: list[str] = []
    for key in ending.steps:
        name = out.at = undo_key(key)
        step = state.steps.get(name)
        if state.cancel_forced and (step is None or step.status is not StepStatus.COMPLETED):
            if step is not None:
                expansion.close(run, out, name, "the run was cancelled by force")
            undone.append(key)
            continue
        if step is None:
            node = run.node(key)
            assert node is not None  # noqa: S101
            attempts.schedule(run, out, node, name, 1)
            step = state.steps[name]
        _look_at_undo(run, out, name, step)
        if name not in run.decided:
            return
        (done if _is_undone(state, key) else undone).append(key)
    out.at = ""
    if not state.cancel_forced:
        undone.extend(undoing_steps(state))  # they were waited for in vain
    status = RunStatus(ending.status)
    _end(run, out, status, ending.error, ending.step, ending.reason, tuple(done), tuple(undone))


def _look_at_undo(run: Run, out: RunDecisions, name: str, step: StepState) -> None:
    node = run.node(name)
    assert node is not None  # noqa: S101
    if name in run.decided:
        return
    if step.status is StepStatus.COMPLETED:
        attempts.decided(run, name)
    elif name in run.faults:
        attempts.undecidable(run, out, node, name, InvalidError(run.faults[name].message))
    elif step.status is StepStatus.RETRYING and step.due:
        attempts.schedule(run, out, node, name, step.attempt + 1)
    elif step.due and step.status in ACTIVE:
        out.emit(ev.StepTimedOut, step=name, attempt=step.attempt, timeout_ms=node.timeout_ms or 0)
        attempts.failed(run, out, node, name, step)
    elif step.status in {StepStatus.FAILED, StepStatus.OUTCOME_UNKNOWN}:
        attempts.failed(run, out, node, name, step)
    elif step.status in ACTIVE:
        attempts.set_missing_timers(out, node, name, step)


# --- the end ---


def _end(
    run: Run,
    out: RunDecisions,
    status: RunStatus,
    error: StepError | None,
    step: str,
    reason: str,
    compensated: tuple[str, ...],
    uncompensated: tuple[str, ...],
) -> None:
    state = run.state
    common: dict[str, Any] = {
        **totals(state, out.now_ms), "compensated": compensated, "uncompensated": uncompensated,
    }  # fmt: skip
    if status is RunStatus.FAILED:
        assert error is not None  # noqa: S101
        out.emit(ev.RunFailed, error=error, step=step, **common)
    else:
        out.emit(ev.RunCancelled, reason=reason, **common)
    _tell_children(run, out)
    tell_parent(run, out, Payload(), error)


def _tell_children(run: Run, out: RunDecisions) -> None:
    """Passes a forced cancel on to the subworkflows that still undo."""
    state = run.state
    if state.cancel_forced:
        for key, child in state.undoing.items():
            step, _, attempt = key.rpartition("/")
            attempts.cancel_child(run, out, step, int(attempt), child, state.cancel_reason, force=True)


def tell_parent(run: Run, out: RunDecisions, output: Payload, error: StepError | None) -> None:
    """The step or the schedule that had started this run, in the append that ends it."""
    parent = run.state.parent
    if parent is not None:
        out.send(ev.ChildEnded, to_org=run.state.org, to=parent.run, **of_end(run.state, parent, output, error))


def of_end(state: RunState, parent: ParentRef, output: Payload, error: StepError | None) -> dict[str, Any]:
    """The fields of `child.ended` for a run that is over."""
    continued = bool(state.continued_as)
    if error is None and state.status is RunStatus.CANCELLED:
        text = state.cancel_reason or "the subworkflow was cancelled"
        error = StepError("child_cancelled", text, retryable=False)
    return {
        "step": parent.step,
        "attempt": parent.attempt,
        "child": state.continued_as or state.run,
        "status": "continued" if continued else str(state.status),
        "output": Payload() if kind_of(parent.run) == "schedule" else output,
        "error": error,
        "cost_nano": state.cost_nano,
        "input_tokens": state.input_tokens,
        "output_tokens": state.output_tokens,
    }


def totals(state: RunState, now_ms: int) -> dict[str, int]:
    return {"cost_nano": state.cost_nano, "duration_ms": max(0, now_ms - state.submitted_at)}
