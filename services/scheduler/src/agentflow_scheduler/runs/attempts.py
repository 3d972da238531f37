"""Attempts of steps: offered to workers (or started as a run), closed, retried. Pure."""

from __future__ import annotations

from typing import Any, Final

from agentflow_common import events as ev
from agentflow_common import ids
from agentflow_common.definition.model import load_trusted
from agentflow_common.errors import InvalidError
from agentflow_common.events import Payload, StepError
from agentflow_common.expressions.sandbox import ExpressionError
from agentflow_common.lanes.controls import NAME_MAX as LANE_KEY_MAX
from agentflow_common.lanes.fold import key_of_lane
from agentflow_common.runs import timer_ids
from agentflow_common.runs.state import (
    ACTIVE,
    UNDO,
    RunState,
    StepState,
    StepStatus,
    iteration_key,
    node_of,
    parent_of,
    visit_key,
)
from agentflow_scheduler.runs.decisions import RunDecisions
from agentflow_scheduler.runs.faults import check_fault
from agentflow_scheduler.runs.plan import PlanNode, PlanWork, map_items, mapped_items
from agentflow_scheduler.runs.run import Run, is_undo
from agentflow_scheduler.runs.scope import Scope, at_field, fitting
from agentflow_scheduler.runs.verdict import (
    error_of,
    is_unknown,
    is_unsure,
    judge,
    last_word,
    mistake,
    retry_delay_ms,
    retry_of,
)

DEPTH_MAX: Final = 8


def work_of(node: PlanNode, key: str) -> PlanWork:
    """What an attempt of the step does: of a compensation it is the node's `undo`."""
    work = node.undo if is_undo(key) else node.work
    assert work is not None  # noqa: S101
    return work


def undecidable(run: Run, out: RunDecisions, node: PlanNode, key: str, error: InvalidError) -> None:
    """Closes a step whose definition can't be followed, or at which the engine itself had an error."""
    out.emit(ev.StepUndecidable, step=key, error=run.faults.get(key) or mistake(key, error))
    failed(run, out, node, key, run.state.steps[key])


def local_scope(out: RunDecisions, node: PlanNode, key: str) -> tuple[Scope, dict[str, Any]]:
    """What a step's inputs may speak of, and inputs that stand over those of the definition."""
    base = key.removesuffix(UNDO)
    parent = parent_of(base)
    local: dict[str, Any] = {}
    over: dict[str, Any] = {}
    if parent is not None and base.endswith("]"):
        index = int(base[len(parent) + 1 : -1])
        name, items = items_of(out, node, parent)
        if node.kind == "map":
            local = {node.config.item: items[index], "index": index}
        else:
            local = {"item": items[index], "index": index} if base != key else {}
            over = {name: items[index]} if base == key else {}
    elif parent is not None:
        local = loop_names(out.scope, parent, int(base[len(parent) + 1 :]))
    if base != key:  # a compensation speaks of what is to be undone
        undone = out.scope.state.steps[base]
        given = undone.output if undone.status is StepStatus.COMPLETED else undone.output or undone.late
        local["output"] = out.scope.look(given or Payload())
    scope = out.scope.within(local) if local else out.scope
    if base != key:
        scope.own = parent or base  # and not of a later visit
    return scope, over


def items_of(out: RunDecisions, node: PlanNode, parent: str) -> tuple[str, list[Any]]:
    """Returns the name of the input that holds an item, and the items, of a step that has one child an item.

    They are looked up once in a decision, however many children it concerns. Raises ExpressionError, NeedBlob.
    """
    if parent not in out.items:
        if node.kind == "map":
            out.items[parent] = (node.config.item, map_items(node, out.scope))
        else:
            out.items[parent] = mapped_items(node, work_of(node, parent).resolve(out.scope), out.scope)
    return out.items[parent]


def loop_names(scope: Scope, parent: str, iteration: int) -> dict[str, Any]:
    before = scope.state.steps.get(iteration_key(parent, iteration - 1))
    return {"iteration": iteration, "previous": scope.look(before.output or Payload()) if before else None}


def schedule(run: Run, out: RunDecisions, node: PlanNode, key: str, attempt: int) -> bool:
    """Begins an attempt; False if the bound on offered steps holds it back. Raises NeedBlob."""
    work = work_of(node, key)
    if not is_undo(key) and not out.may_offer(pool_of(node, work)):  # an ending is never held back
        run.dirty[key] = None
        return False
    try:
        check_fault(run, key)
        scope, over = local_scope(out, node, key)
        begin_attempt(run, out, node, key, attempt, {**work.resolve(scope), **over}, scope)
    except InvalidError as error:
        undecidable(run, out, node, key, error)
    return True


def is_begun(step: StepState | None) -> bool:
    """Whether it had an attempt in this run, or needs none. A part that a retried run takes up again (forking.py) is
    RETRYING without an attempt: what it is a part of begins it, as it does the others."""
    if step is None or step.status is StepStatus.PENDING:
        return False
    return step.status is not StepStatus.RETRYING or step.attempt > 0


def pool_of(node: PlanNode, work: PlanWork) -> str:
    """The worker pool that an attempt goes to at once; empty for one that does not, or not yet."""
    return "" if work.kind == "subworkflow" or node.lane_key is not None else node.lane


def begin_attempt(
    run: Run, out: RunDecisions, node: PlanNode, key: str, attempt: int, inputs: dict[str, Any], scope: Scope
) -> None:
    work = work_of(node, key)
    first = attempt == 1 or key not in run.state.steps
    if work.kind == "subworkflow":
        start_child(run, out, node, key, attempt, inputs, work)
    elif node.lane_key is not None and not is_undo(key):
        _queue(run, out, node, key, attempt, scope)
    else:
        offer(run, out, node, key, attempt, inputs)
    if first and not is_undo(key):
        bound_all(out, node, key)


def bound_all(out: RunDecisions, node: PlanNode, key: str) -> None:
    """Begins the time that the step has for everything: attempts, children, iterations."""
    total = node.policy.total_timeout_ms
    if total is not None and parent_of(key) is None:
        _set_timer(out, timer_ids.total(key), "step_total", total, key, 0)


def set_missing_timers(out: RunDecisions, node: PlanNode, key: str, step: StepState) -> None:
    """A crash may come between a decision and the timer that belongs to it."""
    timers = out.scope.state.timers
    if not step.expired and not is_undo(key) and timer_ids.total(key) not in timers:
        bound_all(out, node, key)
    runs = step.status in ACTIVE or (step.status is StepStatus.WAITING and bool(step.child))
    if runs and not step.has_parts and timer_ids.timeout(key, step.attempt) not in timers:
        _bound_attempt(out, node, key, step.attempt)


def _bound_attempt(out: RunDecisions, node: PlanNode, key: str, attempt: int) -> None:
    """Begins the time that this attempt has."""
    if node.timeout_ms is not None:
        _set_timer(out, timer_ids.timeout(key, attempt), "step_timeout", node.timeout_ms, key, attempt)


def offer(run: Run, out: RunDecisions, node: PlanNode, key: str, attempt: int, inputs: dict[str, Any]) -> None:
    state = run.state
    work = work_of(node, key)
    undoing = is_undo(key)
    out.emit(
        ev.StepScheduled,
        step=key,
        attempt=attempt,
        lane=node.lane,
        kind=work.kind,
        config=work.config,
        inputs=inputs,
        policy=node.worker_policy,
        timeout_ms=node.timeout_ms,
        budget_nano=state.budget_nano,
        prompt=state.prompts.get(work.prompt_ref, work.prompt_ref),
        workflow=state.workflow,
        priority=priority(run, node),
        heartbeat_ms=None if undoing else node.policy.heartbeat_ms,
        undo=node.undo is not None and not undoing,
        unsure=attempt > 1 and is_unsure(state.steps.get(key)),
    )
    _bound_attempt(out, node, key, attempt)


def priority(run: Run, node: PlanNode) -> int:
    return run.state.priority if node.priority is None else node.priority


def budget_left(state: RunState) -> int | None:
    """What a run that this one starts may cost, in nano-USD; None: no bound."""
    return None if state.budget_nano is None else max(0, state.budget_nano - state.cost_nano)


def _set_timer(out: RunDecisions, timer: str, kind: str, delay_ms: int, key: str, attempt: int) -> None:
    out.emit(ev.TimerSet, timer=timer, kind=kind, fire_at=out.now_ms + delay_ms, step=key, attempt=attempt)


def _queue(run: Run, out: RunDecisions, node: PlanNode, key: str, attempt: int, scope: Scope) -> None:
    """Asks the lane's ledger for a slot; the task is offered when `slot.granted` has come."""
    assert node.lane_key is not None  # noqa: S101
    try:
        lane = _lane_text(node.lane_key(scope))
    except InvalidError as error:
        raise at_field("lane", error) from None
    entity = key_of_lane(lane)
    rank = priority(run, node)
    unsure = attempt > 1 and is_unsure(run.state.steps.get(key))
    out.emit(ev.StepQueued, step=key, attempt=attempt, lane=lane, priority=rank, unsure=unsure)
    out.send(
        ev.LaneRequested, to_org=entity.org, to=entity.name, lane=lane, holder_org=run.state.org,
        holder_run=run.state.run, step=key, attempt=attempt, priority=rank, limit=node.lane_limit,
        rate_per_s=node.lane_rate,
    )  # fmt: skip


def _lane_text(value: object) -> str:
    """A lane's key from what its template gives. Raises ExpressionError."""
    text = str(value) if isinstance(value, str | int) else ""
    if not 0 < len(text) <= LANE_KEY_MAX:
        raise ExpressionError(
            f"the lane's key must be a text of 1 to {LANE_KEY_MAX} characters, got {str(value)[:80]!r}"
        )
    return text


def granted(run: Run, out: RunDecisions, node: PlanNode, key: str, step: StepState) -> None:
    """Offers an attempt that has its slot."""
    if not out.may_offer(""):  # its workflow is paused
        give_back(run, out, key)
        run.dirty[key] = None
        return
    if not out.may_offer(node.lane):
        run.dirty[key] = None
        return
    try:
        check_fault(run, key)
        scope, over = local_scope(out, node, key)
        offer(run, out, node, key, step.attempt, {**work_of(node, key).resolve(scope), **over})
    except InvalidError as error:
        undecidable(run, out, node, key, error)
        release(run, out, key, step)


def give_back(run: Run, out: RunDecisions, key: str) -> None:
    """Leaves the slot that an attempt was granted to others, as the run or its workflow is paused."""
    step = run.state.steps.get(key)
    if step is None or step.status is not StepStatus.QUEUED or not step.granted:
        return
    lane = step.lane
    out.emit(ev.StepQueued, step=key, attempt=step.attempt, lane="")
    _tell_released(run, out, key, step.attempt, lane)


def ask_again(run: Run, out: RunDecisions, node: PlanNode, key: str, step: StepState) -> None:
    """The attempt had its slot and gave it back in a pause."""
    if not out.may_offer(""):
        run.dirty[key] = None
        return
    try:
        _queue(run, out, node, key, step.attempt, local_scope(out, node, key)[0])
    except InvalidError as error:
        undecidable(run, out, node, key, error)


def release(run: Run, out: RunDecisions, key: str, step: StepState) -> None:
    """Gives the slot of an attempt that is over back to its lane. Doing it twice does no harm."""
    if not step.lane or (key, step.attempt) in run.released:
        return
    run.released[key, step.attempt] = None
    _tell_released(run, out, key, step.attempt, step.lane)


def _tell_released(run: Run, out: RunDecisions, key: str, attempt: int, lane: str) -> None:
    entity = key_of_lane(lane)
    out.send(
        ev.LaneReleased, to_org=entity.org, to=entity.name, lane=lane, holder_org=run.state.org,
        holder_run=run.state.run, step=key, attempt=attempt,
    )  # fmt: skip


def start_child(
    run: Run, out: RunDecisions, node: PlanNode, key: str, attempt: int, inputs: dict[str, Any], work: PlanWork
) -> None:
    """Starts a subworkflow as a run of its own, in the same append as the decision. Raises InvalidError, NeedBlob."""
    state = run.state
    raw = state.definitions.get(work.workflow_ref)
    if raw is None:
        raise ExpressionError(f"the workflow {work.workflow_ref!r} was not pinned when the run was submitted")
    if state.depth >= DEPTH_MAX:
        raise ExpressionError(f"subworkflows are nested more than {DEPTH_MAX} deep: let a recursion end before that")
    definition = load_trusted(raw)
    if work.state_args and definition.inputs:
        inputs = {name: value for name, value in inputs.items() if name in definition.inputs}
    full = fitting(definition.check_inputs(out.scope.inside(inputs)), "what the workflow is given")
    child = ids.derived_run_id(state.org, state.run, key, attempt)
    undo = node.undo is not None
    out.emit(ev.StepWaiting, step=key, attempt=attempt, kind="subworkflow", child=child, undo=undo)
    out.send(
        ev.RunSubmitted,
        to_org=state.org,
        to=child,
        workflow=definition.name,
        version=definition.version,
        definition=raw,
        inputs=Payload(value=full),
        digest=definition.digest(),
        prompts=state.prompts,
        budget_nano=budget_left(state),
        deadline_ms=definition.deadline_ms,
        tags=state.tags,
        priority=priority(run, node),
        parent=ev.ParentRef(state.run, key, attempt),
        definitions=state.definitions,
        depth=state.depth + 1,
    )
    _bound_attempt(out, node, key, attempt)


def cancel_child(
    run: Run, out: RunDecisions, key: str, attempt: int, child: str, reason: str, grace_ms: int = 0, force: bool = False
) -> None:
    """Tells a subworkflow to end, together with the newest decision."""
    state = run.state
    out.send(
        ev.RunCancelRequested, to_org=state.org, to=child, reason=reason, by=f"run {state.run}", grace_ms=grace_ms,
        force=force, child_of=ev.ParentRef(state.run, key, attempt),
    )  # fmt: skip


def decided(run: Run, key: str) -> None:
    """The step will not change any more: those that wait for it come one closer."""
    if key in run.decided:
        return
    run.decided[key] = None
    if is_undo(key):
        return
    parent = parent_of(key)
    if parent is not None:
        if parent in run.open_children:
            run.open_children[parent] -= 1
            if run.state.steps[key].status is not StepStatus.COMPLETED:
                run.failed_children[parent] = run.failed_children.get(parent, 0) + 1
        run.dirty[parent] = None
        return
    run.undecided_count -= 1
    if run.plan.graph is None:
        node = run.plan.nodes[node_of(key)]
        for target in node.targets:
            closer(run, target)
        if node.back:
            run.loop_exits[node.id] = None


def closer(run: Run, target: str) -> None:
    """One of those that the node waits for is decided."""
    run.blockers_left[target] = left = run.blockers(target) - 1
    if not left:
        run.dirty[visit_key(target, run.state.visits.get(target, 1))] = None


# --- what follows when an attempt did not succeed ---


def failed(run: Run, out: RunDecisions, node: PlanNode, key: str, step: StepState) -> None:
    """Retries, asks, goes on without the step, or fails what holds it."""
    verdict = judge(node, key, step)
    if key in run.faults:
        give_up(run, out, node, key, run.faults[key])
    elif verdict == "retry":
        _try_again(run, out, node, key, step)
    elif verdict != "ask":
        give_up(run, out, node, key, error_of(step))


def give_up(run: Run, out: RunDecisions, node: PlanNode, key: str, error: StepError) -> None:
    """The step has failed for good."""
    if last_word(node, key) == "fail":
        out.failure = (error, key)
    else:
        decided(run, key)


def _try_again(run: Run, out: RunDecisions, node: PlanNode, key: str, step: StepState) -> None:
    set_missing_timers(out, node, key, step)  # its total time goes on
    delay_ms = 0
    if not is_unknown(key, step):
        delay_ms = retry_delay_ms(retry_of(node, key), run.state.run, key, step.attempt, error_of(step))
    if delay_ms:
        _set_timer(out, timer_ids.retry(key, step.attempt), "retry", delay_ms, key, step.attempt)
    else:
        schedule(run, out, node, key, step.attempt + 1)
