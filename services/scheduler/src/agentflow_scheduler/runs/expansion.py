"""Steps that hold other steps (children, map items, iterations), and nodes that a back edge runs again. Pure."""

from __future__ import annotations

from typing import Any, Final

from agentflow_common import events as ev
from agentflow_common.errors import InvalidError
from agentflow_common.events import Payload, StepError
from agentflow_common.expressions.sandbox import ExpressionError
from agentflow_common.runs import timer_ids
from agentflow_common.runs.state import (
    OPEN,
    StepState,
    StepStatus,
    child_key,
    current_key,
    iteration_key,
)
from agentflow_scheduler.runs import attempts
from agentflow_scheduler.runs.decisions import RunDecisions
from agentflow_scheduler.runs.faults import check_fault
from agentflow_scheduler.runs.plan import PlanNode
from agentflow_scheduler.runs.run import Run
from agentflow_scheduler.runs.scope import Scope, at_field, holds, taken

WIDTH_MAX: Final = 10_000  # children of one step


# --- children ---


def expand(run: Run, out: RunDecisions, node: PlanNode, key: str) -> None:
    """One child for each item. Raises ExpressionError, NeedBlob."""
    width = len(attempts.items_of(out, node, key)[1])
    if width > WIDTH_MAX:
        raise ExpressionError(f"a {_word(node)} step has at most {WIDTH_MAX} items, the list holds {width}")
    out.emit(ev.StepExpanded, step=key, width=width)
    run.open_children[key] = width
    go_on(run, out, node, key, run.state.steps[key])


def _word(node: PlanNode) -> str:
    return "map" if node.kind == "map" else "parallel"


def go_on(run: Run, out: RunDecisions, node: PlanNode, key: str, step: StepState) -> None:
    """Offers children that were not offered yet, as many as may run at once; joins when all are decided."""
    if step.status is not StepStatus.RUNNING:  # after a crash it may be joined already
        attempts.decided(run, key)
        return
    if node.kind == "map" and _gave_up(run, out, node, key, step):
        return
    if node.policy.total_timeout_ms is not None:
        attempts.set_missing_timers(out, node, key, step)
    if not run.open_children[key]:
        out.emit(ev.StepJoined, step=key, status="completed")
        attempts.decided(run, key)
        return
    room = _room(run, node, key, step.width)
    if room > 0:
        _offer_children(run, out, node, key, room)


def _room(run: Run, node: PlanNode, key: str, width: int) -> int:
    """How many more children may be offered now, in order."""
    left = run.next_children.get(key)
    if left is None:
        known = run.state.steps
        left = [i for i in reversed(range(width)) if not attempts.is_begun(known.get(child_key(key, i)))]
        run.next_children[key] = left
    bound = node.config.concurrency if node.kind == "map" else None
    under_way = run.open_children[key] - len(left)
    return len(left) if bound is None else min(len(left), int(bound) - under_way)


def _offer_children(run: Run, out: RunDecisions, node: PlanNode, key: str, room: int) -> None:
    name, items = attempts.items_of(out, node, key)
    inputs = {} if node.kind == "map" else attempts.work_of(node, node.id).resolve(out.scope)
    width = run.state.steps[key].width
    if len(items) != width:
        raise AssertionError(f"{run.state.run}/{key}: {len(items)} items, expanded to {width}")
    work = attempts.work_of(node, key)
    left = run.next_children[key]
    for _ in range(room):
        if not out.may_offer(attempts.pool_of(node, work)):
            run.dirty[key] = None
            return
        index = left[-1]
        child = out.at = child_key(key, index)
        try:
            check_fault(run, child)
            if node.kind == "map":
                scope = out.scope.within({name: items[index], "index": index})
                attempts.begin_attempt(run, out, node, child, 1, work.resolve(scope), scope)
            else:
                attempts.begin_attempt(run, out, node, child, 1, {**inputs, name: items[index]}, out.scope)
        except InvalidError as error:
            attempts.undecidable(run, out, node, child, error)
        left.pop()
        if out.failure is not None:
            return
    out.at = key


def _gave_up(run: Run, out: RunDecisions, node: PlanNode, key: str, step: StepState) -> bool:
    """Whether more items of a map have failed than its policy allows; it has failed then."""
    count = run.failed_children.get(key, 0)
    allowed: float = 0
    if node.config.on_item_failure == "continue":
        bound = node.config.max_failures
        allowed = step.width if bound is None else bound if bound >= 1 or bound == 0 else bound * step.width
    if count <= allowed:
        return False
    children = (child_key(key, index) for index in range(step.width))
    worst = next(c for c in children if c in run.decided and run.state.steps[c].status is not StepStatus.COMPLETED)
    first = run.state.steps[worst].error
    text = f"{count} of {step.width} items failed; the first, {worst}: {first.message if first else 'failed'}"
    error = StepError(first.type if first else "item_failed", text, retryable=False)
    cancel_parts(run, out, key, "the map has failed")
    out.emit(ev.StepJoined, step=key, status="failed", error=error)
    attempts.give_up(run, out, node, key, error)
    return True


def cancel_parts(run: Run, out: RunDecisions, key: str, reason: str) -> None:
    """Closes the children or the iteration of a step that are under way."""
    for name in [name for name in (*run.in_flight, *run.external_waits) if name.startswith((key + "[", key + "@"))]:
        step, node = run.state.steps[name], run.node(name)
        if step.status is StepStatus.OUTCOME_UNKNOWN and node is not None and node.policy.on_unknown == "ask":
            out.emit(ev.StepCancelled, step=name, attempt=step.attempt, reason=reason)  # no answer is waited for
        close(run, out, name, reason)


def close(run: Run, out: RunDecisions, key: str, reason: str, force: bool = False) -> None:
    """Cancels one step; a subworkflow's run is told."""
    step = run.state.steps[key]
    if step.status not in OPEN:
        return
    child = step.child if step.status is StepStatus.WAITING else ""
    awaited = "" if force else child
    out.emit(ev.StepCancelled, step=key, attempt=step.attempt, reason=reason, child=awaited)
    if child:
        attempts.cancel_child(run, out, key, step.attempt, child, reason, force=force)
    attempts.release(run, out, key, step)


# --- loop steps ---


def iterate(run: Run, out: RunDecisions, node: PlanNode, key: str) -> None:
    """The first iteration, if `while` holds. Raises ExpressionError, NeedBlob."""
    _next(run, out, node, key, 1, Payload())
    if run.state.steps[key].status is StepStatus.RUNNING:
        attempts.bound_all(out, node, key)


def look_at_loop(run: Run, out: RunDecisions, node: PlanNode, key: str, step: StepState) -> None:
    """After an iteration: the next one, or the end of the step."""
    if step.status is not StepStatus.RUNNING:
        attempts.decided(run, key)
        return
    attempts.set_missing_timers(out, node, key, step)
    part = iteration_key(key, step.iteration)
    child = run.state.steps.get(part)
    if child is None:
        attempts.schedule(run, out, node, part, 1)
    elif part in run.decided:
        try:
            _judge(run, out, node, key, step, child)
        except InvalidError as error:
            attempts.undecidable(run, out, node, key, error)


def _judge(run: Run, out: RunDecisions, node: PlanNode, key: str, step: StepState, child: StepState) -> None:
    if child.status is not StepStatus.COMPLETED:
        error = child.error or StepError("iteration_failed", "the iteration did not complete", retryable=False)
        out.emit(ev.StepResolved, step=key, attempt=0, status="failed", error=error)
        attempts.give_up(run, out, node, key, error)
        return
    output = child.output or Payload()
    until = node.config.until
    if until is not None:
        scope = out.scope.within({"iteration": step.iteration, "previous": out.scope.look(output)})
        if _holds(scope, "until", until):
            _done(run, out, key, output)
            return
    delay_ms = node.config.delay_ms
    if delay_ms and not step.due and step.iteration < node.config.max_iterations:
        timer = timer_ids.delay(key, step.iteration)
        if timer not in run.state.timers:
            out.emit(ev.TimerSet, timer=timer, kind="wait", fire_at=out.now_ms + delay_ms, step=key)
        return
    _next(run, out, node, key, step.iteration + 1, output)


def _next(run: Run, out: RunDecisions, node: PlanNode, key: str, iteration: int, last: Payload) -> None:
    ask = node.config.while_
    scope = out.scope.within({"iteration": iteration, "previous": out.scope.look(last)})
    if ask is not None and not _holds(scope, "while", ask):
        _done(run, out, key, last)
    elif iteration > node.config.max_iterations:
        if node.config.on_max == "complete":
            _done(run, out, key, last)
        else:
            text = f"the loop did not end within {node.config.max_iterations} iterations"
            error = StepError("max_iterations", text, retryable=False)
            out.emit(ev.StepResolved, step=key, attempt=0, status="failed", output=last, error=error)
            attempts.give_up(run, out, node, key, error)
    else:
        out.emit(ev.StepIterated, step=key, iteration=iteration)
        attempts.schedule(run, out, node, iteration_key(key, iteration), 1)


def _holds(scope: Scope, field: str, text: str) -> bool:
    try:
        return holds(scope, text)
    except InvalidError as error:
        raise at_field(field, error) from None


def _done(run: Run, out: RunDecisions, key: str, output: Payload) -> None:
    out.emit(ev.StepResolved, step=key, attempt=0, status="completed", output=output)
    attempts.decided(run, key)


# --- back edges ---


def leave_or_repeat(run: Run, out: RunDecisions, node: PlanNode) -> None:
    """At the end of a loop of edges: runs its body again, or lets those begin that come after it."""
    state = run.state
    left: list[str] = []
    for loop in node.back:
        count = state.taken.get(loop.edge, 0)
        if count < loop.max_iterations and taken(out.scope, loop.source, loop.condition):
            inner = tuple(other.edge for other in run.plan.loops if other is not loop and _within(other, loop))
            out.emit(ev.StepsReset, edge=loop.edge, iteration=count + 1, steps=loop.body, inner=inner)
            _reset(run, loop.body)
            break
        left.extend(run.plan.exits[loop.edge])
    for target in left:
        attempts.closer(run, target)


def _within(inner: Any, outer: Any) -> bool:
    return set(inner.body) <= set(outer.body) and len(inner.body) < len(outer.body)


def _reset(run: Run, body: tuple[str, ...]) -> None:
    inside = set(body)
    for name in body:
        run.undecided_count += 1
        sources = run.plan.waits_for(run.plan.nodes[name])
        run.blockers_left[name] = sum(1 for source in sources if source in inside)
        if not run.blockers_left[name]:
            run.dirty[current_key(run.state, name)] = None


def is_revisited(run: Run, node: PlanNode) -> bool:
    """Whether a back edge led to the node's present visit."""
    return any(loop.target == node.id and run.state.taken.get(loop.edge) for loop in run.plan.loops)
