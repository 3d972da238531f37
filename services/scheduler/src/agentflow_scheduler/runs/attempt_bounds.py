"""What becomes of an attempt that waits for its slot, is offered, or runs: its bounds in time. Pure."""

from __future__ import annotations

from agentflow_common import events as ev
from agentflow_common.events import StepError
from agentflow_common.runs import timer_ids
from agentflow_common.runs.state import StepState, StepStatus, parent_of
from agentflow_scheduler.runs import attempts
from agentflow_scheduler.runs.decisions import RunDecisions
from agentflow_scheduler.runs.plan import PlanNode
from agentflow_scheduler.runs.run import Run


def look_at_attempt(run: Run, out: RunDecisions, node: PlanNode, key: str, step: StepState) -> None:
    """An attempt that waits for its slot, is offered, or runs."""
    queued = step.status is StepStatus.QUEUED and not step.expired
    if queued and step.granted:
        attempts.set_missing_timers(out, node, key, step)
        attempts.granted(run, out, node, key, step)
    elif queued and not step.lane:
        attempts.ask_again(run, out, node, key, step)
    elif not (step.due or step.expired):
        attempts.set_missing_timers(out, node, key, step)
        _watch_heartbeat(out, node, key, step)
    elif step.reason == "heartbeat" and step.beat and not step.expired:
        _set_heartbeat(out, node, key, step)
    else:
        time_out(run, out, node, key, step)


def _watch_heartbeat(out: RunDecisions, node: PlanNode, key: str, step: StepState) -> None:
    every = node.policy.heartbeat_ms
    timers = out.scope.state.timers
    if every is not None and step.status is StepStatus.RUNNING and timer_ids.heartbeat(key, step.attempt) not in timers:
        _set_heartbeat(out, node, key, step)


def _set_heartbeat(out: RunDecisions, node: PlanNode, key: str, step: StepState) -> None:
    out.emit(
        ev.TimerSet, timer=timer_ids.heartbeat(key, step.attempt), kind="heartbeat",
        fire_at=out.now_ms + (node.policy.heartbeat_ms or 0), step=key, attempt=step.attempt,
    )  # fmt: skip


def time_out(run: Run, out: RunDecisions, node: PlanNode, key: str, step: StepState) -> None:
    if step.expired:
        bound, length = "total", node.policy.total_timeout_ms
    elif step.reason == "heartbeat":
        bound, length = "heartbeat", node.policy.heartbeat_ms
    else:
        bound, length = "", node.timeout_ms
    cause = cause_of(run, key, step)
    out.emit(ev.StepTimedOut, step=key, attempt=step.attempt, timeout_ms=length or 0, bound=bound, cause=cause)
    attempts.release(run, out, key, step)
    attempts.failed(run, out, node, key, step)


def cause_of(run: Run, key: str, step: StepState) -> StepError | None:
    """What went wrong before the total time of a step was over: in its last attempt, or in one of its parts."""
    if not step.expired:
        return None
    if not step.has_parts:
        return step.error
    parts = [part for name, part in run.state.steps.items() if parent_of(name) == key and part.error is not None]
    return max(parts, key=lambda part: part.finished_at).error if parts else None
