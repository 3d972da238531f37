"""Runs that a run starts, and the messages between them: a start, a cancel, an end. Pure.

A detached run is started in the append that completes its step. It has no parent, so nothing is reported to the step,
and no cancel is forwarded.
"""

from __future__ import annotations

from typing import Any

from agentflow_common import events as ev
from agentflow_common import ids
from agentflow_common.definition.model import load_trusted
from agentflow_common.events import ParentRef, Payload, StepError
from agentflow_common.expressions.sandbox import ExpressionError
from agentflow_common.runs.state import RunState, RunStatus
from agentflow_common.subjects import kind_of
from agentflow_scheduler.runs import run_slots
from agentflow_scheduler.runs.decisions import RunDecisions, StepContext
from agentflow_scheduler.runs.run import Run
from agentflow_scheduler.runs.scope import Scope, fitting
from agentflow_scheduler.runs.steps import locks


def submit(run: Run, out: RunDecisions, name: str, inputs: dict[str, Any], **fields: Any) -> None:
    """Starts another run of the org, in the same append as the newest decision. It gets what is left of the budget."""
    state = run.state
    out.send(
        ev.RunSubmitted,
        to_org=state.org,
        to=name,
        inputs=Payload(value=inputs),
        prompts=state.prompts,
        budget_nano=None if state.budget_nano is None else max(0, state.budget_nano - state.cost_nano),
        tags=state.tags,
        definitions=state.definitions,
        **fields,
    )


def start(at: StepContext, attempt: int, inputs: dict[str, Any], scope: Scope) -> None:
    """Starts the subworkflow of a step. Raises InvalidError, NeedBlob."""
    state, work = at.state, at.work
    raw = state.definitions.get(work.workflow_ref)
    if raw is None:
        raise ExpressionError(f"the workflow {work.workflow_ref!r} was not pinned when the run was submitted")
    depth_max = at.run.plan.depth_max
    if state.depth >= depth_max:
        raise ExpressionError(
            f"subworkflows are nested more than {depth_max} deep, the limit of SUBWORKFLOW_DEPTH_MAX: let a recursion "
            "end before that, or raise the setting for the gateway and the schedulers"
        )
    definition = load_trusted(raw)
    if work.state_args and definition.inputs:
        inputs = {name: value for name, value in inputs.items() if name in definition.inputs}
    checked = fitting(definition.check_inputs(at.scope.inside(inputs), private=True), "what the workflow is given")
    lane = None if work.run_lane is None else run_slots.asked_with(work.run_lane, state.org, scope)
    child = ids.derived_run_id(state.org, state.run, at.key, attempt)
    linked: dict[str, Any] = {"parent": ParentRef(state.run, at.key, attempt)}
    if work.detached:
        at.emit(ev.StepResolved, attempt=attempt, status="completed", output=Payload(value={"run": child}))
        linked = {"origin": ev.OriginRef(state.run, "detached", at.key)}
    else:
        at.emit(ev.StepWaiting, attempt=attempt, kind="subworkflow", child=child, undo=at.node.undo is not None)
        linked["lanes_above"] = (*run_slots.lanes_below(state), *locks.around(at))
    submit(
        at.run,
        at.out,
        child,
        checked,
        workflow=definition.name,
        version=definition.version,
        definition=raw,
        digest=definition.digest(),
        deadline_ms=definition.deadline_ms,
        priority=at.priority,
        depth=state.depth + 1,
        given_lane=lane,
        **linked,
    )
    if work.detached:
        at.run.mark_final(at.key)


def cancel(at: StepContext, reason: str, *, grace_ms: int = 0, force: bool = False) -> None:
    """Asks the run of a subworkflow to end, together with the newest decision."""
    step = at.step
    parent = ParentRef(at.state.run, at.key, step.attempt)
    send_cancel(at.out, at.state, step.child, parent, reason=reason, grace_ms=grace_ms, force=force)


def send_cancel(out: RunDecisions, state: RunState, child: str, parent: ParentRef, **fields: Any) -> None:
    by = f"run {state.run}"
    out.send(ev.RunCancelRequested, to_org=state.org, to=child, by=by, child_of=parent, **fields)


def notify_parent(run: Run, out: RunDecisions, output: Payload, error: StepError | None) -> None:
    """Reports the end of the run to the step or the schedule that had started it, in the append that ends it."""
    state = run.state
    if state.parent is not None:
        out.send(ev.ChildEnded, to_org=state.org, to=state.parent.run, **end_of(state, state.parent, output, error))


def end_of(state: RunState, parent: ParentRef, output: Payload, error: StepError | None) -> dict[str, Any]:
    """Returns the fields of `child.ended` for a run that is over."""
    if error is None and state.status is RunStatus.CANCELLED:
        text = state.cancel_reason or "the subworkflow was cancelled"
        error = StepError("child_cancelled", text, retryable=False)
    return {
        "step": parent.step,
        "attempt": parent.attempt,
        "child": state.continued_as or state.run,
        "status": "continued" if state.continued_as else str(state.status),
        "output": Payload() if kind_of(parent.run) == "schedule" else output,
        "error": error,
        "cost_nano": state.cost_nano,
        "input_tokens": state.input_tokens,
        "output_tokens": state.output_tokens,
    }
