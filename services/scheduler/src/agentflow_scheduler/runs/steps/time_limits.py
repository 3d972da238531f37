"""The time limits of a step and its attempts, and their timers. Pure.

A crash may come between a decision and the timer that belongs to it. So every decision about a step that goes on also
sets the timers that are missing.
"""

from __future__ import annotations

from agentflow_common.runs import timer_ids
from agentflow_common.runs.state import ACTIVE, StepStatus, parent_of
from agentflow_scheduler.runs.decisions import StepContext
from agentflow_scheduler.runs.run import is_undo


def limit_step(at: StepContext) -> None:
    """Starts the time that the step has for everything: attempts, children, iterations."""
    total_ms = at.node.policy.total_timeout_ms
    if total_ms is not None and parent_of(at.key) is None:
        at.set_timer(timer_ids.total(at.key), "step_total", total_ms)


def limit_attempt(at: StepContext, attempt: int) -> None:
    """Starts the time that this attempt has."""
    if at.node.timeout_ms is not None:
        at.set_timer(timer_ids.timeout(at.key, attempt), "step_timeout", at.node.timeout_ms, attempt)


def set_missing_timers(at: StepContext) -> None:
    """Sets the timers that the step should have and does not have."""
    step, timers = at.step, at.state.timers
    if not step.expired and not is_undo(at.key) and timer_ids.total(at.key) not in timers:
        limit_step(at)
    runs = step.status in ACTIVE or (step.status is StepStatus.WAITING and bool(step.child))
    if runs and not step.has_parts and timer_ids.timeout(at.key, step.attempt) not in timers:
        limit_attempt(at, step.attempt)


def watch_heartbeat(at: StepContext) -> None:
    """Starts the wait for the next heartbeat of a running attempt, unless it goes on already."""
    step = at.step
    waited_for = timer_ids.heartbeat(at.key, step.attempt) in at.state.timers
    if at.node.policy.heartbeat_ms is not None and step.status is StepStatus.RUNNING and not waited_for:
        await_heartbeat(at)


def await_heartbeat(at: StepContext) -> None:
    """Starts the time within which the attempt must send a heartbeat."""
    attempt = at.step.attempt
    at.set_timer(timer_ids.heartbeat(at.key, attempt), "heartbeat", at.node.policy.heartbeat_ms or 0, attempt)
