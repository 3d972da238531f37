"""The inputs that a node gives to a subworkflow are checked by the rules of that workflow before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common.definition.parse import parse_dict
from agentflow_gateway.definitions.pin_subworkflows import Registered, argument_problems

CHILD = {
    "name": "child",
    "inputs": {
        "n": {"type": "integer", "minimum": 1},
        "day": {"type": "string", "format": "date", "required": False},
        "tags": {"type": "array", "items": {"maxLength": 3}, "default": []},
    },
    "dag": {"nodes": [{"id": "a", "type": "wait", "config": {"duration": "1s"}}]},
}


def problems(inputs: dict[str, Any], **config: Any) -> list[tuple[str, str, str]]:
    child = parse_dict(CHILD)
    first = {"id": "a", "type": "tool", "config": {"tool_name": "x.y"}}
    node = {"id": "b", "type": "subworkflow", "config": {"workflow": "child", "inputs": inputs, **config}}
    edges = [{"from": "a", "to": "b"}]
    owner = parse_dict({"name": "parent", "dag": {"nodes": [first, node], "edges": edges}})
    found = argument_problems(owner, {"child": Registered(child, child.canonical(), child.digest())}, "")
    return [(problem.place, problem.message, problem.fix) for problem in found]


@pytest.mark.parametrize(
    "inputs",
    [
        {"n": 1}, {"n": 2, "day": "2026-01-31", "tags": ["a"]}, {"n": "{{a.output.n}}"}, {"n": "a.output.n"},
        {"n": 1, "day": None}, {"n": 1, "tags": ["{{a.output.tag}}"]}, {"n": 1, "tags": "a.output"},
    ],
)  # fmt: skip
def test_what_fits_or_is_known_only_later_is_accepted(inputs: dict[str, Any]) -> None:
    assert problems(inputs) == []


def test_what_cannot_fit_is_refused_with_its_place() -> None:
    place = "dag.nodes[1].config.inputs"
    assert problems({"n": 0, "day": "today", "tags": ["a", "long"], "x": 1}) == [
        (f"{place}.n", "child@1: must be at least 1", ""),
        (f"{place}.day", "child@1: must have the format date", "for example 2026-01-31"),
        (f"{place}.tags[1]", "child@1: must have at most 3 characters, got 4", ""),
        (f"{place}.x", "child@1 has no such input", "its inputs are n, day, tags"),
    ]
    assert problems({"n": "many"}) == [(f"{place}.n", "child@1: must be of type integer, got a text", "")]
    assert problems({"n": 1, "day": 5})[0][2] == 'put quotes around it: day="..."'


def test_a_parallel_node_gives_each_item_by_itself() -> None:
    assert problems({"n": [1, 2]}, parallel=True, for_each="n") == []
