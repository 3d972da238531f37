"""Maps over other things than a list, conditions of items, and maps in maps, in a part of the rich seeds; what must
hold of them.
"""

from __future__ import annotations

import random
from typing import Any

from agentflow_common import events as ev
from agentflow_common.definition.nodes.calls import map_levels
from agentflow_common.runs.state import DONE, OPEN, StepStatus, child_key, node_of, parent_of

CONDITION = "index % 3 != 1"


def with_items(seed: int, index: int, definition: dict[str, Any]) -> dict[str, Any]:
    """Gives the maps of a quarter of the rich seeds other items. Its choices change no others."""
    rng = random.Random(f"{seed} {index} items")
    if seed % 8 != 5:
        return definition
    nodes = [_changed(rng, node) if node["type"] == "map" else node for node in definition["dag"]["nodes"]]
    return {**definition, "dag": {**definition["dag"], "nodes": nodes}}


def _changed(rng: random.Random, node: dict[str, Any]) -> dict[str, Any]:
    config = dict(node["config"])
    count = len(config["over"])
    source = rng.choice(["over", "object", "range", "zip"])
    if source != "over":
        del config["over"]
    if source == "object":
        config["over"] = {f"k{number}": number for number in reversed(range(count))}
    elif source == "range":
        config["range"] = {"start": 10, "stop": 10 - count, "step": -1}
    elif source == "zip":
        config["zip"] = {"a": list(range(count)), "b": ["x"] * count}
    if source == "object" and rng.random() < 0.5:
        config["result"] = "object"
    elif rng.random() < 0.3:
        config["batches"] = 2
    if rng.random() < 0.6:
        config["item_condition"] = CONDITION
    return {**node, "config": config}


def with_inner_maps(seed: int, index: int, definition: dict[str, Any]) -> dict[str, Any]:
    """Puts a map into most maps of an eighth of the rich seeds. Its choices change no others."""
    rng = random.Random(f"{seed} {index} inner maps")
    if seed % 16 != 15:
        return definition
    nodes = [_nested(rng, node) if node["type"] == "map" else node for node in definition["dag"]["nodes"]]
    return {**definition, "dag": {**definition["dag"], "nodes": nodes}}


def _nested(rng: random.Random, node: dict[str, Any]) -> dict[str, Any]:
    body = node["config"]["body"]
    for item in ["inner", "innermost"][: rng.choice([0, 1, 1, 1, 2])]:
        body = {"type": "map", "config": {
            "over": list(range(rng.choice([0, 1, 2, 3]))), "item": item, "body": body,
            "concurrency": rng.choice([None, 1]), "on_item_failure": rng.choice(["fail", "continue"]),
        }}  # fmt: skip
    return {**node, "config": {**node["config"], "body": body}}


def config_of(rules: Any, key: str) -> Any:
    """The configuration of a step: of a child that is a map, that of the inner map."""
    node = rules.nodes[node_of(key)]
    levels = [*map_levels(node)] or [node.config]
    return levels[min(key.count("["), len(levels) - 1)]


def check_expanded(rules: Any, _state: Any, event: ev.StepExpanded, key: str, _step: Any) -> None:
    """A map has a child for each item or batch, and the keys of an object whose results make an object."""
    if rules.nodes[node_of(key)].type != "map":
        return
    config = config_of(rules, key)
    given = config.over if config.over is not None else None
    if config.range is not None:
        given = range(config.range.start, config.range.stop, config.range.step)
    elif config.zip is not None:
        given = next(iter(config.zip.values()))
    if not isinstance(given, list | dict | range):
        return  # a template
    width = len(given) if config.batches is None else -(-len(given) // config.batches)
    keys = tuple(sorted(given)) if config.result == "object" else None
    if (event.width, event.keys) != (width, keys):
        rules.fail(f"{key} became {event.width} children {event.keys}, and its items are {width} {keys}")


def check_item(rules: Any, event: ev.Event, key: str) -> None:
    """Exactly the items for which the condition does not hold are skipped."""
    parent = parent_of(key)
    if rules.nodes[node_of(key)].type != "map" or not parent or config_of(rules, parent).item_condition != CONDITION:
        return
    left_out = int(key[key.rindex("[") + 1 : -1]) % 3 == 1
    if left_out != isinstance(event, ev.StepSkipped):
        rules.fail(f"{ev.event_type(event)} of {key}, whose condition is {not left_out}")


def check_joined(rules: Any, state: Any, event: ev.StepJoined, key: str, step: Any) -> None:
    """A step with children ends when they have, or a map when more have failed than may. Then none goes on."""
    if step.status is not StepStatus.RUNNING:
        rules.fail(f"{key} was joined, it is {step.status}")
    node, config = rules.nodes[node_of(key)], config_of(rules, key)
    parts = [state.steps.get(child_key(key, index)) for index in range(step.width)]
    bad = sum(1 for part in parts if part is None or part.status not in DONE)
    if event.status != "completed":
        left = [name for name, part in state.steps.items() if name.startswith(f"{key}[") and part.status in OPEN]
        if left:
            rules.fail(f"{key} failed while {left} went on")
        return
    if not all(rules.is_settled(part, node.id) for part in parts):
        rules.fail(f"{key} was joined before its parts were decided")
    if node.type != "map":
        return
    most = config.max_failures
    allowed = 0.0 if config.on_item_failure == "fail" else step.width if most is None else most
    if 0 < allowed < 1:
        allowed *= step.width
    if bad > allowed:
        rules.fail(f"{key} completed with {bad} failed items, {allowed:g} are allowed")
