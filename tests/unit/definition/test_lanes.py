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


def of_runs(run_lane: Any, inputs: bool = True) -> Any:
    declared = {"inputs": {"customer": {"type": "string"}}} if inputs else {}
    return parse_dict({"name": "w", **declared, "run_lane": run_lane, "dag": {"nodes": [{"id": "s", **FUNCTION}]}})


def test_a_run_lane_is_a_key_or_an_object() -> None:
    short, long = of_runs("{{customer}}"), of_runs({"key": "{{customer}}", "limit": 1, "policy": "queue"})
    assert short == long
    assert short.canonical()["run_lane"] == {"key": "{{customer}}"}
    assert parse_dict(short.canonical()) == short
    full = of_runs({"key": "{{org}}-{{tags.tier}}", "limit": 3, "rate": "10/m", "policy": "cancel_running"})
    assert parse_dict(full.canonical()) == full
    assert "run_lane" not in define().canonical()


@pytest.mark.parametrize(
    ("run_lane", "place", "says", "fix"),
    [
        ("{{nobody}}", ".key", "'nobody', which is neither an input nor a node", ""),
        ("{{s.output.x}}", ".key", "before its first step, so the key can't use 's'", "'{{customer}}'"),
        ("s.output.x", ".key", "before its first step, so the key can't use 's.output.x'", "'{{customer}}'"),
        ("{{state.x}}", ".key", "before its first step, so the key can't use 'state'", "'{{customer}}'"),
        ("{{customer", ".key", "", ""),
        ({"key": ""}, ".key", "at least 1", ""),
        ({"limit": 2}, ".key", "missing", "add `key:`"),
        ({"key": "a", "limit": 0}, ".limit", "at least 1", ""),
        ({"key": "a", "rate": "10 per s"}, ".rate", "not valid", "10/s, 100/m, 500/h"),
        ({"key": "a", "rate": "0/s"}, ".rate", "out of range", "0.05/h at least"),
        ({"key": "a", "policy": "drop"}, ".policy", "", "queue"),
        ({"key": "a", "limits": 2}, ".limits", "unknown field 'limits'", "limit"),
        (5, "", "must be a mapping", ""),
    ],
)
def test_a_run_lane_that_makes_no_sense_is_refused(run_lane: Any, place: str, says: str, fix: str) -> None:
    with pytest.raises(InvalidError) as caught:
        of_runs(run_lane)
    (problem,) = caught.value.problems
    assert problem.place == f"run_lane{place}"
    assert says in problem.message
    assert fix in problem.fix or fix in problem.message
