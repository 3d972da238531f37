"""Explains in words what each open step of a run waits for. Pure: the run's state and its surroundings are arguments.

`explain` never guesses. If a part of the surroundings is unknown, for example because a lane did not answer, it uses
the state alone.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from agentflow_common.definition.dependencies import waits_for
from agentflow_common.definition.model import Definition
from agentflow_common.lanes import fold as lane_fold
from agentflow_common.lanes.fold import slot_key
from agentflow_common.runs import timer_ids
from agentflow_common.runs.state import (
    OPEN,
    SETTLED,
    UNDO,
    Ending,
    RunState,
    RunStatus,
    StepState,
    StepStatus,
    current_key,
    ended_by,
    node_of,
    parent_of,
    present_keys,
)
from agentflow_common.runs.waiting import Surroundings, Waiting, for_lock, in_lane, in_time, own_end, paused, span

STEPS_MAX: Final = 500  # explained one by one; the rest is counted
PLACES_MAX: Final = 10  # dependencies of a step, by name
_ENDS: Final = {"completed": "complete", "failed": "fail", "cancelled": "be cancelled"}


class Explanation(msgspec.Struct, frozen=True):
    """The steps of a run that are not settled, and what each waits for."""

    summary: str  # what holds up the run as a whole
    waiting: tuple[Waiting, ...] = ()
    more: int = 0  # steps beyond STEPS_MAX


def explain(state: RunState, definition: Definition, around: Surroundings) -> Explanation:
    if state.status.terminal:
        why = f"{state.error.type}: {state.error.message}" if state.error else _why_cancelled(state)
        return Explanation(f"the run {state.status.ended}{': ' * bool(why)}{why}")
    found: list[Waiting] = []
    more = 0
    for item in _all(state, definition, around):
        if len(found) < STEPS_MAX:
            found.append(item)
        else:
            more += 1
    return Explanation(_summary(state, around), tuple(found), more)


def _why_cancelled(state: RunState) -> str:
    return state.cancel_reason if state.status is RunStatus.CANCELLED else ""


def _summary(state: RunState, around: Surroundings) -> str:
    if state.finishing is not None or state.ending is not None:
        return _ending(state, state.ending, around)
    if state.cancel_requested:
        ends = [timer.fire_at for timer in state.timers.values() if timer.kind == "grace"]
        left = f"; what still runs is closed {in_time(min(ends), around.now_ms)}" if ends else ""
        why = f": {state.cancel_reason}" if state.cancel_reason else ""
        return f"the run is being cancelled{why}{left}"
    if held_up := _held_up(state, around):
        return held_up
    if around.schedulers == 0:
        return "no scheduler is running, so nothing is decided"
    deadline = ""
    if _awaits_slot(state):
        deadline = f"the run waits for a slot of the run lane {state.run_lane}; its steps begin after that"
    elif state.deadline_ms is not None:
        deadline = f"its deadline ends the run {in_time(state.submitted_at + state.deadline_ms, around.now_ms)}"
    return "no scheduler has begun it yet" if state.status is RunStatus.PENDING else deadline


def _held_up(state: RunState, around: Surroundings) -> str:
    """Returns what keeps the whole run from going on: a pause or a breakpoint; empty if nothing does."""
    if state.pause_requested:
        who = f" by {state.paused_by}" if state.paused_by else ""
        why = f": {state.pause_reason}" if state.pause_reason else ""
        end = own_end(state.paused_until, around.now_ms)
        return f"the run is paused{who}{why}{end} (agentctl workflow resume {state.run})"
    if state.stops is not None and state.stops.before:
        return f"the run is {_stopped(state)} (agentctl workflow continue {state.run})"
    if around.workflow_paused is not None:
        why = f": {around.workflow_paused}" if around.workflow_paused else ""
        end = own_end(around.workflow_paused_until, around.now_ms)
        return f"the workflow {state.workflow} is paused{why}{end} (agentctl workflow resume {state.workflow})"
    return ""


def _stopped(state: RunState) -> str:
    """Returns where a run is stopped: `stopped before c by a breakpoint`."""
    stops = state.stops
    if stops is None:
        return ""
    named = ", ".join(stops.before[:PLACES_MAX])
    more = f" and {len(stops.before) - PLACES_MAX} more" if len(stops.before) > PLACES_MAX else ""
    return f"stopped before {named}{more} {'as it goes step by step' if stops.every else 'by a breakpoint'}"


def _ending(state: RunState, ending: Ending | None, around: Surroundings) -> str:
    if state.finishing is not None:
        timer = state.timers.get(timer_ids.FINALLY)
        bound = f", at the latest {in_time(timer.fire_at, around.now_ms)}" if timer else ""
        ends = _ENDS.get(state.finishing.status, "end")
        return f"the run will {ends} once its nodes with `finally: true` have ended{bound}"
    if ending is None or not (ending.children and state.undoing):
        return f"the run will {_ENDS.get(ending.status if ending else '', 'end')} once its steps are compensated"
    count = len(state.undoing)
    first = "the subworkflow undoes" if count == 1 else f"the {count:,} subworkflows undo"
    return f"the run waits until {first} what was done; then it undoes its own steps and ends as {ending.status}"


def _held(state: RunState, around: Surroundings) -> tuple[str, str] | None:
    """Returns (kind, text) of what keeps any step from being offered, or None."""
    if state.pause_requested and state.finishing is None:
        return "paused_run", "the run is paused"
    if state.stops is not None and state.stops.before and state.finishing is None:
        return "breakpoint", f"the run is {_stopped(state)}"
    if around.workflow_paused is not None:
        return "paused_workflow", f"the workflow {state.workflow} is paused"
    if around.schedulers == 0:
        return "scheduler", "no scheduler is running"
    return None


def _all(state: RunState, definition: Definition, around: Surroundings) -> Iterator[Waiting]:
    begun = {key: step for key, step in state.steps.items() if step.status not in SETTLED}
    if _awaits_slot(state):
        yield _slot(state, around)
        return
    waits = waits_for(definition)
    nodes = {node.id: node for node in definition.dag.nodes}
    locked = {name for lock in definition.lock for name in lock.nodes}
    ends = [name for name, node in nodes.items() if node.type == "end"]
    over = state.ending is not None or ended_by(state, ends)
    for key, node in [(key, node) for name, node in nodes.items() for key in present_keys(state, name)]:
        step = state.steps.get(key)
        if step is not None and step.status is not StepStatus.PENDING:
            continue
        if node.at_end is (state.finishing is None) or state.finally_over:
            continue
        if not node.at_end and (over or (definition.graph is not None and key not in state.active)):
            continue
        waits_here = definition.graph is None or node.at_end  # an active node of a graph does not wait for others
        before = waits[node.id] if waits_here else []
        waiting = _join(state, key, node, before, around) or _pending(state, key, before, around)
        if waiting.kind == "scheduler" and node.id in locked:
            waiting = for_lock(key, state, around) or waiting
        if node.type == "continue_as_new" and waiting.kind == "scheduler":
            waiting = _last(waiting, begun)
        yield waiting
    for key, step in begun.items():
        if step.status is not StepStatus.PENDING and not _is_given_up(key, step, nodes.get(node_of(key))):
            yield _begun(state, key, step, nodes.get(node_of(key)), around)
    yield from _undoing(state, around)


def _undoing(state: RunState, around: Surroundings) -> Iterator[Waiting]:
    """Yields the subworkflows that were asked to end and have not."""
    timer = state.timers.get(timer_ids.CHILDREN)
    bound = f", and goes on without that {in_time(timer.fire_at, around.now_ms)}" if timer else ""
    for place, child in state.undoing.items():
        key = place.rpartition("/")[0]
        step = state.steps.get(key)
        text = f"waits until the run {child} has undone its steps and ended{bound} (agentctl workflow why {child})"
        since = step.finished_at if step is not None else 0
        yield Waiting(key, "subworkflow", text, child, timer.fire_at if timer else 0, since)


def _last(waiting: Waiting, begun: Mapping[str, StepState]) -> Waiting:
    """Returns what a `continue_as_new` waits for once its turn has come: everything that still runs."""
    others = [
        (key, step.status.value) for key, step in begun.items()
        if parent_of(key) is None and step.status is not StepStatus.PENDING
        and (step.status is not StepStatus.WAITING or step.child)
    ]  # fmt: skip
    if not others:
        return waiting
    text = f"goes on as a new run once these have ended: {_listed(others)}"
    return Waiting(waiting.step, "dependency", text, others[0][0])


def _listed(steps: list[tuple[str, str]]) -> str:
    shown = ", ".join(f"{name} ({status})" for name, status in steps[:PLACES_MAX])
    return shown + (f" and {len(steps) - PLACES_MAX} more" if len(steps) > PLACES_MAX else "")


def _is_given_up(key: str, step: StepState, node: Any) -> bool:
    """True if the outcome of the step is unknown and the run goes on without it. No person is asked."""
    if step.status is not StepStatus.OUTCOME_UNKNOWN or node is None:
        return False
    return key.endswith(UNDO) or (node.policy.on_failure == "continue" and node.policy.on_unknown != "ask")


def _join(state: RunState, key: str, node: Any, before: list[str], around: Surroundings) -> Waiting | None:
    """Returns what a node waits for that needs only some of those before it; None if it waits as any other."""
    if node.join == "all":
        return None
    known = [(name, state.steps.get(name)) for name in before]
    completed = sum(step is not None and step.status is StepStatus.COMPLETED for _, step in known)
    left = (1 if node.join == "any" else int(node.join)) - completed
    others = [
        (name, (step.status if step is not None else StepStatus.PENDING).value)
        for name, step in known if step is None or step.status not in SETTLED
    ]  # fmt: skip
    if left < 1 or not others or _held(state, around):
        return None
    return Waiting(key, "dependency", f"waits for {left} of {_listed(others)}", others[0][0])


def _pending(state: RunState, key: str, before: list[str], around: Surroundings) -> Waiting:
    undecided = []
    for name in before:
        step = state.steps.get(current_key(state, name))
        if step is None or step.status not in SETTLED:
            undecided.append((name, step.status.value if step is not None else StepStatus.PENDING.value))
    if undecided:
        return Waiting(key, "dependency", f"waits for {_listed(undecided)}", undecided[0][0])
    held = _held(state, around)
    if held is not None:
        return Waiting(key, *held)
    return Waiting(key, "scheduler", "is ready; the scheduler offers it next")


def _begun(state: RunState, key: str, step: StepState, node: Any, around: Surroundings) -> Waiting:
    if step.status is StepStatus.QUEUED:
        return _queued(state, key, step, around)
    if step.status is StepStatus.SCHEDULED:
        return _scheduled(key, step, node, around)
    if step.status is StepStatus.WAITING:
        return _waits(state, key, step, around)
    if step.status is StepStatus.RETRYING:
        return _retrying(state, key, step, around)
    if step.status is StepStatus.OUTCOME_UNKNOWN:
        text = (
            f"attempt {step.attempt} was begun by a worker that vanished, and nobody knows whether it took effect: "
            f"agentctl workflow resolve {state.run} {key} --completed --result JSON | --retry | --fail"
        )
        return Waiting(key, "outcome", text, since=step.finished_at)
    return _running(state, key, step, around)


def _awaits_slot(state: RunState) -> bool:
    """True if the run has begun no step, because it waits for a slot of its run lane."""
    return state.awaits_slot and state.ending is None and not state.status.terminal


def _slot(state: RunState, around: Surroundings) -> Waiting:
    name, lane = state.run_lane, around.lanes.get(state.run_lane)
    if state.slot_refused is not None:
        return Waiting("", "scheduler", f"the run ends: {state.slot_refused.type}: {state.slot_refused.message}", name)
    if state.slot_granted:
        return Waiting("", "scheduler", f"has its slot of lane {name}, and asks for one of another lane", name)
    if lane is None:
        return Waiting("", "lane", f"the run waits for a slot of lane {name}", name)
    own = slot_key(state.run, lane_fold.RUN_STEP, lane_fold.RUN_ATTEMPT)
    return in_lane("", name, own, lane, 0, around)


def _queued(state: RunState, key: str, step: StepState, around: Surroundings) -> Waiting:
    lane = around.lanes.get(step.lane)
    if not step.lane:
        text = "asks its lane for a slot again; it gave one back while it was paused"
        return Waiting(key, *(_held(state, around) or ("scheduler", text)), since=step.scheduled_at)
    if step.granted:
        return Waiting(key, "scheduler", f"has its slot of lane {step.lane}", step.lane, since=step.scheduled_at)
    if lane is None:
        return Waiting(key, "lane", f"waits for a slot of lane {step.lane}", step.lane, since=step.scheduled_at)
    return in_lane(key, step.lane, slot_key(state.run, key, step.attempt), lane, step.scheduled_at, around)


def _scheduled(key: str, step: StepState, node: Any, around: Surroundings) -> Waiting:
    name = "" if node is None else node.worker_pool
    pool = around.pools.get(name)
    since = step.scheduled_at
    if pool is None:
        return Waiting(key, "worker", f"is offered to the worker pool {name}", name, since=since)
    if pool.paused:
        text = paused("the pool", name, around.now_ms, pool.set_as or name, pool.reason, pool.paused_until)
        return Waiting(key, "paused_lane", text, name, since=since)
    if not pool.known or not (pool.asking or pool.active):
        fix = f"start one with WORKER_LANES={name}, or change the step's `lane:` to a pool that has a worker"
        text = f"no worker serves the pool {name}: {fix}"
        return Waiting(key, "worker", text, name, since=since)
    if pool.limit is not None and pool.active >= pool.limit:
        text = f"the pool {name} is full: {pool.active} of {pool.limit}, {pool.queued} wait"
        return Waiting(key, "lane", text, name, since=since, detail={"limit": pool.limit, "queued": pool.queued})
    if not pool.asking:
        text = f"every worker of the pool {name} is busy: {pool.active} tasks run, {pool.queued} wait"
        return Waiting(key, "worker", text, name, since=since, detail={"queued": pool.queued})
    return Waiting(key, "running", f"is with a worker of the pool {name}", name, since=since)


def _waits(state: RunState, key: str, step: StepState, around: Surroundings) -> Waiting:
    ends = f", ends by itself {in_time(step.until, around.now_ms)}" if step.until else ""
    since = step.started_at
    if step.waiting == "wait":
        return Waiting(key, "timer", f"waits for a time, {in_time(step.until, around.now_ms)}", "", step.until, since)
    if step.waiting == "signal":
        name = str(step.detail.get("signal", ""))
        text = f"waits for the signal {name}{ends} (agentctl workflow signal {state.run} {name})"
        return Waiting(key, "signal", text, name, step.until, since)
    if step.waiting == "approval":
        required = int(step.detail.get("required", 1))
        yes = sum(answer.decision == "approve" for answer in step.answers)
        who = ", ".join(map(str, step.detail.get("approvers", ()))) or "anyone with the permission `write`"
        command = f"agentctl workflow approve {state.run} {shlex.quote(key)} --as PERSON"
        text = f"waits for an approval, {yes} of {required} given; may answer: {who}{ends} ({command})"
        return Waiting(key, "approval", text, "", step.until, since, dict(step.detail))
    if step.waiting == "subworkflow":
        text = f"waits for the run {step.child}{ends} (agentctl workflow why {step.child})"
        return Waiting(key, "subworkflow", text, step.child, step.until, since)
    return Waiting(key, step.waiting or "timer", f"waits{ends}", "", step.until, since)


def _retrying(state: RunState, key: str, step: StepState, around: Surroundings) -> Waiting:
    error = f": {step.error.type}: {step.error.message}" if step.error else ""
    timer = state.timers.get(timer_ids.retry(key, step.attempt))
    kind = "budget" if step.error is not None and step.error.type.startswith("budget") else "retry"
    if step.due or timer is None:
        held = _held(state, around)
        text = f"attempt {step.attempt} failed{error}; the next one is due"
        return Waiting(key, held[0] if held else kind, f"{text}, but {held[1]}" if held else text)
    text = f"attempt {step.attempt} failed{error}; the next one comes {in_time(timer.fire_at, around.now_ms)}"
    return Waiting(key, kind, text, "", timer.fire_at, step.finished_at)


def _running(state: RunState, key: str, step: StepState, around: Surroundings) -> Waiting:
    if step.width >= 0:
        parts = [part for name, part in state.steps.items() if parent_of(name) == key]
        done = sum(part.status in SETTLED for part in parts)
        going = sum(part.status in OPEN for part in parts)
        text = f"{done:,} of {step.width:,} items are done, {going:,} {'is' if going == 1 else 'are'} under way"
        return Waiting(key, "running", text, since=step.started_at)
    if step.iteration:
        due = state.timers.get(timer_ids.delay(key, step.iteration))
        pause = f"; the next one comes {in_time(due.fire_at, around.now_ms)}" if due else ""
        return Waiting(key, "running", f"is in iteration {step.iteration}{pause}", since=step.started_at)
    progress = f", {step.progress:.0%} done" if step.progress else ""
    detail = f" ({step.progress_detail})" if step.progress_detail else ""
    what = "its compensation runs" if key.endswith(UNDO) else "runs"
    seconds = span(around.now_ms - step.started_at)
    return Waiting(key, "running", f"{what} on a worker for {seconds}{progress}{detail}", since=step.started_at)
