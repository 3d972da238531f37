"""What must follow when a step fails. See rules.py, which calls these."""

from __future__ import annotations

from typing import Any

from afsim import timeouts
from agentflow_common import events as ev
from agentflow_common.definition.dependencies import TIMED_OUT
from agentflow_common.runs.state import RunState, StepState, StepStatus, current_key, node_of, parent_of

_RAN = {StepStatus.COMPLETED, StepStatus.FAILED, StepStatus.OUTCOME_UNKNOWN}
_NOBODY = StepState()


def check_skipped(rules: Any, state: RunState, key: str) -> None:
    """Nothing is skipped of which the definition says that it follows, also if what it follows has failed."""
    node = rules.nodes[node_of(key)]
    if node.condition or node.config.condition or parent_of(key) is not None:
        return
    for source, condition in rules.sources[node.id]:
        step = state.steps.get(current_key(state, source), _NOBODY)
        if step.status in _RAN and _holds(condition, source, step):
            rules.fail(f"{key} was skipped, and it follows {source}, which is {step.status}")


def check_advanced(rules: Any, state: RunState, event: Any) -> None:
    """The same of a graph: the edges of its steps that need no state to be asked."""
    following = {node_of(key) for key in event.steps}
    for edge in rules.edges:
        key = current_key(state, edge.source)
        step = state.steps.get(key, _NOBODY)
        if key not in state.active or step.status not in _RAN or edge.target not in rules.nodes:
            continue
        if edge.over is not None or rules.nodes[edge.target].barrier:  # see sends.py
            continue
        if edge.max_iterations is None and _holds(edge.condition, edge.source, step) and edge.target not in following:
            rules.fail(f"the graph did not go on to {edge.target} from {key}, which is {step.status}")


def _holds(condition: str | None, source: str, step: StepState) -> bool:
    """Whether an edge is taken for sure."""
    if condition is None or condition == f"{source}.status != 'skipped'":
        return True
    if condition.startswith(f"{source}.status == 'failed' && {source}.error.type in ["):  # of `on_timeout`
        return step.error is not None and step.error.type in TIMED_OUT
    asked = {f"{source}.status == 'failed'", f"{source}.error != null", f"{source}.output == null"}
    return condition in asked and step.status is StepStatus.FAILED


def check_failed(rules: Any, state: RunState, event: ev.RunFailed) -> None:
    """A run fails only of a step without which it can't go on."""
    step = state.steps.get(event.step, _NOBODY)
    if step.status is not StepStatus.FAILED:
        return
    node = rules.nodes[node_of(event.step)]
    part = parent_of(event.step) is not None and node.type in {"map", "loop"}
    if node.policy.on_failure == "continue" or part or timeouts.is_late(node, step):
        rules.fail(f"the run failed of {event.step}, without which it goes on")
