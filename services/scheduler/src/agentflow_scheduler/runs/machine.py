"""What happens next in a run: a pure function of its folded state. No I/O, no clock, no randomness in here.

`decide(run, now_ms, blobs)` looks only at the steps that changed since it last looked, folds each decision into the
state as it takes it, and returns the decisions in order, with the facts for other entities that go out together with
them. It is driven by the state and not by single events: after a crash, deciding again on the refolded log adds exactly
what is missing. Given the same log and the same times it takes the same decisions.

A node runs when everything it waits for is decided and at least one incoming edge was taken: its source ran, and its
condition holds. A step that failed and without which the run goes on has run; its output is null. A node is skipped
when no edge was taken or its own condition is false.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from agentflow_common import events as ev
from agentflow_common.errors import InvalidError
from agentflow_common.events import Payload, StepError
from agentflow_common.runs import timer_ids
from agentflow_common.runs.state import (
    ACTIVE,
    OPEN,
    RunState,
    RunStatus,
    StepState,
    StepStatus,
    blob_marker,
    current_key,
    iteration_key,
    node_of,
    output_of,
    parent_of,
)
from agentflow_scheduler.runs import attempt_bounds, attempts, chain, ending, expansion, graph, waits
from agentflow_scheduler.runs.decisions import RunDecisions, unbounded
from agentflow_scheduler.runs.faults import CUT_OFF_TEXT, ENGINE_ERROR, StepFault, check_fault
from agentflow_scheduler.runs.plan import PlanNode, skip_reason
from agentflow_scheduler.runs.run import HOLDS_SLOT, Run, is_undo
from agentflow_scheduler.runs.scope import NOT_DONE, NeedBlob, at_field, fitting, gathered
from agentflow_scheduler.runs.verdict import UNDECIDABLE, mistake


def decide(run: Run, now_ms: int, blobs: Mapping[str, Any], take: Callable[[str], bool] = unbounded) -> RunDecisions:
    """Everything that can be decided now. blobs: out-of-line values by SHA-256 that may be looked into. take:
    asks for room in a worker pool, see RunDecisions.

    StepFault for an error of the engine itself: the run's state holds a part of the decisions then, and is of no use;
    it is to be read again from the log, and decided as runs/faults.py says."""
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
    if run.broken is not None and run.past_help:
        ending.fail(run, out, *run.broken, undo=False)
        return
    if state.status is RunStatus.PENDING:
        _start(run, out)
    if state.deadline_ms is not None and not state.deadline_passed and timer_ids.DEADLINE not in state.timers:
        out.emit(ev.TimerSet, timer=timer_ids.DEADLINE, kind="deadline", fire_at=state.submitted_at + state.deadline_ms)
    if run.broken is not None and state.ending is None:
        ending.fail(run, out, *run.broken)
    elif state.ending is not None:
        ending.compensate(run, out)
    elif state.cancel_requested:
        ending.cancel(run, out)
    elif state.deadline_passed:
        error = StepError("deadline", f"the run did not end within {state.deadline_ms} ms", retryable=False)
        ending.fail(run, out, error, "")
    elif not (run.ending_lost and not run.ending_searched and ending.resume(run, out)) and not _paused(run, out):
        _look_around(run, out)


def _start(run: Run, out: RunDecisions) -> None:
    state = run.state
    out.emit(
        ev.RunStarted,
        workflow=state.workflow,
        version=state.version,
        steps=len(run.plan.nodes),
        submitted_at=state.submitted_at,
        tags=state.tags,
    )


def _paused(run: Run, out: RunDecisions) -> bool:
    """While it is paused nothing further is offered; what runs ends, and what it gave is looked at afterwards."""
    state = run.state
    if state.pause_requested:
        if state.status is not RunStatus.PAUSED:
            out.emit(ev.RunPaused, reason=state.pause_reason, by=state.paused_by)
        for key in run.dirty:
            out.at = key
            _release_if_over(run, out, key)
            attempts.give_back(run, out, key)
        return True
    if state.status is RunStatus.PAUSED:
        out.emit(ev.RunResumed)
    return False


def _look_around(run: Run, out: RunDecisions) -> None:
    waiting: dict[str, None] = {}
    try:
        _look_at_touched(run, out, waiting)
        while run.plan.graph is not None and not (run.undecided_count or out.failure or out.successor):
            if run.state.status.terminal or not graph.advance(run, out):
                break
            _look_at_touched(run, out, waiting)
    finally:  # a back edge or a graph may want a blob
        run.dirty.update(waiting)
    out.at = ""
    if out.failure is not None:
        ending.fail(run, out, *out.failure)
    elif out.successor:
        _continue_as_new(run, out)
    elif run.undecided_count and not waiting and run.ending_searched and not _is_under_way(run, out):
        ending.fail(run, out, StepError(ENGINE_ERROR, CUT_OFF_TEXT, retryable=False), "")
    elif run.undecided_count or run.loop_exits or waiting:
        _tell_waiting(run, out)
        chain.extend(run, out)
    elif not ending.waits_for_children(run, out):
        _complete(run, out)


def _is_under_way(run: Run, out: RunDecisions) -> bool:
    waits_for = run.dirty or run.loop_exits or run.continuations or run.state.undoing or out.held
    return bool(waits_for) or any(step.status in OPEN for step in run.state.steps.values())


def _look_at_touched(run: Run, out: RunDecisions, waiting: dict[str, None]) -> None:
    """waiting: receives the steps that can't be decided yet, for want of a value or of an offer."""
    while (run.dirty or run.loop_exits or run.continuations) and out.failure is None and not out.successor:
        if run.state.status.terminal:
            break
        if run.loop_exits:
            _leave_loops(run, out)
            continue
        if not run.dirty:
            if waiting or not _go_on(run, out):
                break
            continue
        key = out.at = next(iter(run.dirty))
        del run.dirty[key]
        try:
            _look(run, out, key)
        except NeedBlob as need:
            waiting[key] = None
            out.ask(need.refs)
        except InvalidError as error:
            _give_up(run, out, key, error)
        if out.held and key in run.dirty:
            del run.dirty[key]
            waiting[key] = None


def _go_on(run: Run, out: RunDecisions) -> bool:
    """Begins a `continue_as_new` that is due, once no other step runs or can run; False if it has to wait."""
    if waits.has_others(run, out) or ending.waits_for_children(run, out):
        return False
    key = out.at = next(iter(run.continuations))
    del run.continuations[key]
    node = run.plan.nodes[node_of(key)]
    try:
        check_fault(run, key)
        waits.begin_continue(run, out, node, key)
    except NeedBlob:
        run.dirty[key] = None
        raise
    except InvalidError as error:
        attempts.undecidable(run, out, node, key, error)
    return True


def _leave_loops(run: Run, out: RunDecisions) -> None:
    name = out.at = next(iter(run.loop_exits))
    try:
        if name in run.faults:
            out.failure = (run.faults[name], name)
        else:
            expansion.leave_or_repeat(run, out, run.plan.nodes[name])
    except InvalidError as error:
        out.failure = (StepError(UNDECIDABLE, f"the back edge of {name}: {error.message}", retryable=False), name)
    del run.loop_exits[name]


def _look(run: Run, out: RunDecisions, key: str) -> None:
    """Decides what a step's present condition calls for; does nothing if that was done before."""
    node = run.node(key)
    _release_if_over(run, out, key)
    if node is None or key in run.decided or is_undo(key) or not run.is_present(key, node) or run.is_left_over(key):
        return
    step = run.state.steps.get(key)
    if key in run.faults and attempts.is_begun(step):
        _give_up(run, out, key, InvalidError(run.faults[key].message))
    elif step is None or not attempts.is_begun(step):
        if key == current_key(run.state, node.id) and not run.blockers(node.id):
            _begin(run, out, node, key)
        elif _is_iteration(run, key):
            attempts.schedule(run, out, node, key, 1)
    else:
        _look_at_begun(run, out, node, key, step)


def _give_up(run: Run, out: RunDecisions, key: str, error: InvalidError) -> None:
    """Fails a step that can't be followed any further, with its parts. If it is over already, the run fails of it."""
    node, step = run.node(key), run.state.steps.get(key)
    assert node is not None  # noqa: S101
    if step is not None and step.status in {StepStatus.COMPLETED, StepStatus.SKIPPED}:
        out.failure = (run.faults.get(key) or mistake(key, error), key)
        return
    expansion.cancel_parts(run, out, key, "the step can't go on")
    if step is not None and (step.status in ACTIVE or step.child) and not step.has_parts:
        expansion.close(run, out, key, "the step can't go on")  # tells who is at work on it
    attempts.undecidable(run, out, node, key, error)
    _release_if_over(run, out, key)


def _look_at_begun(run: Run, out: RunDecisions, node: PlanNode, key: str, step: StepState) -> None:
    status = step.status
    if status in {StepStatus.COMPLETED, StepStatus.SKIPPED}:
        if node.kind == "continue_as_new" and status is StepStatus.COMPLETED:
            out.successor = key  # only the end is missing
        attempts.decided(run, key)
    elif status in {StepStatus.FAILED, StepStatus.OUTCOME_UNKNOWN}:
        attempts.failed(run, out, node, key, step)
    elif status is StepStatus.WAITING:
        _AWAITED[step.waiting](run, out, node, key, step)
    else:
        _look_at_open(run, out, node, key, step)


def _release_if_over(run: Run, out: RunDecisions, key: str) -> None:
    """Gives back the slot of an attempt that is over, whatever follows: others wait for it."""
    step = run.state.steps.get(key)
    if step is not None and step.lane and step.status not in HOLDS_SLOT:
        attempts.release(run, out, key, step)


def _is_iteration(run: Run, key: str) -> bool:
    """Whether it is the present iteration of a loop step; children are begun by what holds them."""
    parent = parent_of(key)
    return parent is not None and key == iteration_key(parent, run.state.steps[parent].iteration)


def _look_at_open(run: Run, out: RunDecisions, node: PlanNode, key: str, step: StepState) -> None:
    if step.status is StepStatus.RETRYING:
        if step.expired:
            attempt_bounds.time_out(run, out, node, key, step)
        elif step.due:
            attempts.schedule(run, out, node, key, step.attempt + 1)
        else:
            attempts.set_missing_timers(out, node, key, step)
    elif step.expired and step.has_parts:
        expansion.cancel_parts(run, out, key, "the step took too long")
        attempt_bounds.time_out(run, out, node, key, step)
    elif step.width >= 0:
        expansion.go_on(run, out, node, key, step)
    elif step.kind == "loop":
        expansion.look_at_loop(run, out, node, key, step)
    else:
        attempt_bounds.look_at_attempt(run, out, node, key, step)


_AWAITED: Final[dict[str, Callable[[Run, RunDecisions, PlanNode, str, StepState], object]]] = {
    "wait": waits.look_at_wait,
    "signal": waits.look_at_signal,
    "approval": waits.look_at_approval,
    "subworkflow": waits.look_at_child,
}
_BEGIN: Final[dict[str, Callable[[Run, RunDecisions, PlanNode, str], object]]] = {
    "map": expansion.expand,
    "loop": expansion.iterate,
    "wait": waits.begin_wait,
    "signal": waits.begin_signal,
    "approval": waits.begin_approval,
}


def _begin(run: Run, out: RunDecisions, node: PlanNode, key: str) -> None:
    """Skips, expands, starts or offers a node whose sources are all decided."""
    try:
        check_fault(run, key)
        reason = skip_reason(out.scope, node, bool(run.plan.loops) and expansion.is_revisited(run, node))
        if reason:
            out.emit(ev.StepSkipped, step=key, reason=reason)
            attempts.decided(run, key)
        elif node.kind == "continue_as_new":
            run.continuations[key] = None
        elif node.kind in _BEGIN:
            _BEGIN[node.kind](run, out, node, key)
        elif node.parallel:
            expansion.expand(run, out, node, key)
        else:
            attempts.schedule(run, out, node, key, 1)
    except InvalidError as error:
        attempts.undecidable(run, out, node, key, error)


def _tell_waiting(run: Run, out: RunDecisions) -> None:
    state = run.state
    idle = not (run.in_flight or run.dirty or out.held)
    if idle and state.status is RunStatus.RUNNING and run.external_waits:
        out.emit(ev.RunWaiting, steps=tuple(run.external_waits))
    elif state.status is RunStatus.WAITING and run.in_flight:
        out.emit(ev.RunResumed)


def _complete(run: Run, out: RunDecisions) -> None:
    state = run.state
    plan = run.plan
    try:
        if plan.outputs:
            output: Any = gathered(plan.outputs, out.scope, {})
        elif plan.graph is not None:
            output = out.scope.shared_by_reference()
        else:
            output = {name: _by_value(state, current_key(state, name)) for name in plan.sinks}
        fitting(output, "the run's output")
        told = Payload()
        if state.parent is not None:
            told = Payload(value=fitting(out.scope.inside(output), "the run's output"))
    except InvalidError as error:
        ending.fail(run, out, StepError(UNDECIDABLE, at_field("outputs", error).message, retryable=False), "")
        return
    out.emit(ev.RunCompleted, output=Payload(value=output), **ending.totals(state, out.now_ms))
    ending.tell_parent(run, out, told, None)


def _continue_as_new(run: Run, out: RunDecisions) -> None:
    key = out.at = out.successor
    node = run.node(key)
    assert node is not None  # noqa: S101
    try:
        inputs = waits.successor_inputs(run, out, node)
    except NeedBlob:
        run.dirty[key] = None
        raise
    except InvalidError as error:
        ending.fail(run, out, mistake(key, error), key)
        return
    if waits.idle_runs(run, key) > waits.IDLE_RUNS_MAX:
        ending.fail(run, out, StepError("idle_chain", waits.IDLE_TEXT, retryable=False), key)
        return
    following = waits.successor_id(run, key)
    ending.close_all(run, out, "the run goes on as a new one")
    out.emit(
        ev.RunCompleted, output=Payload(value={"continued_as": following}), continued_as=following,
        **ending.totals(run.state, out.now_ms),
    )  # fmt: skip
    waits.start_successor(run, out, following, inputs, waits.idle_runs(run, key))
    ending.tell_parent(run, out, Payload(), None)


def _by_value(state: RunState, key: str) -> Any:
    payload = Payload() if state.step(key).status in NOT_DONE else output_of(state, key)
    return payload.value if payload.ref is None else blob_marker(payload.ref)
