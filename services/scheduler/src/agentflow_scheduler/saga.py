"""How a run ends: what is under way is closed, what has taken effect is undone, then one last event. Pure."""

from __future__ import annotations

from typing import Any, Final

from agentflow_common import events as ev
from agentflow_common.events import Payload, StepError
from agentflow_common.runstate import (
    ACTIVE,
    OPEN,
    RunState,
    RunStatus,
    StepState,
    StepStatus,
    undo_key,
)
from agentflow_common.subjects import SCHEDULE_PREFIX
from agentflow_scheduler import composite, steps
from agentflow_scheduler.run import Decision, Run
from agentflow_scheduler.verdict import error_of, is_final

_NO_EFFECT: Final = frozenset({StepStatus.PENDING, StepStatus.SKIPPED, StepStatus.QUEUED, StepStatus.RETRYING})
_UNSURE: Final = frozenset({"timeout", "heartbeat_timeout", "outcome_unknown", "cancelled"})


def close_all(run: Run, out: Decision, reason: str, force: bool = False) -> None:
    for key in [*run.busy, *run.waits]:
        composite.close(run, out, key, reason, force)
    for key, step in list(run.state.steps.items()):
        if step.status in OPEN:  # expanded and iterating ones
            out.emit(ev.StepCancelled, step=key, attempt=step.attempt, reason=reason)
        if step.lane and step.status not in OPEN:
            steps.release(run, out, key, step)


def fail(run: Run, out: Decision, error: StepError, step: str) -> None:
    close_all(run, out, f"the run failed at {step}" if step else error.message)
    _begin_ending(run, out, RunStatus.FAILED, error, step, "")


def resume(run: Run, out: Decision) -> bool:
    """Goes on with the end of a run that has failed, when a crash came after some of its steps were closed: what it
    failed of may be a part of a closed step by now, of which nothing follows. Whether there was such an end."""
    run.cut_off = False
    for key, step in run.state.steps.items():
        node = run.node(key)
        if node is not None and is_final(node, key, step):
            fail(run, out, error_of(step), key)
            return True
    return False


def abort(run: Run, out: Decision, error: StepError) -> None:
    """Ends the run at once, without compensation."""
    close_all(run, out, error.message)
    _end(run, out, RunStatus.FAILED, error, "", "", (), _effective(run.state))


def cancel(run: Run, out: Decision) -> None:
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


def _wait_for_active(run: Run, out: Decision, reason: str) -> bool:
    state = run.state
    active = [key for key in (*run.busy, *run.waits) if _may_end_itself(state.steps[key])]
    if not active:
        return False
    if not state.cancelling:
        until = out.now_ms + state.cancel_grace_ms
        out.emit(ev.RunCancelling, reason=reason, until=until)
    for key in [*run.busy, *run.waits]:  # a crash may have come in between
        step = state.steps[key]
        if step.child and step.status is StepStatus.WAITING:
            word = f"{step.child}:{state.cancel_grace_ms}"
            if word not in run.told:
                run.told[word] = None
                out.send(
                    ev.RunCancelRequested, to_org=state.org, to=step.child, reason=reason, by=f"run {state.run}",
                    grace_ms=state.cancel_grace_ms,
                )  # fmt: skip
        elif not _may_end_itself(step):
            composite.close(run, out, key, reason)
    timer = f"grace:{state.cancel_grace_ms}"
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
        return step.status is StepStatus.COMPLETED
    return step.status is not StepStatus.FAILED or (step.error is not None and step.error.type in _UNSURE)


def _begin_ending(run: Run, out: Decision, status: RunStatus, error: StepError | None, step: str, reason: str) -> None:
    effective = _effective(run.state)
    if not effective:
        _end(run, out, status, error, step, reason, (), ())
        return
    out.emit(ev.RunCompensating, status=str(status), steps=effective, error=error, step=step, reason=reason)
    compensate(run, out)


def compensate(run: Run, out: Decision) -> None:
    """Undoes one step after the other; then the run ends. Raises NeedBlob."""
    state = run.state
    ending = state.ending
    assert ending is not None  # noqa: S101
    done: list[str] = []
    undone: list[str] = []
    for key in ending.steps:
        name = undo_key(key)
        step = state.steps.get(name)
        if state.cancel_forced and (step is None or step.status is not StepStatus.COMPLETED):
            if step is not None:
                composite.close(run, out, name, "the run was cancelled by force")
            undone.append(key)
            continue
        if step is None:
            node = run.node(key)
            assert node is not None  # noqa: S101
            steps.schedule(run, out, node, name, 1)
            step = state.steps[name]
        _look_at_undo(run, out, name, step)
        if name not in run.decided:
            return
        (done if step.status is StepStatus.COMPLETED else undone).append(key)
    status = RunStatus(ending.status)
    _end(run, out, status, ending.error, ending.step, ending.reason, tuple(done), tuple(undone))


def _look_at_undo(run: Run, out: Decision, name: str, step: StepState) -> None:
    node = run.node(name)
    assert node is not None  # noqa: S101
    if name in run.decided:
        return
    if step.status is StepStatus.COMPLETED:
        steps.decided(run, name)
    elif step.status is StepStatus.RETRYING and step.due:
        steps.schedule(run, out, node, name, step.attempt + 1)
    elif step.due and step.status in ACTIVE:
        out.emit(ev.StepTimedOut, step=name, attempt=step.attempt, timeout_ms=node.timeout_ms or 0)
        steps.failed(run, out, node, name, step)
    elif step.status in {StepStatus.FAILED, StepStatus.OUTCOME_UNKNOWN}:
        steps.failed(run, out, node, name, step)
    elif step.status in ACTIVE:
        steps.set_missing_timers(out, node, name, step)


# --- the end ---


def _end(
    run: Run,
    out: Decision,
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
    tell_parent(run, out, Payload(), error)


def tell_parent(run: Run, out: Decision, output: Payload, error: StepError | None) -> None:
    """The step or the schedule that had started this run, in the append that ends it."""
    state = run.state
    parent = state.parent
    if parent is None:
        return
    is_schedule = parent.run.startswith(SCHEDULE_PREFIX)
    continued = bool(state.continued_as)
    out.send(
        ev.ChildEnded,
        to_org=state.org,
        to=parent.run,
        step=parent.step,
        attempt=parent.attempt,
        child=state.continued_as or state.run,
        status="continued" if continued else str(state.status),
        output=Payload() if is_schedule else output,
        error=error
        or (
            StepError("child_cancelled", state.cancel_reason or "the subworkflow was cancelled", retryable=False)
            if state.status is RunStatus.CANCELLED
            else None
        ),
        cost_nano=state.cost_nano,
        input_tokens=state.input_tokens,
        output_tokens=state.output_tokens,
    )


def totals(state: RunState, now_ms: int) -> dict[str, int]:
    return {"cost_nano": state.cost_nano, "duration_ms": max(0, now_ms - state.submitted_at)}
