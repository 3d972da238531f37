"""Mistakes in the workflows of a seed, and edges that ask how a step ended.

They follow from the workflow alone: a seed draws the same numbers with them as without."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

from agentflow_common.definition.parse import parse_dict
from agentflow_common.errors import InvalidError

_TEMPLATES = (
    "{{ 1 // 0 }}", "{{ {'to': [1 // 0]} }}", "{{ 1e308 * 10 }}", "{{ [org.nope] }}", "{{ {'t': [1] | map('upper')} }}",
    "{{ {'a': {}}.a.b.c }}",
)  # fmt: skip
_EDGES = ("{}.status == 'failed'", "{}.error != null", "{}.status != 'skipped'", "{}.output == null")


def twisted(found: dict[str, Any], share: float) -> dict[str, Any]:
    """The workflow with both in such a share of its nodes and edges, or as it is if the checks of definitions refuse
    that."""
    rng = random.Random(json.dumps(found, sort_keys=True))
    made = copy.deepcopy(found)
    for node in made["dag"]["nodes"]:
        if rng.random() < share:
            _mistake(rng, node)
    for edge in made["dag"]["edges"]:
        if rng.random() < share and "max_iterations" not in edge:
            edge["condition"] = rng.choice(_EDGES).format(edge["from"])
    try:
        parse_dict(made)
    except InvalidError:
        return found
    return made


def _mistake(rng: random.Random, node: dict[str, Any]) -> None:
    kind, config = node["type"], node["config"]
    place = rng.random()
    if "compensate_with" in node and place < 0.3:
        undo = copy.deepcopy(node["compensate_with"])
        undo["config"].setdefault("inputs", {})["x"] = rng.choice(_TEMPLATES)
        node["compensate_with"] = undo
    elif place < 0.4:
        node["condition"] = "1 / 0 > 1"
    elif kind in {"function", "tool"} and place < 0.5:
        node["lane"], node["lane_limit"] = "{{org}}-{{1 // 0}}", 1
    elif kind in {"function", "tool", "subworkflow"}:
        config.setdefault("inputs", {})["x"] = rng.choice(_TEMPLATES)
    elif kind in {"map", "loop"} and config["body"]["type"] != "subworkflow":
        part = "index - 1" if kind == "map" else "iteration - 2"
        config["body"]["config"]["inputs"] = {"x": f"{{{{ [1 // ({part})] }}}}"}
    elif kind == "map":
        config["over"] = "{{ [1 // 0] }}"
    elif kind == "loop":
        config["until"] = "1 / (iteration - 2) > 5"
    elif kind == "wait":
        node["config"] = {"duration": "{{ 1 // 0 }}"}
    elif kind == "approval":
        config.update(escalate_ms=200, escalate_to=["{{ [1 // 0] }}"])
