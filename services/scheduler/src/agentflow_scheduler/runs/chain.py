"""Chains of steps that one worker runs without asking the scheduler in between (ADR 0009). Pure.

A task names the steps that follow it one by one, as long as each needs nothing but the report of the one before. Its
worker reports every step by itself, fenced with the task's sequence. As soon as the scheduler decides anything for the
run, for example a pause or a cancel, the worker's next report is refused. Then the worker stops, and the scheduler
decides what follows.
"""

from __future__ import annotations

from typing import Final

import msgspec

from agentflow_common import events as ev
from agentflow_common.errors import InvalidError
from agentflow_common.events import NextStep, OutputRef
from agentflow_common.runs import timer_ids
from agentflow_scheduler.runs.decisions import RunDecisions
from agentflow_scheduler.runs.plan import PlanNode
from agentflow_scheduler.runs.run import Run
from agentflow_scheduler.runs.scope import NeedBlob

BYTES_MAX: Final = 16 * 1024  # that the steps may add to the task
SLOW_MS: Final = 50  # compared with a step that took longer, the cost of a task of its own is small
KINDS: Final = frozenset({"tool", "function"})


def extend(run: Run, out: RunDecisions) -> None:
    """Adds the steps that follow to the newest offer, if the run has nothing else under way."""
    task = out.decisions[-1] if out.decisions else None
    if (
        not isinstance(task, ev.StepScheduled)
        or task.kind not in KINDS
        or run.plan.graph
        or run.plan.loops
        or run.plan.joins
    ):
        return
    node = run.plan.nodes.get(task.step)
    if node is None or list(run.in_flight) != [task.step] or run.external_waits or run.dirty or out.held:
        return
    if node.lane_key is not None:  # its slot is to be given back as soon as it is done
        return
    timed = run.state.timers.keys() - {timer_ids.DEADLINE}
    if timed or any(_was_slow(run, source) for source in run.plan.waits_for(node)):
        return
    following = _following(run, out, node)
    if following:
        out.decisions[-1] = msgspec.structs.replace(task, then=tuple(following))


def _was_slow(run: Run, key: str) -> bool:
    step = run.state.steps.get(key)
    return step is not None and step.kind in KINDS and 0 < step.started_at < step.finished_at - SLOW_MS


def _stops_before(run: Run, name: str) -> bool:
    stops = run.state.stops
    return stops is not None and stops.stop_before(name, name)


def _following(run: Run, out: RunDecisions, head: PlanNode) -> list[NextStep]:
    found: list[NextStep] = []
    before = {head.id}
    left: dict[str, int] = {}
    node, size = head, 0
    while len(found) < run.plan.chain_steps:
        ready = []
        for target in node.targets:
            left[target] = left.get(target, run.blockers(target)) - 1
            if not left[target]:
                ready.append(target)
        if len(ready) != 1:
            break
        following = run.plan.nodes[ready[0]]
        if _stops_before(run, following.id):
            break
        step = _next_step(out, following, before) if _follows(head, node, following) else None
        if step is None or (size := size + len(msgspec.json.encode(step))) > BYTES_MAX:
            break
        found.append(step)
        before.add(following.id)
        node = following
    return found


def _follows(head: PlanNode, node: PlanNode, following: PlanNode) -> bool:
    """True if the scheduler has nothing to decide about the step once the one before it has completed."""
    policy = following.policy
    return (
        following.kind in KINDS
        and following.work is not None
        and not following.work.state_args
        and following.undo is None
        and not following.parallel
        and following.condition is None
        and (node.id, None) in following.sources
        and following.pool == head.pool
        and following.lane_key is None
        and following.locks == node.locks
        and following.priority == head.priority
        and following.timeout_ms is None
        and policy.total_timeout_ms is None
        and policy.heartbeat_ms is None
    )


def _next_step(out: RunDecisions, following: PlanNode, before: set[str]) -> NextStep | None:
    """Returns the step with its known inputs; None if others need more than outputs of the steps before it."""
    work = following.work
    assert work is not None  # noqa: S101
    inputs = {}
    refs: dict[str, OutputRef] = {}
    for name, resolve in work.inputs.items():
        if not work.reads[name] & before:
            try:
                inputs[name] = resolve(out.scope)
            except (NeedBlob, InvalidError):  # the error is found again in the step's own turn
                return None
        elif name in work.refs:
            refs[name] = work.refs[name]
        else:
            return None
    return NextStep(following.id, work.kind, work.config, inputs, refs, following.worker_policy)
