"""Lanes in a definition: what makes no sense is refused with a fix."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common.definition.dependencies import waits_for
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


def under(lock: Any, **top: Any) -> Any:
    nodes = [{"id": name, **FUNCTION} for name in ("find", "read", "write")]
    nodes.append({"id": "stop", "type": "end", "config": {}})
    edges = [{"from": "find", "to": "read"}, {"from": "read", "to": "write"}]
    inputs = {"account": {"type": "string"}}
    return parse_dict({"name": "w", "inputs": inputs, "lock": lock, "dag": {"nodes": nodes, "edges": edges}, **top})


def test_a_lock_is_an_object_or_a_list_of_them() -> None:
    lock = {"key": "{{account}}", "nodes": ["read", "write"]}
    assert under(lock) == under([lock])
    assert under(lock).canonical()["lock"] == [lock]
    assert parse_dict(under(lock).canonical()) == under(lock)
    assert under([lock, {"key": "{{find.output.account}}", "nodes": ["write"]}]).lock[1].nodes == ("write",)
    assert "lock" not in define().canonical()


def test_the_nodes_under_a_lock_wait_for_what_its_key_reads() -> None:
    definition = under([{"key": "a", "nodes": ["read"]}, {"key": "{{find.output.account}}", "nodes": ["write"]}])
    assert waits_for(definition)["write"] == ["read", "find"]


@pytest.mark.parametrize(
    ("lock", "place", "says", "fix"),
    [
        ({"key": "{{nobody}}", "nodes": ["read"]}, ".key", "'nobody', which is neither an input nor a node", ""),
        ({"key": "nobody.output.x", "nodes": ["read"]}, ".key", "there is no such node", "find"),
        ({"key": "{{read.output.x}}", "nodes": ["write", "read"]}, ".key", "before 'read' begins", "under no lock"),
        ({"key": "{{account", "nodes": ["read"]}, ".key", "", ""),
        ({"key": "", "nodes": ["read"]}, ".key", "at least 1", ""),
        ({"key": "a"}, ".nodes", "missing", "add `nodes:`"),
        ({"key": "a", "nodes": []}, ".nodes", "at least 1", ""),
        ({"key": "a", "nodes": ["raed"]}, ".nodes[0]", "there is no node 'raed'", "read"),
        ({"key": "a", "nodes": ["read", "read"]}, ".nodes[1]", "listed twice", "remove one"),
        ({"key": "a", "nodes": ["stop"]}, ".nodes[0]", "ends the run", "remove it"),
        ({"key": "a", "nodes": ["read"], "limit": 2}, ".limit", "unknown field 'limit'", ""),
        ([{"key": "a", "nodes": ["read"]}] * 9, "", "at most 8", ""),
        ([{"key": "a", "nodes": ["read"]}, {"key": "b"}], "[1].nodes", "missing", "add `nodes:`"),
        ("a", "", "", ""),
    ],
)
def test_a_lock_that_makes_no_sense_is_refused(lock: Any, place: str, says: str, fix: str) -> None:
    with pytest.raises(InvalidError) as caught:
        under(lock)
    (problem,) = caught.value.problems
    assert problem.place == f"lock{place}"
    assert says in problem.message
    assert fix in problem.fix or fix in problem.message


def test_a_graph_has_no_locks() -> None:
    graph = {"name": "w", "entry_point": "a", "nodes": [{"name": "a", "function": "f"}], "edges": []}
    with pytest.raises(InvalidError) as caught:
        parse_dict({**graph, "lock": {"key": "k", "nodes": ["a"]}})
    (problem,) = caught.value.problems
    assert (problem.place, problem.message) == ("lock", "a graph's nodes can't be put under a lock")
