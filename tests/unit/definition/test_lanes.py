"""Lanes in a definition: what makes no sense is refused with a fix."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common.definition.parse import parse_dict
from agentflow_common.errors import InvalidError

FUNCTION = {"type": "function", "config": {"function_name": "f"}}
SIGNAL = {"type": "signal", "config": {"signal": "go"}}
KEYED = "{{org}}-{{customer}}"


def define(**node: Any) -> Any:
    return parse_dict(
        {"name": "w", "inputs": {"customer": {"type": "string"}}, "dag": {"nodes": [{"id": "s", **FUNCTION, **node}]}}
    )


@pytest.mark.parametrize(
    "node",
    [
        {"lane": KEYED},
        {"lane": KEYED, "lane_limit": 5, "lane_rate": "100/m", "pool": "gpu", "priority": 7},
        {"lane": "{{tags.tier}}-{{run}}", "lane_rate": "0.5/s"},
        {"lane": "gpu"},
    ],
)
def test_a_lane_that_makes_sense_is_taken(node: dict[str, Any]) -> None:
    definition = define(**node)
    assert parse_dict(definition.canonical()) == definition


@pytest.mark.parametrize(
    ("node", "place", "says"),
    [
        ({"lane": "gpu", "lane_limit": 3}, "lane_limit", "worker pool"),
        ({"lane_rate": "3/s"}, "lane_rate", "worker pool"),
        ({"lane": "gpu", "lane_rate": "3/s"}, "lane_rate", "worker pool"),
        ({"lane": KEYED, "lane_rate": "0/s"}, "lane_rate", "out of range"),
        ({"lane": KEYED, "lane_rate": "999999/s"}, "lane_rate", "out of range"),
        ({"lane": KEYED, "lane_rate": "10 per second"}, "lane_rate", "not valid"),
        ({"lane": KEYED, "lane_limit": 0}, "lane_limit", "must be at least 1"),
        ({"lane": KEYED, **SIGNAL}, "lane", "take no slot"),
        ({"lane": "{{nobody}}-x"}, "lane", "nobody"),
        ({"lane": "{{org"}, "lane", ""),
        ({"lane": "acme co"}, "lane", "not valid"),
        ({"lane": 5}, "lane", "write a text, got 5"),
        ({"lane": KEYED, "pool": "a b"}, "pool", "not valid"),
    ],
)
def test_a_lane_that_makes_none_is_refused(node: dict[str, Any], place: str, says: str) -> None:
    with pytest.raises(InvalidError) as caught:
        define(**node)
    problem = caught.value.problems[0]
    assert problem.place == f"dag.nodes[0].{place}"
    assert says in problem.message
    assert problem.fix or "at least" in says or not says
    assert "match" not in problem.fix, "a pattern tells nobody what to write"
