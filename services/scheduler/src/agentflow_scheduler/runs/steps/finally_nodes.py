"""Nodes that run when everything else of a run is over, before its last event: `finally: true`. Pure.

1. As soon as it is decided how the run ends, and its compensations are over, `run.finishing` keeps that in
   `state.finishing`. From then on only these nodes are decided about (machine.py).
2. They may read every output of the run, and `outcome`. They wait for each other, and for no other node.
3. One that fails stops no other. A run that would have completed fails by it, and what the run did is not undone.
4. They have `finally_ms` together. A pause and a cancel do not touch them. A cancel by force closes them.
5. A run that was cancelled by force, or that never had the slot of its run lane, ends without them. So does a run that
   continues as a new one, because it has not ended.
"""

from __future__ import annotations

from typing import Any

from agentflow_common.definition.nodes.calls import OUTCOME
from agentflow_common.events import StepError
from agentflow_common.runs.state import OPEN, Finishing, RunStatus, StepState, StepStatus
from agentflow_scheduler.runs.run import Run
from agentflow_scheduler.runs.run_slots import takes_slots
from agentflow_scheduler.runs.saga import effective_steps
from agentflow_scheduler.runs.scope import NOT_DONE
from agentflow_scheduler.runs.steps.verdict import error_of, final_verdict


def are_due(run: Run) -> bool:
    """True if the run has such nodes, and they have not run."""
    state = run.state
    if not run.plan.last or state.finishing is not None or state.cancel_forced:
        return False
    if state.run_lane or not takes_slots(run):
        return not state.awaits_slot
    return bool(state.steps)  # it shares the slots of the runs above it


def names(how: Finishing) -> dict[str, Any]:
    """Returns the names that have a meaning only in these nodes."""
    error = None if how.error is None else {"type": how.error.type, "message": how.error.message}
    return {OUTCOME: {"status": how.status, "error": error, "step": how.step, "reason": how.reason}}


def left(run: Run) -> list[str]:
    """Returns those of these nodes that have not come to an end of their own."""
    steps = run.state.steps
    return [name for name in run.plan.last if not _is_over(steps.get(name))]


def _is_over(step: StepState | None) -> bool:
    if step is None or step.status is StepStatus.PENDING:
        return False
    return step.status not in OPEN and (step.status is not StepStatus.CANCELLED or bool(step.lost_to))


def too_late(run: Run) -> StepError:
    """Returns the error of a run whose nodes took longer than they may."""
    names, bound_ms = left(run), run.plan.definition.finally_ms
    listed = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    text = f"the nodes with `finally: true` did not end within {bound_ms} ms: {listed}"
    return StepError("finally_timeout", text, retryable=False)


def end_of(run: Run, how: Finishing, error: tuple[StepError, str] | None) -> Finishing:
    """Returns how the run ends after these nodes. error: one that ended them, if there is one."""
    state = run.state
    if how.status != RunStatus.COMPLETED:
        return how
    effects = effective_steps(state)
    if state.cancel_forced and left(run):
        return Finishing(str(RunStatus.CANCELLED), reason=state.cancel_reason, uncompensated=effects)
    failed = error or _failure(run)
    return (
        how
        if failed is None
        else Finishing(str(RunStatus.FAILED), error=failed[0], step=failed[1], uncompensated=effects)
    )


def _failure(run: Run) -> tuple[StepError, str] | None:
    """Returns the error of the first of these nodes that failed and is not to be tolerated, and its step."""
    for name in run.plan.last:
        step = run.state.steps.get(name)
        over = step is not None and step.status in NOT_DONE
        if step is not None and over and final_verdict(run.plan.nodes[name], name, error_of(step)) == "fail":
            return error_of(step), name
    return None
