"""What happens next in a run: a pure function of its folded state. No I/O, no clock, no randomness in here.

`decide(run, now_ms, blobs)` looks only at the steps that changed since it last looked, folds each decision into the
state as it takes it, and returns the decisions in order. It is driven by the state and not by single events: after a
crash, deciding again on the refolded log adds exactly what is missing. Given the same log and the same times it takes
the same decisions.

A node runs when everything it waits for is decided and at least one incoming edge was taken (its source completed and
its condition holds). It is skipped when no edge was taken or its own condition is false.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from agentflow_common import events as ev
from agentflow_common import ids
from agentflow_common.errors import InvalidError
from agentflow_common.events import BlobRef, Payload, StepError
from agentflow_common.expressions import ExpressionError
from agentflow_common.runfold import evolve
from agentflow_common.runstate import (
    ACTIVE,
    RunState,
    RunStatus,
    StepState,
    StepStatus,
    blob_marker,
    child_key,
    output_of,
    parent_of,
)
from agentflow_scheduler.plan import NeedBlob, Plan, PlanNode, Scope, mapped_items, skip_reason

WIDTH_MAX: Final = 10_000  # children of one parallel step


class Run:
    """A run in memory: its state, its plan, and the bookkeeping that makes a decision cost O(what changed)."""

    __slots__ = ("decided", "open_children", "plan", "remaining", "state", "touched", "undecided", "used_timers")

    def __init__(self, state: RunState, plan: Plan) -> None:
        self.state = state
        self.plan = plan
        state.definition = plan.raw
        self.remaining = {node.id: len(plan.waits_for(node)) for node in plan.nodes.values()}
        self.undecided = len(plan.nodes)
        self.decided: set[str] = set()
        self.used_timers = bool(state.timers)
        self.open_children: dict[str, int] = {k: s.width for k, s in state.steps.items() if s.width >= 0}
        ready = [name for name, count in self.remaining.items() if not count]
        self.touched: dict[str, None] = dict.fromkeys([*state.steps, *ready])

    def apply(self, event: ev.AnyEvent, seq: int) -> None:
        """Folds a fact from the log."""
        evolve(self.state, event, seq)
        key = getattr(event, "step", "")
        if key:
            self.touched[key] = None

    def node_of(self, key: str) -> PlanNode | None:
        return self.plan.nodes.get(parent_of(key) or key)


class Decision:
    """decisions: in order, already folded into the run's state. needs: blobs to fetch before deciding again."""

    __slots__ = ("_now_ms", "_run", "decisions", "needs", "scope")

    def __init__(self, run: Run, now_ms: int, blobs: Mapping[str, Any]) -> None:
        self.decisions: list[ev.Decision] = []
        self.needs: list[BlobRef] = []
        self.scope = Scope(run.state, blobs)
        self._run = run
        self._now_ms = now_ms

    def emit(self, event_type: type[ev.Decision], /, **fields: Any) -> None:
        state = self._run.state
        event = event_type(
            org=state.org, run=state.run, ts=self._now_ms, seen=state.facts_seq, trace=state.trace, **fields
        )
        evolve(state, event, 0)
        self.decisions.append(event)

    @property
    def now_ms(self) -> int:
        return self._now_ms


def decide(run: Run, now_ms: int, blobs: Mapping[str, Any]) -> Decision:
    """Everything that can be decided now. blobs: out-of-line values by SHA-256 that may be looked into."""
    out = Decision(run, now_ms, blobs)
    state = run.state
    if state.status.terminal:
        return out
    if state.status is RunStatus.PENDING:
        _start(run, out)
    if state.cancel_requested:
        _cancel_active(run, out, state.cancel_reason or "the run was cancelled")
        out.emit(ev.RunCancelled, reason=state.cancel_reason, **_totals(state, now_ms))
        return out
    if state.deadline_passed:
        error = StepError("deadline", f"the run did not end within {state.deadline_ms} ms", retryable=False)
        _fail_run(run, out, error, "")
        return out
    waiting: list[str] = []
    while run.touched and not state.status.terminal:
        key = next(iter(run.touched))
        del run.touched[key]
        try:
            _look(run, out, key)
        except NeedBlob as need:
            waiting.append(key)
            out.needs.append(need.ref)
    run.touched.update(dict.fromkeys(waiting))
    if not run.undecided and not waiting and not state.status.terminal:
        _complete(run, out)
    return out


def _start(run: Run, out: Decision) -> None:
    state = run.state
    out.emit(
        ev.RunStarted,
        workflow=state.workflow,
        version=state.version,
        steps=len(run.plan.nodes),
        submitted_at=state.submitted_at,
        tags=state.tags,
    )
    if state.deadline_ms is not None:
        out.emit(ev.TimerSet, timer="deadline", kind="deadline", fire_at=state.submitted_at + state.deadline_ms)


def _look(run: Run, out: Decision, key: str) -> None:
    """Decides what a step's present condition calls for; does nothing if that was done before."""
    node = run.node_of(key)
    if node is None or key in run.decided:
        return
    step = run.state.steps.get(key)
    status = step.status if step is not None else StepStatus.PENDING
    if step is None or status is StepStatus.PENDING:
        if key in run.remaining and not run.remaining[key]:
            _begin(run, out, node)
    elif status in {StepStatus.COMPLETED, StepStatus.SKIPPED}:
        _decided(run, out, key)
    elif status in {StepStatus.FAILED, StepStatus.OUTCOME_UNKNOWN}:
        _failed(run, out, node, key, step)
    elif step.due and status is StepStatus.RETRYING:
        _schedule(run, out, node, key, step.attempt + 1)
    elif step.due and status in ACTIVE:
        out.emit(ev.StepTimedOut, step=key, attempt=step.attempt, timeout_ms=node.timeout_ms or 0)
        _failed(run, out, node, key, step)
    elif step.width >= 0:
        if step.width:
            _schedule_children(run, out, node, step.width)
        else:
            _join(run, out, node)


def _begin(run: Run, out: Decision, node: PlanNode) -> None:
    """Skips, expands or schedules a node whose sources are all decided."""
    try:
        reason = skip_reason(out.scope, node)
        if reason:
            out.emit(ev.StepSkipped, step=node.id, reason=reason)
            _decided(run, out, node.id)
        elif node.parallel:
            _name, items = mapped_items(node, node.resolve(out.scope), out.scope)
            if len(items) > WIDTH_MAX:
                raise ExpressionError(f"a parallel step has at most {WIDTH_MAX} items, the list holds {len(items)}")
            out.emit(ev.StepExpanded, step=node.id, width=len(items))
            run.open_children[node.id] = len(items)
            if items:
                _schedule_children(run, out, node, len(items))
            else:
                _join(run, out, node)
        else:
            _schedule(run, out, node, node.id, 1)
    except InvalidError as error:
        _undecidable(run, out, node, node.id, error)


def _undecidable(run: Run, out: Decision, node: PlanNode, key: str, error: InvalidError) -> None:
    out.emit(ev.StepUndecidable, step=key, error=StepError("undecidable", error.message, retryable=False))
    _failed(run, out, node, key, run.state.steps[key])


def _schedule_children(run: Run, out: Decision, node: PlanNode, width: int) -> None:
    """Offers the children that have not been offered yet (all of them, unless a crash came between)."""
    name, items = mapped_items(node, inputs := node.resolve(out.scope), out.scope)
    if len(items) != width:
        raise AssertionError(f"{run.state.run}/{node.id}: {len(items)} items, expanded to {width}")
    for index, item in enumerate(items):
        key = child_key(node.id, index)
        if key not in run.state.steps:
            _offer(run, out, node, key, 1, {**inputs, name: item})


def _schedule(run: Run, out: Decision, node: PlanNode, key: str, attempt: int) -> None:
    try:
        inputs = node.resolve(out.scope)
        if key != node.id:
            name, items = mapped_items(node, inputs, out.scope)
            inputs = {**inputs, name: items[int(key[len(node.id) + 1 : -1])]}
    except ExpressionError as error:
        _undecidable(run, out, node, key, error)
        return
    _offer(run, out, node, key, attempt, inputs)


def _offer(run: Run, out: Decision, node: PlanNode, key: str, attempt: int, inputs: dict[str, Any]) -> None:
    state = run.state
    out.emit(
        ev.StepScheduled,
        step=key,
        attempt=attempt,
        lane=node.lane,
        kind=node.kind,
        config=node.config,
        inputs=inputs,
        policy=node.worker_policy,
        timeout_ms=node.timeout_ms,
        budget_nano=state.budget_nano,
        prompt=state.prompts.get(node.prompt_ref, node.prompt_ref),
        workflow=state.workflow,
    )
    if node.timeout_ms is not None:
        out.emit(
            ev.TimerSet,
            timer=f"timeout:{key}:{attempt}",
            kind="step_timeout",
            fire_at=out.now_ms + node.timeout_ms,
            step=key,
            attempt=attempt,
        )


def _decided(run: Run, out: Decision, key: str) -> None:
    """The step will not change any more: those that wait for it come one closer."""
    if key in run.decided:
        return
    run.decided.add(key)
    parent = parent_of(key)
    if parent is not None:
        run.open_children[parent] -= 1
        if not run.open_children[parent]:
            _join(run, out, run.plan.nodes[parent])
        return
    run.undecided -= 1
    for target in run.plan.nodes[key].targets:
        run.remaining[target] -= 1
        if not run.remaining[target]:
            run.touched[target] = None


def _join(run: Run, out: Decision, node: PlanNode) -> None:
    if run.state.steps[node.id].status is StepStatus.RUNNING:  # after a crash it may be joined already
        out.emit(ev.StepJoined, step=node.id, status="completed")
    _decided(run, out, node.id)


def _failed(run: Run, out: Decision, node: PlanNode, key: str, step: StepState) -> None:
    """Retries, goes on without the step, or fails the run."""
    error = step.error or StepError("unknown", "the step failed")
    if step.status is StepStatus.OUTCOME_UNKNOWN:
        policy = node.policy.on_unknown or ("retry" if node.kind == "llm" else "fail")
        if policy == "retry" and step.attempt < node.retry.max_attempts:
            _schedule(run, out, node, key, step.attempt + 1)
            return
    elif _may_retry(node, error, step.attempt):
        delay_ms = retry_delay_ms(node, run.state.run, key, step.attempt, error)
        if not delay_ms:
            _schedule(run, out, node, key, step.attempt + 1)
        else:
            timer = f"retry:{key}:{step.attempt}"
            fire_at = out.now_ms + delay_ms
            out.emit(ev.TimerSet, timer=timer, kind="retry", fire_at=fire_at, step=key, attempt=step.attempt)
        return
    if node.policy.on_failure == "continue":
        _decided(run, out, key)
    else:
        _fail_run(run, out, error, key)


def _may_retry(node: PlanNode, error: StepError, attempt: int) -> bool:
    if attempt >= node.retry.max_attempts or not attempt:
        return False
    if error.type in node.retry.non_retryable:
        return False
    if node.retry.retryable:
        return error.type in node.retry.retryable
    return error.retryable


def retry_delay_ms(node: PlanNode, run: str, key: str, attempt: int, error: StepError) -> int:
    """The wait before the next attempt: backoff, spread by a jitter that depends on (run, step, attempt) alone."""
    retry = node.retry
    factor = {"fixed": 1, "linear": attempt, "exponential": 2 ** min(attempt - 1, 30)}[retry.backoff]
    base = min(retry.initial_ms * factor, retry.max_ms)
    spread = 1 + retry.jitter * (2 * ids.fraction(run, key, attempt) - 1)
    return max(int(base * spread), error.retry_after_ms or 0)


def _cancel_active(run: Run, out: Decision, reason: str) -> None:
    open_states = {*ACTIVE, StepStatus.RETRYING}
    for key, step in list(run.state.steps.items()):
        if step.status in open_states:
            out.emit(ev.StepCancelled, step=key, attempt=step.attempt, reason=reason)


def _fail_run(run: Run, out: Decision, error: StepError, step: str) -> None:
    _cancel_active(run, out, f"the run failed at {step}" if step else error.message)
    out.emit(ev.RunFailed, error=error, step=step, **_totals(run.state, out.now_ms))


def fail_run(run: Run, now_ms: int, error: StepError) -> Decision:
    """Ends a run that the engine itself can't go on with."""
    out = Decision(run, now_ms, {})
    if not run.state.status.terminal:
        _fail_run(run, out, error, "")
    return out


def _complete(run: Run, out: Decision) -> None:
    state = run.state
    plan = run.plan
    try:
        if plan.outputs:
            output: Any = {name: resolver(out.scope) for name, resolver in plan.outputs.items()}
        else:
            output = {name: _by_value(state, name) for name in plan.sinks}
    except NeedBlob as need:
        out.needs.append(need.ref)
        return
    except InvalidError as error:
        _fail_run(run, out, StepError("undecidable", f"outputs: {error.message}", retryable=False), "")
        return
    out.emit(ev.RunCompleted, output=Payload(value=output), **_totals(state, out.now_ms))


def _by_value(state: RunState, key: str) -> Any:
    payload = output_of(state, key)
    return payload.value if payload.ref is None else blob_marker(payload.ref)


def _totals(state: RunState, now_ms: int) -> dict[str, int]:
    return {"cost_nano": state.cost_nano, "duration_ms": max(0, now_ms - state.submitted_at)}
