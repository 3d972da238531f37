"""Maps over other things than a list, and conditions of items, in a part of the rich seeds; what must hold of them."""

from __future__ import annotations

import random
from typing import Any

from agentflow_common import events as ev
from agentflow_common.runs.state import node_of, parent_of

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


def check_expanded(rules: Any, _state: Any, event: ev.StepExpanded, key: str, _step: Any) -> None:
    """A map has a child for each item or batch, and the keys of an object whose results make an object."""
    node = rules.nodes[node_of(key)]
    if node.type != "map":
        return
    config = node.config
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
    node = rules.nodes[node_of(key)]
    if node.type != "map" or parent_of(key) is None or node.config.item_condition != CONDITION:
        return
    left_out = int(key[key.rindex("[") + 1 : -1]) % 3 == 1
    if left_out != isinstance(event, ev.StepSkipped):
        rules.fail(f"{ev.event_type(event)} of {key}, whose condition is {not left_out}")
