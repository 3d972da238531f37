"""The timers that a run should have."""

from __future__ import annotations

from typing import Any

from agentflow_common.runs.state import ACTIVE, OPEN, RunState, RunStatus, StepStatus, node_of, parent_of


def missing_timers(state: RunState, nodes: dict[str, Any]) -> list[str]:
    """Timers that the definition asks for and the state lacks. nodes: of the plan, by id."""
    at_end = state.finishing is not None
    if state.status.terminal or state.finally_over or (at_end and state.cancel_forced):
        return []
    stopped = state.stops is not None and state.stops.before and not state.pause_requested
    if not at_end and (state.cancel_requested or state.ending is not None or stopped):
        return []
    if not at_end and state.pause_requested:
        asked_for = f"pause_end:{state.paused_until}"
        is_set = not state.paused_until or state.status is not RunStatus.PAUSED or asked_for in state.timers
        return [] if is_set else [asked_for]
    asked: list[str] = ["finally"] if at_end else []
    if not at_end and state.deadline_ms is not None and not state.deadline_passed:
        asked.append("deadline")
    for key, step in state.steps.items():
        node = nodes[node_of(key)]
        if step.status not in OPEN or step.due or step.expired or node.at_end is not at_end:
            continue
        part = parent_of(key) is not None
        if node.policy.total_timeout_ms is not None and not part:
            asked.append(f"total:{key}")
        whole = step.width >= 0 or (step.kind == "loop" and not part)
        begun = step.status in ACTIVE or (step.status is StepStatus.WAITING and step.child)
        if node.timeout_ms is not None and begun and not whole:
            asked.append(f"timeout:{key}:{step.attempt}")
        if node.policy.heartbeat_ms is not None and step.status is StepStatus.RUNNING and not whole:
            asked.append(f"heartbeat:{key}:{step.attempt}")
        if step.status is StepStatus.RETRYING:
            asked.append(f"retry:{key}:{step.attempt}")
        if step.status is StepStatus.WAITING and step.until:
            asked.append(f"{'wait' if step.waiting == 'wait' else 'expire'}:{key}")
        if step.waiting == "approval" and node.config.escalate_ms and not step.detail.get("escalated"):
            asked.append(f"escalate:{key}")
    return [name for name in asked if name not in state.timers]
