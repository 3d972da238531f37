"""Compensation: what the steps of a run did is undone, the newest first, one after the other. Pure.

A step with `compensate_with` is listed in `state.undo` when it begins. It is undone if it took effect, or may have: it
completed, its outcome is unknown, or an attempt of it failed in a way that leaves that open. A compensation is a step
of its own, `key:undo`, with attempts, retries and timeouts. One that fails does not stop the others.

A subworkflow undoes its own steps if it does not complete. So its step is undone only if it completed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from agentflow_common import events as ev
from agentflow_common.errors import InvalidError
from agentflow_common.runs.state import ACTIVE, RunState, StepState, StepStatus, undo_key
from agentflow_scheduler.runs.decisions import RunDecisions, StepContext
from agentflow_scheduler.runs.run import Run
from agentflow_scheduler.runs.steps import attempts
from agentflow_scheduler.runs.steps.time_limits import set_missing_timers
from agentflow_scheduler.runs.steps.verdict import is_unsure

_NO_EFFECT: Final = frozenset({StepStatus.PENDING, StepStatus.SKIPPED, StepStatus.QUEUED, StepStatus.RETRYING})


def effective_steps(state: RunState) -> tuple[str, ...]:
    """Returns the steps whose effect is there, or may be, the newest first."""
    return tuple(key for key in reversed(state.undo) if _may_have_effect(state.steps[key]))


def _may_have_effect(step: StepState) -> bool:
    if step.status in _NO_EFFECT:
        return False
    if step.child:
        return step.status is StepStatus.COMPLETED or step.late is not None
    return step.status is not StepStatus.FAILED or is_unsure(step)


def is_undone(state: RunState, key: str) -> bool:
    """True if the effect of a step is undone. If two runs of its subworkflow completed, only one of them is."""
    step, undo = state.steps[key], state.steps.get(undo_key(key))
    acted_twice = bool(step.child) and step.late is not None and step.status is StepStatus.COMPLETED
    return undo is not None and undo.status is StepStatus.COMPLETED and not acted_twice


def undo_steps(run: Run, out: RunDecisions, keys: Iterable[str]) -> tuple[str, ...] | None:
    """Undoes one step after the other. Returns the steps that are undone, or None while a compensation is under way.

    A cancel by force stops it: then nothing further is undone. Raises NeedBlob.
    """
    state = run.state
    undone: list[str] = []
    for key in keys:
        at = StepContext.of(run, out, undo_key(key))
        out.at = at.key
        step = state.steps.get(at.key)
        if state.cancel_forced and (step is None or step.status is not StepStatus.COMPLETED):
            if step is not None:
                attempts.cancel(at, "the run was cancelled by force")
            continue
        if step is None:
            attempts.begin(at, 1)
        _advance_undo(at)
        if at.key not in run.decided:
            return None
        if is_undone(state, key):
            undone.append(key)
    out.at = ""
    return tuple(undone)


def _advance_undo(at: StepContext) -> None:
    step = at.step
    if at.key in at.run.decided:
        return
    if step.status is StepStatus.COMPLETED:
        at.run.mark_final(at.key)
    elif at.key in at.run.faults:
        attempts.fail_undecidable(at, InvalidError(at.run.faults[at.key].message))
    elif step.status is StepStatus.RETRYING and step.due:
        attempts.begin(at, step.attempt + 1)
    elif step.due and step.status in ACTIVE:
        at.emit(ev.StepTimedOut, attempt=step.attempt, timeout_ms=at.node.timeout_ms or 0)
        attempts.handle_failure(at)
    elif step.status in {StepStatus.FAILED, StepStatus.OUTCOME_UNKNOWN}:
        attempts.handle_failure(at)
    elif step.status in ACTIVE:
        set_missing_timers(at)
