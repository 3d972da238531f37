"""Races of steps to a join, in the steps that a fork or a retry keeps. Pure."""

from __future__ import annotations

from agentflow_common.definition.dependencies import dependencies
from agentflow_common.definition.model import Definition
from agentflow_common.runs.state import StepState, StepStatus


def without_open_races(definition: Definition, kept: dict[str, StepState]) -> dict[str, StepState]:
    """Returns the kept steps without those that lost to a join, unless what the join started by is kept too."""
    joins = [node for node in definition.dag.nodes if node.join != "all"]
    if not joins:
        return kept
    sources = dependencies(definition)
    over: set[str] = set()
    for node in joins:
        completed = sum(name in kept and kept[name].status is StepStatus.COMPLETED for name, _ in sources[node.id])
        if completed >= (1 if node.join == "any" else node.join):
            over.add(node.id)
    return {key: step for key, step in kept.items() if not step.lost_to or step.lost_to in over}
