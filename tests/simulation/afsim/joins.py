"""Nodes that start when some of those before them have completed, in a part of the rich seeds, and what must hold of
them. See rules.py, which calls the checks."""

from __future__ import annotations

import copy
import random
from typing import Any

from afsim import rich
from agentflow_common.definition.parse import parse_dict
from agentflow_common.errors import InvalidError
from agentflow_common.runs.state import OPEN, RunState, StepState, StepStatus

_NOBODY = StepState()


_SLOW = ("wait", "signal", "approval", "subworkflow", "map", "loop", "function")


def with_races(seed: int, index: int, definition: dict[str, Any]) -> dict[str, Any]:
    """Lets some nodes of a quarter of the rich seeds start early. Its choices change no others."""
    rng = random.Random(f"{seed} {index} joins")
    if seed % 8 != 7 or "graph" in definition:
        return definition
    made = copy.deepcopy(definition)
    nodes, edges = made["dag"]["nodes"], made["dag"]["edges"]
    for node in nodes:
        if sum(edge["to"] == node["id"] for edge in edges) > 1 and rng.random() < 0.8:
            node["join"] = rng.choice(["any", "any", 2])
    if rng.random() < 0.5:
        slow = rich.random_node(rng, "slow", rng.choice(_SLOW))
        first = rich.plain_function("first", depends_on=["slow", "quick"], join="any")
        nodes += [slow, rich.random_node(rng, "quick", "function"), first]
        if rng.random() < 0.7:
            nodes.append(rich.plain_function("also", depends_on=["slow"]))
    try:
        parse_dict(made)
    except InvalidError:  # a loop of edges leads there, or a condition reads a racer
        return definition
    return made


def is_met(rules: Any, state: RunState, name: str) -> bool:
    """True if enough of the nodes before it have completed."""
    join = rules.nodes[name].join
    if join == "all":
        return False
    before = [state.steps.get(source, _NOBODY) for source, _ in rules.sources[name]]
    return sum(step.status is StepStatus.COMPLETED for step in before) >= (1 if join == "any" else join)


def check_skipped(rules: Any, state: RunState, name: str) -> None:
    """It is skipped only if too little has completed, unless a condition says so."""
    node = rules.nodes[name]
    conditions = [node.condition, node.config.condition, *(condition for _, condition in rules.sources[name])]
    if not any(conditions) and is_met(rules, state, name):
        rules.fail(f"{name} was skipped, and enough of what leads there has completed")


def check_begins(rules: Any, state: RunState, name: str) -> None:
    """Nothing runs any more that leads only to it."""
    for source, _ in rules.sources[name]:
        alone = all(target == name for target in _targets(rules, source))
        if alone and state.steps.get(source, _NOBODY).status in OPEN:
            rules.fail(f"{name} began, and {source}, which leads only there, goes on")


def check_lost(rules: Any, state: RunState, event: Any, key: str) -> None:
    """What lost was not needed by anything else, and the join has what it needs."""
    if not is_met(rules, state, event.lost_to):
        rules.fail(f"{key} lost to {event.lost_to}, which may not start yet")
    for target in _targets(rules, key):
        if target != event.lost_to and state.steps.get(target, _NOBODY).status is StepStatus.PENDING:
            rules.fail(f"{key} lost to {event.lost_to}, and {target} needs it")


def _targets(rules: Any, name: str) -> list[str]:
    return [target for target, into in rules.sources.items() if name in dict(into)]
