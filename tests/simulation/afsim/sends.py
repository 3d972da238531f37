"""Edges of graphs that send values, and barriers, in a part of the rich seeds, and what must hold of them.

See rules.py, which calls the checks.
"""

from __future__ import annotations

import copy
import random
from typing import Any

from afsim import rich
from agentflow_common.definition.parse import parse_dict
from agentflow_common.errors import InvalidError
from agentflow_common.events import Payload
from agentflow_common.expressions.language import walk
from agentflow_common.runs.state import RunState, is_marker, marked_ref, node_of, parent_of


def with_sends(seed: int, index: int, definition: dict[str, Any]) -> dict[str, Any]:
    """Lets edges of half of the rich seeds' graphs send, and nodes be barriers. Its choices change no others."""
    rng = random.Random(f"{seed} {index} sends")
    if seed % 4 != 3 or "graph" not in definition:
        return definition
    if rng.random() < 0.3:
        return _ways(rng)
    made = copy.deepcopy(definition)
    nodes, edges = made["dag"]["nodes"], made["dag"]["edges"]
    made["graph"]["max_supersteps"] = min(5, made["graph"]["max_supersteps"])
    for node in nodes:
        leading = [edge for edge in edges if edge["to"] == node["id"]]
        if len(leading) > 1 and rng.random() < 0.5:
            node["barrier"] = True
            continue
        for edge in leading:
            if rng.random() < 0.5:
                edge["max_iterations"] = rng.randint(1, 2)
                edge["over"] = rng.choice([[1, 2, 3], [4], [], "state.parts"])
                if rng.random() < 0.5:
                    edge["args"] = {"value": "{{item}}", "at": "{{index}}"}
    try:
        parse_dict(made)
    except InvalidError:  # a condition reads what can't be read with an item
        return definition
    return made


def _ways(rng: random.Random) -> dict[str, Any]:
    """Two ways of different lengths to a barrier, walked twice."""
    names = ["s", "short", "long", "longer", "gate"]
    nodes = [rich.random_node(rng, name, rng.choice(["function", "tool", "subworkflow"])) for name in names]
    for node in nodes:
        node["policy"]["on_failure"] = "continue"
        node["writes"] = "parts"
    nodes[-1]["barrier"] = True
    pairs = [("s", "short"), ("s", "long"), ("long", "longer"), ("short", "gate"), ("longer", "gate")]
    edges: list[dict[str, Any]] = [{"from": source, "to": target} for source, target in pairs]
    edges.append({"from": "gate", "to": "s", "max_iterations": 1})
    state = {"reducers": {"parts": "append"}, "initial": {"parts": []}}
    graph = {"entry_point": "s", "state": state, "max_supersteps": 9}
    return {"name": "w", "graph": graph, "dag": {"nodes": nodes, "edges": edges}}


class Sends:
    """What a run's supersteps have sent, and who has come to its barriers, by the events alone."""

    def __init__(self, rules: Any) -> None:
        self.rules = rules
        self.values: dict[str, Any] = {}
        self.arrived: dict[str, set[str]] = {}

    def check_advanced(self, state: RunState, event: Any) -> None:
        """A barrier runs only once all that lead to it have come."""
        now = {node_of(key) for key in state.active}
        for key in event.steps:
            node = node_of(key)
            if self.rules.nodes[node].barrier and state.superstep:
                sources = {edge.source for edge in self.rules.edges if edge.target == node}
                if not sources <= self.arrived.get(node, set()) | now:
                    self.rules.fail(f"the barrier {key} runs, and not all of {sorted(sources)} have come")
        self.values.update({key: self.rules.look(payload) for key, payload in event.sent.items()})
        self.arrived.update({node: set(sources) for node, sources in event.arrived.items()})

    def check_offered(self, event: Any, key: str) -> None:
        """A visit is given what it was sent."""
        if parent_of(key) is None:
            for name, value in self.values.get(key, {}).items():
                given = self._given(event.inputs.get(name))
                if given != value:
                    self.rules.fail(f"{key} was sent {name} = {value!r} and given {given!r}")

    def _given(self, value: Any) -> Any:
        """Returns an input as its worker sees it. In a large task, the engine stores large inputs out of line."""
        if not is_marker(value):
            return value
        return walk(self.rules.look(Payload(ref=marked_ref(value))), tuple(value["path"]), "input")
