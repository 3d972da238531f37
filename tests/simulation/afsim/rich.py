"""Workflows of every node type: maps, loops, back edges, graphs, subworkflows, waits, people, sagas, keyed lanes."""

from __future__ import annotations

import itertools
import random
from typing import Any

from afsim.workload import chain
from agentflow_common.definition.parse import parse_dict
from agentflow_common.errors import InvalidError

LANES = {"{{org}}-one": 1, "{{org}}-two": 2}  # keyed lanes and their limits
LANE_LIMITS = {"o-one": 1, "o-two": 2}
_UNDO = {"type": "function", "config": {"function_name": "undo", "inputs": {"given": "{{output}}"}}}
_UNDO_TOOL = {"type": "tool", "config": {"tool_name": "t"}, "retry": {"max_attempts": 6, "initial_ms": 10}}
_RETRY = {"retry": {"max_attempts": 2, "initial_ms": 10}}


def plain_function(name: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "type": "function", "config": {"function_name": "f"}, "policy": _RETRY, **more}


def children() -> dict[str, dict[str, Any]]:
    """Workflows that others start, by name."""
    child = {
        "nodes": [
            plain_function("one", compensate_with=_UNDO),
            plain_function("two", lane="{{org}}-two", lane_limit=2),
        ],
        "edges": [{"from": "one", "to": "two"}],
    }
    again = {
        "nodes": [
            plain_function("work"),
            {"id": "next", "type": "continue_as_new", "condition": "go", "config": {"inputs": {"go": False}}},
        ],
        "edges": [{"from": "work", "to": "next"}],
    }
    nested = {
        "nodes": [
            plain_function("first", compensate_with=_UNDO),
            {
                "id": "inner",
                "type": "subworkflow",
                "config": {"workflow": "child"},
                "policy": {"on_failure": "continue"},
                "compensate_with": _UNDO,
            },
            {"id": "rest", "type": "wait", "config": {"duration": "300ms"}},
        ],
        "edges": [{"from": "first", "to": "inner"}],
    }
    early = {
        "nodes": [
            plain_function("first", compensate_with=_UNDO),
            {"id": "inner", "type": "subworkflow", "config": {"workflow": "child"}},
            plain_function("beside"),
            plain_function("after", depends_on=["beside"]),
            {"id": "stop", "type": "end", "depends_on": ["first"], "config": {"output": {"early": True}}},
        ]
    }
    listed: list[dict[str, Any]] = [
        {"name": "child", "dag": child},
        {"name": "again", "inputs": {"go": {"type": "boolean", "default": True}}, "dag": again},
        {"name": "nested", "dag": nested},
        {"name": "early", "dag": early},
    ]  # fmt: skip
    return {found["name"]: parse_dict(found).canonical() for found in listed}


CHILDREN = children()
_CALLED = ("child", "again", "nested")


def _policy(rng: random.Random, kind: str) -> dict[str, Any]:
    policy: dict[str, Any] = {
        "on_failure": rng.choice(["fail", "continue", "continue"]),
        "retry": {"max_attempts": rng.randint(1, 4), "initial_ms": rng.choice([0, 10, 400, 3000]), "jitter": 0.2},
    }
    if kind not in {"wait", "signal", "approval"}:
        policy["on_unknown"] = rng.choice(["fail", "retry", "ask"])
        if rng.random() < 0.3:
            policy["timeout_ms"] = rng.choice([300, 1000, 4000])
        if rng.random() < 0.25:
            policy["total_timeout_ms"] = rng.choice([500, 3000, 9000])
    return policy


def _work(rng: random.Random) -> dict[str, Any]:
    kind = rng.choice(["function", "function", "tool", "subworkflow"])
    if kind == "subworkflow":
        return {"type": kind, "config": {"workflow": rng.choice(_CALLED)}}
    return {"type": kind, "config": {"function_name": "f"} if kind == "function" else {"tool_name": "t"}}


def random_node(rng: random.Random, name: str, kind: str) -> dict[str, Any]:  # noqa: PLR0912
    node: dict[str, Any] = {"id": name, "type": kind, "policy": _policy(rng, kind)}
    if kind in {"function", "tool"}:
        node["config"] = {f"{kind}_name": "f" if kind == "function" else "t", "inputs": {}}
        if rng.random() < 0.3:
            node["policy"]["heartbeat_ms"] = 1500
    elif kind == "subworkflow":
        node["config"] = {"workflow": rng.choice(_CALLED), "inputs": {}}
        if rng.random() < 0.4:
            node["compensate_with"] = _UNDO
    elif kind == "map":
        node["config"] = {
            "over": list(range(rng.choice([0, 1, 3, 7]))), "body": _work(rng),
            "concurrency": rng.choice([None, 1, 2]), "on_item_failure": rng.choice(["fail", "continue"]),
        }  # fmt: skip
        if node["config"]["on_item_failure"] == "continue" and rng.random() < 0.5:
            node["config"]["max_failures"] = rng.choice([0, 1, 0.5])
    elif kind == "loop":
        until = rng.choice(["iteration >= 2", "previous != null && iteration >= 3"])
        node["config"] = {"body": _work(rng), "max_iterations": rng.randint(1, 3),
                          "on_max": rng.choice(["complete", "fail"])}  # fmt: skip
        node["config"].update({"until": until} if rng.random() < 0.6 else {"while": "iteration < 3"})
        if rng.random() < 0.4:
            node["config"]["delay_ms"] = rng.choice([30, 2000])
    elif kind == "wait":
        node["config"] = {"duration": rng.choice(["5ms", "700ms", "4s"])}
    elif kind == "signal":
        node["config"] = {"signal": rng.choice(["s", "r"])}
        if rng.random() < 0.5:
            node["config"].update(timeout_ms=2500, on_timeout=rng.choice(["fail", "continue"]))
    elif kind == "approval":
        node["config"] = {"approvers": ["ana", "bo"], "required": rng.randint(1, 2)}
        if rng.random() < 0.5:
            node["config"].update(expires_ms=3000, on_expire=rng.choice(["fail", "approve", "reject"]))
        if rng.random() < 0.4:
            node["config"].update(escalate_ms=800, escalate_to=["eve"])
    work = node["config"].get("body", {"type": kind})["type"]
    if work in {"function", "tool"}:
        if rng.random() < 0.25:
            node["lane"] = rng.choice(list(LANES))
            node["lane_limit"] = LANES[node["lane"]]
        if rng.random() < 0.4:
            node["compensate_with"] = rng.choice([_UNDO, _UNDO_TOOL])
    return node


KINDS = ["function", "function", "function", "tool", "map", "map", "loop", "subworkflow", "wait", "signal", "approval"]


def definition(rng: random.Random) -> dict[str, Any]:
    """A random workflow; one that the checks of definitions refuse loses its back edges."""
    kind = rng.random()
    if kind < 0.35:
        return graph(rng) if kind < 0.2 else _keyed(rng, chain(rng))
    count = rng.randint(1, 5)
    nodes = [random_node(rng, f"n{index}", rng.choice(KINDS)) for index in range(count)]
    edges: list[dict[str, Any]] = []
    for target in range(1, count):
        for source in range(target):
            if rng.random() < (0.7 if source == target - 1 else 0.2):
                edges.append({"from": f"n{source}", "to": f"n{target}"})
                given = nodes[target]["config"].get("inputs")
                if given is not None and rng.random() < 0.5:
                    given[f"from{source}"] = f"n{source}.output"
    found: dict[str, Any] = {"name": "w", "inputs": {"go": {"type": "boolean", "default": True}},
                             "dag": {"nodes": nodes, "edges": edges}}  # fmt: skip
    if rng.random() < 0.15:  # it is often due while others run
        edges[:] = [edge for edge in edges if edge["to"] != f"n{count - 1}" or rng.random() < 0.5]
        nodes[-1] = {"id": f"n{count - 1}", "type": "continue_as_new", "condition": "go",
                     "config": {"inputs": {"go": False}}}  # fmt: skip
    _end_early(rng, nodes)
    back = [_back(rng, count) for _ in range(rng.choice([0, 1, 1, 2]))] if count > 1 else []
    while back:
        try:
            with_back = {**found, "dag": {"nodes": nodes, "edges": edges + back}}
            parse_dict(with_back)
        except InvalidError:
            back.pop()
        else:
            return with_back
    return found


def _end_early(rng: random.Random, nodes: list[dict[str, Any]]) -> None:
    """Gives some workflows a node that ends the run, or a subworkflow that ends early."""
    own = random.Random()
    own.setstate(rng.getstate())
    for node in nodes:
        if node["type"] == "subworkflow" and own.random() < 0.3:
            node["config"] = {"workflow": "early", "inputs": {}}
    if own.random() < 0.8:
        return
    status = own.choice(["completed", "completed", "failed", "cancelled"])
    config: dict[str, Any] = {"status": status} | ({"output": {"early": True}} if status == "completed" else {})
    source = own.choice(nodes)["id"]
    nodes.append({"id": "stop", "type": "end", "config": config, "depends_on": [source],
                  "condition": f"{source}.status == 'completed'"})  # fmt: skip


def _keyed(rng: random.Random, found: dict[str, Any]) -> dict[str, Any]:
    """Some of its steps wait for a slot of a keyed lane."""
    for node in found["dag"]["nodes"]:
        if rng.random() < 0.2:
            node["lane"] = rng.choice(list(LANES))
            node["lane_limit"] = LANES[node["lane"]]
    return found


def _back(rng: random.Random, count: int) -> dict[str, Any]:
    low, high = sorted(rng.sample(range(count), 2)) if rng.random() < 0.8 else [rng.randrange(count)] * 2
    condition = rng.choice([f"n{high}.status == 'completed'", f"n{high}.status != 'skipped'"])
    return {"from": f"n{high}", "to": f"n{low}", "condition": condition, "max_iterations": rng.randint(1, 2)}


def graph(rng: random.Random) -> dict[str, Any]:
    """Graph-style: any edges, cycles, a shared state with reducers."""
    names = [f"n{index}" for index in range(rng.randint(1, 4))]
    kinds = ["function", "function", "tool", "wait", "subworkflow"]
    nodes = [random_node(rng, name, rng.choice(kinds)) for name in names]
    for node in nodes:
        node["writes"] = "parts" if node["type"] in {"wait", "subworkflow"} or rng.random() < 0.4 else None
        if node["writes"] is None:
            del node["writes"]
        if node["type"] in {"function", "tool"}:
            node["config"]["state_args"] = rng.random() < 0.5
    edges: list[dict[str, Any]] = [{"from": a, "to": b} for a, b in itertools.pairwise(names)]
    for source in names:
        for target in names:
            if {"from": source, "to": target} not in edges and rng.random() < 0.3:
                edge: dict[str, Any] = {"from": source, "to": target}
                condition = rng.choice([None, "state.n < 40", "state.n >= 9", f"{source}.status == 'completed'"])
                if condition is not None:
                    edge["condition"] = condition
                if rng.random() < 0.6:
                    edge["max_iterations"] = rng.randint(1, 2)
                edges.append(edge)
    state = {"reducers": {"n": "sum", "parts": "append"}, "initial": {"n": 0, "parts": []}}
    return {
        "name": "w", "graph": {"entry_point": "n0", "state": state, "max_supersteps": rng.randint(3, 8)},
        "dag": {"nodes": nodes, "edges": edges},
    }  # fmt: skip


def scheduled(rng: random.Random) -> dict[str, Any]:
    """The spec of a schedule."""
    return {
        "name": "often", "workflow": "child", "cron": ["@every 2s"],
        "overlap": rng.choice(["skip", "buffer_one", "buffer_all", "cancel", "allow"]),
        "jitter_ms": rng.choice([0, 500]), "catchup_window_ms": rng.choice([1_000, 3_600_000]),
    }  # fmt: skip
