"""Steps that run as parts: the children of a map or a parallel step, the iterations of a loop step. Pure.

A step with children is `step.expanded` once, into as many as it has items. Its children are offered as the bounds
allow. An item of a map for which its condition does not hold is skipped. Each child counts when its status is final,
and the last one lets the step be `step.joined`. A map that has more failed items than its policy allows cancels the
others and fails.

The children of a map may be maps: each is expanded, in place of being offered, and goes on by itself.

A loop step goes on to one iteration after the other (`step.iterated`), until a condition or a bound ends it.
"""

from __future__ import annotations

from typing import Final

from agentflow_common import events as ev
from agentflow_common.definition.nodes.base import ITEMS_MAX
from agentflow_common.errors import InvalidError
from agentflow_common.events import Payload, StepError
from agentflow_common.expressions.sandbox import ExpressionError
from agentflow_common.runs import timer_ids
from agentflow_common.runs.parts import whole_of
from agentflow_common.runs.state import DONE, OPEN, StepState, StepStatus, child_key, iteration_key
from agentflow_scheduler.runs.decisions import StepContext
from agentflow_scheduler.runs.run import is_begun
from agentflow_scheduler.runs.scope import Scope, holds, in_field
from agentflow_scheduler.runs.steps import attempts
from agentflow_scheduler.runs.steps.items import items_of, scope_around
from agentflow_scheduler.runs.steps.time_limits import limit_step, set_missing_timers

_NOTHING: Final = Payload()


# --- children ---


def expand(at: StepContext) -> None:
    """Gives the step one child for each item, and offers them. Raises ExpressionError, NeedBlob."""
    _expand(at)
    advance_children(at)


def _expand(at: StepContext) -> None:
    items = items_of(at, at.key)
    width = len(items.values)
    if width > ITEMS_MAX:
        kind = "map" if at.node.kind == "map" else "parallel"
        raise ExpressionError(f"a {kind} step has at most {ITEMS_MAX} items, the list holds {width}")
    whole = whole_of(at.key)
    if whole != at.key and at.run.inner_children.get(whole, 0) + width > ITEMS_MAX:
        raise ExpressionError(f"all maps in {whole} together have at most {ITEMS_MAX:,} items; use a subworkflow")
    at.emit(ev.StepExpanded, width=width, keys=items.keys)
    at.run.open_children[at.key] = width
    at.run.note_width(at.key, width)


def advance_children(at: StepContext) -> None:
    """Offers children that were not offered yet, as many as may run at once, and joins them when all are decided."""
    if at.step.status is not StepStatus.RUNNING:  # after a crash it may be joined already
        at.run.mark_final(at.key)
        return
    if at.node.kind == "map" and _has_failed(at):
        return
    if at.node.policy.total_timeout_ms is not None:
        set_missing_timers(at)
    if not at.run.open_children[at.key]:
        at.emit(ev.StepJoined, status="completed")
        at.run.mark_final(at.key)
        return
    room = _room(at)
    if room > 0:
        _offer_children(at, room)


def _room(at: StepContext) -> int:
    """Returns how many more children may be offered now, in order."""
    run, key = at.run, at.key
    left = run.next_children.get(key)
    if left is None:
        steps = run.state.steps
        left = [i for i in reversed(range(at.step.width)) if not is_begun(steps.get(child_key(key, i)))]
        run.next_children[key] = left
    bound = at.node.config.concurrency if at.node.kind == "map" else None
    under_way = run.open_children[key] - len(left)
    return len(left) if bound is None else min(len(left), int(bound) - under_way)


def _offer_children(at: StepContext, room: int) -> None:
    out, node, work = at.out, at.node, at.work
    name, items, _ = items_of(at, at.key)
    around = scope_around(at) if node.kind == "map" else at.scope
    inputs = {} if node.kind == "map" else work.resolve(around, at.sent)
    if len(items) != at.step.width:
        raise AssertionError(f"{at.state.run}/{at.key}: {len(items)} items, expanded to {at.step.width}")
    left = at.run.next_children[at.key]
    pool = attempts.pool_of(at)
    while left and room > 0:
        index = left[-1]
        child = at.part(child_key(at.key, index))
        out.at = child.key
        try:
            at.run.check_fault(child.key)
            if node.kind == "map":
                scope = around.within({name: items[index], node.config.index: index})
                if is_left_out(child, node.config.item_condition, scope):
                    left.pop()
                    continue
                if node.holds_maps:
                    _expand(child)
                    at.run.dirty[child.key] = None
                elif not at.may_offer(pool):
                    return
                else:
                    attempts.begin_with(child, 1, work.resolve(scope), scope)
            else:
                if not at.may_offer(pool):
                    return
                attempts.begin_with(child, 1, {**inputs, name: items[index]}, around)
        except InvalidError as error:
            attempts.fail_undecidable(child, error)
        left.pop()
        room -= 1
        if out.failure is not None:
            return
    out.at = at.key


def is_left_out(child: StepContext, condition: str | None, scope: Scope) -> bool:
    """Skips an item of a map for which the map's condition does not hold. Raises ExpressionError, NeedBlob."""
    if condition is None or in_field("item_condition", holds, scope.looked_into(), condition):
        return False
    child.emit(ev.StepSkipped, reason=f"the condition of the items is false: {condition}")
    child.run.mark_final(child.key)
    return True


def _has_failed(at: StepContext) -> bool:
    """Fails a map if more of its items have failed than its policy allows. Returns True if it has failed."""
    run, key, width, config = at.run, at.key, at.step.width, at.node.config
    count = run.failed_children.get(key, 0)
    allowed: float = 0
    if config.on_item_failure == "continue":
        bound = config.max_failures
        allowed = width if bound is None else bound if bound >= 1 or bound == 0 else bound * width
    if count <= allowed:
        return False
    children = (child_key(key, index) for index in range(width))
    worst = next(c for c in children if c in run.decided and run.state.steps[c].status not in DONE)
    first = run.state.steps[worst].error
    text = f"{count} of {width} items failed; the first, {worst}: {first.message if first else 'failed'}"
    error = StepError(first.type if first else "item_failed", text, retryable=False)
    cancel_parts(at, "the map has failed")
    at.emit(ev.StepJoined, status="failed", error=error)
    attempts.close_failed(at, error)
    return True


def cancel_parts(at: StepContext, reason: str) -> None:
    """Closes the children or the iteration of a step that are under way."""
    run = at.run
    prefixes = (at.key + "[", at.key + "@")
    for name in [name for name in (*run.in_flight, *run.external_waits) if name.startswith(prefixes)]:
        part = at.part(name)
        if part.step.status is StepStatus.OUTCOME_UNKNOWN and at.node.policy.on_unknown == "ask":
            part.emit(ev.StepCancelled, attempt=part.step.attempt, reason=reason)  # no answer is waited for any more
        attempts.cancel(part, reason)
    if at.node.holds_maps:
        for name, step in [*at.state.steps.items()]:
            if name.startswith(prefixes) and step.width >= 0 and step.status in OPEN:
                attempts.cancel(at.part(name), reason)


# --- loop steps ---


def begin_loop(at: StepContext) -> None:
    """Begins the first iteration, if `while` holds. Raises ExpressionError, NeedBlob."""
    _begin_iteration(at, 1, _NOTHING)
    if at.step.status is StepStatus.RUNNING:
        limit_step(at)


def advance_loop(at: StepContext) -> None:
    """Begins the next iteration after one has ended, or ends the step."""
    step = at.step
    if step.status is not StepStatus.RUNNING:
        at.run.mark_final(at.key)
        return
    set_missing_timers(at)
    part = at.part(iteration_key(at.key, step.iteration))
    iteration = at.state.steps.get(part.key)
    if iteration is None:
        attempts.begin(part, 1)
    elif part.key in at.run.decided:
        try:
            _follow(at, iteration)
        except InvalidError as error:
            attempts.fail_undecidable(at, error)


def _follow(at: StepContext, iteration: StepState) -> None:
    """Decides what follows an iteration that is final."""
    step, config = at.step, at.node.config
    if iteration.status is not StepStatus.COMPLETED:
        error = iteration.error or StepError("iteration_failed", "the iteration did not complete", retryable=False)
        attempts.fail(at, error, attempt=0)
        return
    output = iteration.output or _NOTHING
    if config.until is not None:
        scope = at.scope.within({"iteration": step.iteration, "previous": at.scope.look(output)})
        if in_field("until", holds, scope, config.until):
            attempts.complete(at, attempt=0, output=output)
            return
    if config.delay_ms and not step.due and step.iteration < config.max_iterations:
        timer = timer_ids.delay(at.key, step.iteration)
        if timer not in at.state.timers:
            at.set_timer(timer, "wait", config.delay_ms)
        return
    _begin_iteration(at, step.iteration + 1, output)


def _begin_iteration(at: StepContext, number: int, last: Payload) -> None:
    config = at.node.config
    scope = at.scope.within({"iteration": number, "previous": at.scope.look(last)})
    if config.while_ is not None and not in_field("while", holds, scope, config.while_):
        attempts.complete(at, attempt=0, output=last)
    elif number <= config.max_iterations:
        at.emit(ev.StepIterated, iteration=number)
        attempts.begin(at.part(iteration_key(at.key, number)), 1)
    elif config.on_max == "complete":
        attempts.complete(at, attempt=0, output=last)
    else:
        text = f"the loop did not end within {config.max_iterations} iterations"
        attempts.fail(at, StepError("max_iterations", text, retryable=False), attempt=0, output=last)
