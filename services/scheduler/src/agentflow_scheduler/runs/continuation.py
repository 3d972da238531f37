"""A run that continues as a new one: `continue_as_new`. Pure.

1. The step is due once the nodes before it are decided. It is put into `run.continuations`.
2. `begin` waits until no other step runs or can run. Steps that only wait for a time, a signal or people do not count.
3. `finish` closes those, ends the run, and starts the next one in the same append. That run has the same parent, and
   the slot of the run lane.
"""

from __future__ import annotations

from typing import Any, Final

from agentflow_common import events as ev
from agentflow_common import ids
from agentflow_common.errors import InvalidError
from agentflow_common.events import Payload, StepError
from agentflow_common.runs.state import StepStatus, present_keys
from agentflow_scheduler.runs import ending, run_slots
from agentflow_scheduler.runs.decisions import RunDecisions, StepContext
from agentflow_scheduler.runs.run import Run, is_begun
from agentflow_scheduler.runs.scope import NeedBlob, fitting, gathered
from agentflow_scheduler.runs.steps import attempts, breakpoints, locks, subworkflows
from agentflow_scheduler.runs.steps.verdict import mistake

IDLE_RUNS_MAX: Final = 1_000
IDLE_TEXT: Final = (
    f"{IDLE_RUNS_MAX:,} runs in a row went on as a new one without running a step or waiting: give `continue_as_new` a "
    "condition that ends it, or let the workflow wait"
)


def begin(run: Run, out: RunDecisions) -> bool:
    """Runs a `continue_as_new` step that is due, if no other step runs or can run. Returns False if it has to wait."""
    if has_others(run, out) or ending.waits_for_children(run, out):
        return False
    at = StepContext.of(run, out, next(iter(run.continuations)))
    out.at = at.key
    del run.continuations[at.key]
    try:
        run.check_fault(at.key)
        _inputs(at)
        at.emit(ev.StepResolved, attempt=1, status="completed", output=Payload(value={"run": _successor(at)}))
        out.successor = at.key
    except InvalidError as error:
        attempts.fail_undecidable(at, error)
    return True


def has_others(run: Run, out: RunDecisions) -> bool:
    """True if steps run, or are to run, beside a `continue_as_new`. Their results count, so it comes after them."""
    if run.in_flight or out.held:
        return True
    for key, node in [(key, n) for n in run.plan.nodes.values() for key in present_keys(run.state, n.id)]:
        step = run.state.steps.get(key)
        if step is None or key in run.decided or not is_begun(step) or not run.is_present(key, node):
            continue
        if step.status is not StepStatus.WAITING or step.child:
            return True
    return False


def _successor(at: StepContext) -> str:
    return ids.derived_run_id(at.state.org, at.state.run, at.key, 1)


def _inputs(at: StepContext) -> dict[str, Any]:
    """Returns the inputs of the next run. Raises InvalidError, NeedBlob; after NeedBlob the step is dirty again."""
    fields = {name: f"inputs.{name}" for name in at.node.values}
    try:
        inputs = at.scope.inside(gathered(at.node.values, at.scope, fields))
    except NeedBlob:
        at.run.dirty[at.key] = None
        raise
    return fitting(at.run.plan.definition.check_inputs(inputs, private=True), "what the next run is given")


def finish(run: Run, out: RunDecisions) -> None:
    """Ends the run and starts the next one. Raises NeedBlob."""
    at = StepContext.of(run, out, out.successor)
    out.at = at.key
    state = run.state
    try:
        inputs = _inputs(at)
    except InvalidError as error:
        ending.fail_run(run, out, mistake(at.key, error), at.key)
        return
    idle = idle_runs(run, at.key)
    if idle > IDLE_RUNS_MAX:
        ending.fail_run(run, out, StepError("idle_chain", IDLE_TEXT, retryable=False), at.key)
        return
    successor = _successor(at)
    ending.close_all(run, out, "the run goes on as a new one")
    output = Payload(value={"continued_as": successor})
    out.emit(ev.RunCompleted, output=output, continued_as=successor, **ending.totals(state, out.now_ms))
    locks.give_back(state, out)
    run_slots.hand_over(state, out, successor)
    subworkflows.submit(
        run,
        out,
        successor,
        inputs,
        workflow=state.workflow,
        version=state.version,
        definition=run.plan.raw,
        digest=state.digest,
        deadline_ms=state.deadline_ms,
        priority=state.priority,
        parent=state.parent,
        origin=ev.OriginRef(state.run, "continue", idle=idle),
        depth=state.depth,
        signals=state.signals,
        slot=state.run_lane,
        slots=state.slots,
        given_lane=state.given_lane,
        lanes_above=state.lanes_above,
        **breakpoints.handed_over(state),
    )
    subworkflows.notify_parent(run, out, Payload(), None)


def idle_runs(run: Run, key: str) -> int:
    """Counts consecutive runs, including this one, that continued as a new one without doing any work.

    No step of such a run had an attempt, or waited. Without a bound their chain could outrun a cancel that is forwarded
    along it.
    """
    state = run.state
    for name, step in state.steps.items():
        waited = step.kind == "wait" and step.finished_at > step.scheduled_at
        if name != key and (waited or (step.attempt > 0 and step.kind != "wait")):
            return 0
    return 1 + (state.origin.idle if state.origin is not None else 0)
