"""Nodes that start when some of the nodes before them have completed: `join: any`, `join: 2`. Pure.

1. Such a node is looked at whenever one of those before it is decided. It is due once enough edges to it come from
   completed steps and have conditions that hold, and once all else that it reads is decided.
2. The others lose. A step loses if everything that waits for it has lost too, has started, or is the join: what else
   still needs it goes on. A step that has begun is cancelled, and one that has not is skipped.
3. The join begins after that. So after a crash in between it is due again, and closes what is left.
4. If all are decided and too few have completed, it is skipped.

A definition without such a node has an empty `plan.joins`, and nothing here is called.
"""

from __future__ import annotations

from agentflow_common import events as ev
from agentflow_common.runs.state import OPEN, StepStatus
from agentflow_scheduler.runs.decisions import StepContext
from agentflow_scheduler.runs.plan import condition_reason, is_taken
from agentflow_scheduler.runs.run import is_begun
from agentflow_scheduler.runs.steps import attempts, breakpoints, expansion


def is_due(at: StepContext) -> bool:
    """True if enough of the nodes before it have completed. Raises InvalidError, NeedBlob."""
    if not at.node.need or any(name not in at.run.decided for name in at.node.reads):
        return False
    return _completed(at) >= at.node.need


def _completed(at: StepContext) -> int:
    steps, decided = at.state.steps, at.run.decided
    over = [
        (source, condition)
        for source, condition in at.node.sources
        if source in decided and steps[source].status is StepStatus.COMPLETED
    ]
    if len(over) < at.node.need:
        return len(over)
    return sum(is_taken(at.out.scope, source, at.node.id, condition) for source, condition in over)


def skip_reason(at: StepContext) -> str:
    """Returns why the join is skipped, or the empty string. Closes the losers, unless the run stops here.

    Raises InvalidError, NeedBlob.
    """
    count, need = _completed(at), at.node.need
    if count < need:
        return f"{need} of the {len(at.node.sources)} nodes before it had to complete, {count} did"
    reason = condition_reason(at.out.scope, at.node)
    if not breakpoints.hold(at, is_skipped=bool(reason)):
        _close_losers(at)
    return reason


def _close_losers(at: StepContext) -> None:
    run = at.run
    lost = {at.node.id}
    for name in run.plan.joins[at.node.id]:
        needed = any(
            target not in lost and not is_begun(run.state.steps.get(target)) for target in run.plan.nodes[name].targets
        )
        if (
            name not in run.decided
            and not needed
            and _close(StepContext(run, at.out, run.plan.nodes[name], name), at.key)
        ):
            lost.add(name)


def _close(at: StepContext, join: str) -> bool:
    """Closes a step that lost. Returns False for one that has ended by itself, and is decided later in the turn."""
    step = at.state.steps.get(at.key)
    reason = f"{join} started without it"
    if step is None or not is_begun(step):
        at.emit(ev.StepSkipped, reason=reason, lost_to=join)
        at.run.continuations.pop(at.key, None)
        at.run.lock_waits.pop(at.key, None)
    elif step.status in OPEN:
        expansion.cancel_parts(at, reason)
        attempts.cancel(at, reason, lost_to=join)
    elif step.status is StepStatus.OUTCOME_UNKNOWN and at.node.policy.on_unknown == "ask":
        at.emit(ev.StepCancelled, attempt=step.attempt, reason=reason, lost_to=join)  # nobody has to answer any more
    else:
        return False
    at.run.mark_final(at.key)
    return True
