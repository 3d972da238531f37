"""Attempts of a step: how they begin, how they are closed, and what follows one that did not succeed. Pure.

`begin` starts an attempt: as a task for a worker, as a run of its own, or as a request for a slot of a keyed lane.
Once the slot is granted, `start_in_lane` offers the task. A worker's report closes the attempt, and so do `cancel` and
`fail_undecidable`. After a failure `handle_failure` decides by the step's policy what follows.
"""

from __future__ import annotations

from typing import Any

from agentflow_common import events as ev
from agentflow_common.errors import InvalidError
from agentflow_common.events import StepError
from agentflow_common.runs import timer_ids
from agentflow_common.runs.state import OPEN, StepStatus
from agentflow_scheduler.runs.decisions import StepContext
from agentflow_scheduler.runs.run import is_undo
from agentflow_scheduler.runs.scope import Scope
from agentflow_scheduler.runs.steps import lane_slots, subworkflows
from agentflow_scheduler.runs.steps.inputs import inputs_of, scope_of
from agentflow_scheduler.runs.steps.time_limits import limit_attempt, limit_step, set_missing_timers
from agentflow_scheduler.runs.steps.verdict import (
    acted_before,
    error_of,
    final_verdict,
    is_unknown,
    judge,
    mistake,
    retry_delay_ms,
    retry_of,
)


def begin(at: StepContext, attempt: int) -> None:
    """Begins an attempt. If no more steps may be offered now, the step stays dirty. Raises NeedBlob."""
    if not is_undo(at.key) and not at.may_offer(pool_of(at)):  # an ending is never kept back
        return
    try:
        at.run.check_fault(at.key)
        inputs, scope = inputs_of(at)
        begin_with(at, attempt, inputs, scope)
    except InvalidError as error:
        fail_undecidable(at, error)


def pool_of(at: StepContext) -> str:
    """Returns the worker pool that an attempt goes to at once; "" for one that does not, or not yet."""
    return "" if at.work.kind == "subworkflow" or at.node.lane_key is not None else at.node.pool


def begin_with(at: StepContext, attempt: int, inputs: dict[str, Any], scope: Scope) -> None:
    undoing = is_undo(at.key)
    first = attempt == 1 or at.key not in at.state.steps
    if at.work.kind == "subworkflow":
        subworkflows.start(at, attempt, inputs, scope)
        if at.work.detached:  # the step is over
            return
        limit_attempt(at, attempt)
    elif at.node.lane_key is not None and not undoing:
        lane_slots.request(at, attempt, scope)
    else:
        _offer(at, attempt, inputs, scope)
    if first and not undoing:
        limit_step(at)


def _offer(at: StepContext, attempt: int, inputs: dict[str, Any], scope: Scope) -> None:
    """Offers the attempt to the workers of its pool."""
    state, node, work = at.state, at.node, at.work
    undoing = is_undo(at.key)
    at.emit(
        ev.StepScheduled,
        attempt=attempt,
        lane=node.pool,
        kind=work.kind,
        config=work.config,
        inputs=work.with_prompt(inputs, scope),
        policy=node.worker_policy,
        timeout_ms=node.timeout_ms,
        budget_nano=state.budget_nano,
        prompt=state.prompts.get(work.prompt_ref, work.prompt_ref),
        workflow=state.workflow,
        priority=at.priority,
        heartbeat_ms=None if undoing else node.policy.heartbeat_ms,
        undo=node.undo is not None and not undoing,
        unsure=acted_before(state.steps.get(at.key), attempt),
    )
    limit_attempt(at, attempt)


def start_in_lane(at: StepContext) -> None:
    """Offers an attempt that was granted its slot."""
    if not at.may_offer(""):  # its workflow is paused
        lane_slots.give_back(at)
        return
    if not at.may_offer(at.node.pool):
        return
    try:
        at.run.check_fault(at.key)
        _offer(at, at.step.attempt, *inputs_of(at))
    except InvalidError as error:
        fail_undecidable(at, error)
        lane_slots.release(at)


def ask_for_slot_again(at: StepContext) -> None:
    """Asks for a slot in place of the one that the attempt gave back in a pause."""
    if not at.may_offer(""):
        return
    try:
        lane_slots.request(at, at.step.attempt, scope_of(at)[0])
    except InvalidError as error:
        fail_undecidable(at, error)


def cancel(at: StepContext, reason: str, force: bool = False, lost_to: str = "") -> None:
    """Closes a step that is not over. The run of a subworkflow is asked to end. lost_to: see steps/joins.py."""
    step = at.step
    if step.status not in OPEN:
        return
    child = step.child if step.status is StepStatus.WAITING else ""
    at.emit(ev.StepCancelled, attempt=step.attempt, reason=reason, child="" if force else child, lost_to=lost_to)
    if child:
        subworkflows.cancel(at, reason, force=force)
    lane_slots.release(at)


# --- steps that the engine itself ends ---


def complete(at: StepContext, **fields: Any) -> None:
    """Completes the step. fields: further ones of StepResolved."""
    at.emit(ev.StepResolved, status="completed", **fields)
    at.run.mark_final(at.key)


def fail(at: StepContext, error: StepError, **fields: Any) -> None:
    """Fails the step. fields: further ones of StepResolved."""
    at.emit(ev.StepResolved, status="failed", error=error, **fields)
    close_failed(at, error)


# --- what follows when an attempt did not succeed ---


def fail_undecidable(at: StepContext, error: InvalidError) -> None:
    """Closes a step with a mistake in its definition, or at which the engine itself had an error."""
    at.emit(ev.StepUndecidable, error=at.run.faults.get(at.key) or mistake(at.key, error))
    handle_failure(at)


def handle_failure(at: StepContext) -> None:
    """Tries the step again, waits for a person's answer, goes on without the step, or fails what it is a part of."""
    verdict = judge(at.node, at.key, at.step)
    if at.key in at.run.faults:
        close_failed(at, at.run.faults[at.key])
    elif verdict == "retry":
        _try_again(at)
    elif verdict != "ask":
        close_failed(at, error_of(at.step))


def close_failed(at: StepContext, error: StepError) -> None:
    """Fails the run by this step, or goes on without the step, as its policy says. See finally_nodes.py, too."""
    if final_verdict(at.node, at.key, error) == "fail" and not at.node.at_end:
        at.out.failure = (error, at.key)
    else:
        at.run.mark_final(at.key)


def _try_again(at: StepContext) -> None:
    set_missing_timers(at)  # its total time goes on
    step, key = at.step, at.key
    delay_ms = 0
    if not is_unknown(key, step):
        delay_ms = retry_delay_ms(retry_of(at.node, key), at.state.run, key, step.attempt, error_of(step))
    if delay_ms:
        at.set_timer(timer_ids.retry(key, step.attempt), "retry", delay_ms, step.attempt)
    else:
        begin(at, step.attempt + 1)
