"""Nodes that lead somewhere else when they take too long, in a part of the rich seeds. See failing.py."""

from __future__ import annotations

import copy
import random
from typing import Any

from afsim import rich
from agentflow_common.definition.dependencies import TIMED_OUT
from agentflow_common.definition.parse import parse_dict
from agentflow_common.errors import InvalidError
from agentflow_common.runs.state import StepState


def with_paths(seed: int, index: int, definition: dict[str, Any]) -> dict[str, Any]:
    """Names another node in some policies of an eighth of the seeds. Its choices change no others."""
    rng = random.Random(f"{seed} {index} timeouts")
    if seed % 8 != 1 or "graph" in definition:
        return definition
    made = copy.deepcopy(definition)
    nodes = made["dag"]["nodes"]
    for node in list(nodes):
        limited = {"timeout_ms", "total_timeout_ms"} & node.get("policy", {}).keys()
        if limited and rng.random() < 0.8:
            node["policy"].update(on_timeout=f"late_{node['id']}", on_failure=rng.choice(["fail", "continue"]))
            nodes.append(rich.plain_function(f"late_{node['id']}"))
    try:
        parse_dict(made)
    except InvalidError:
        return definition
    return made


def is_late(node: Any, step: StepState) -> bool:
    """True if the step took too long, so that the run goes on somewhere else."""
    return node.policy.on_timeout is not None and step.error is not None and step.error.type in TIMED_OUT


def fails_run(node: Any, step: StepState) -> bool:
    """True if a failure of the step is a failure of the run."""
    return node.policy.on_failure == "fail" and not is_late(node, step)
