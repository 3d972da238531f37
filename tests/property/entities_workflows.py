"""Random workflows of every node type, for entities_world.py."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from agentflow_common.definition.parse import parse_dict

WORK = {"function_name": "f"}


def child_definition() -> dict[str, Any]:
    undo = {"type": "function", "config": {"function_name": "undo"}}
    nodes = [
        {"id": "one", "type": "function", "config": WORK, "compensate_with": undo},
        {"id": "two", "type": "function", "config": {**WORK, "inputs": {"n": "{{n}}"}}},
    ]
    dag = {"nodes": nodes, "edges": [{"from": "one", "to": "two"}]}
    return parse_dict({"name": "child", "inputs": {"n": {"type": "any"}}, "dag": dag}).canonical()


def again_definition() -> dict[str, Any]:
    """One that goes on as a new run, twice."""
    nodes = [
        {"id": "one", "type": "function", "config": WORK, "policy": {"on_failure": "continue"}},
        {"id": "next", "type": "continue_as_new", "condition": "n < 3", "depends_on": ["one"],
         "config": {"inputs": {"n": "{{n + 1}}"}}},
    ]  # fmt: skip
    return parse_dict({"name": "again", "inputs": {"n": {"type": "any"}}, "dag": {"nodes": nodes}}).canonical()


def nested_definition() -> dict[str, Any]:
    """One that has something to undo before and beside a subworkflow of its own, and one in a map."""
    undo = {"type": "function", "config": {"function_name": "undo"}}
    sub = {"type": "subworkflow", "config": {"workflow": "child", "inputs": {"n": "{{n}}"}}}
    nodes = [
        {"id": "first", "type": "function", "config": WORK, "compensate_with": undo},
        {"id": "inner", **sub, "depends_on": ["first"], "compensate_with": undo},
        {"id": "each", "type": "map", "config": {"over": [1, 2], "body": sub}, "depends_on": ["first"]},
        {"id": "beside", "type": "function", "config": WORK, "compensate_with": undo},
    ]
    return parse_dict({"name": "nested", "inputs": {"n": {"type": "any"}}, "dag": {"nodes": nodes}}).canonical()


def early_definition() -> dict[str, Any]:
    """One that ends early, in one of three ways, beside a step and a subworkflow that are cancelled then."""
    undo = {"type": "function", "config": {"function_name": "undo"}}
    sub = {"type": "subworkflow", "config": {"workflow": "child", "inputs": {"n": "{{n}}"}}}
    nodes = [
        {"id": "one", "type": "function", "config": WORK, "compensate_with": undo},
        {"id": "inner", **sub},
        {"id": "slow", "type": "function", "config": WORK, "policy": {"on_failure": "continue"}},
        {"id": "after", "type": "function", "config": WORK, "depends_on": ["slow"]},
        *(ended(f"as_{status}", status, ["one"], f"one.output.n % 3 == {at}")
          for at, status in enumerate(("completed", "failed", "cancelled"))),
    ]  # fmt: skip
    return parse_dict({"name": "early", "inputs": {"n": {"type": "any"}}, "dag": {"nodes": nodes}}).canonical()


def ended(name: str, status: str, after: list[str], condition: str = "true") -> dict[str, Any]:
    """A node that ends the run."""
    config: dict[str, Any] = {"status": status}
    if status == "completed":
        config["output"] = {"ended": name}
    return {"id": name, "type": "end", "config": config, "depends_on": after, "condition": condition}


def at_end(node: dict[str, Any]) -> dict[str, Any] | None:
    """Returns the node as one that runs when the run ends; None for a type that can't be there."""
    if node["type"] in {"signal", "approval"}:
        return None
    node.pop("compensate_with", None)
    if node["policy"].get("on_unknown") == "ask":
        node["policy"]["on_unknown"] = "retry"
    return {**node, "finally": True}


def subworkflows() -> dict[str, Any]:
    """Definitions that a run may start, by reference."""
    return {"child": child_definition(), "again": again_definition(), "nested": nested_definition(),
            "early": early_definition()}  # fmt: skip


@st.composite
def nodes(draw: st.DrawFn, name: str) -> dict[str, Any]:  # noqa: PLR0912
    """One node of any type."""
    kind = draw(st.sampled_from(["function", "function", "map", "loop", "subworkflow", "wait", "signal", "approval"]))
    policy: dict[str, Any] = {
        "on_failure": draw(st.sampled_from(["fail", "continue", "continue"])),
        "retry": {"max_attempts": draw(st.integers(1, 3)), "initial_ms": draw(st.sampled_from([0, 10]))},
    }
    node: dict[str, Any] = {"id": name, "type": kind, "policy": policy}
    work = draw(st.sampled_from(["function", "function", "subworkflow"]))
    sub = {"workflow": draw(st.sampled_from(["child", "again", "nested", "early"])), "inputs": {"n": 1}}
    config = WORK if work == "function" else sub
    if kind in {"function", "map", "loop", "subworkflow"}:
        if draw(st.integers(0, 3)) == 0:
            policy["timeout_ms"] = 1000
        if draw(st.integers(0, 4)) == 0:
            policy["total_timeout_ms"] = 3000
        policy["on_unknown"] = draw(st.sampled_from(["fail", "retry", "ask"]))
        slots = kind == "function" or (kind != "subworkflow" and work == "function")
        if slots and draw(st.integers(0, 3)) == 0:
            node["lane"], node["lane_limit"] = "{{org}}-lane", draw(st.integers(1, 2))
        if draw(st.integers(0, 2)) == 0:
            node["compensate_with"] = {"type": "function", "config": {"function_name": "undo"}}
    if kind == "function":
        node["config"] = WORK
        if draw(st.integers(0, 4)) == 0:
            policy["heartbeat_ms"] = 500
        if draw(st.integers(0, 4)) == 0:
            node["config"] = {**WORK, "parallel": True, "inputs": {"x": [1, 2]}}
    elif kind == "map":
        node["config"] = {
            "over": list(range(draw(st.integers(0, 5)))), "body": {"type": work, "config": config},
            "concurrency": draw(st.sampled_from([None, 1, 2])),
            "on_item_failure": draw(st.sampled_from(["fail", "continue"])),
        }  # fmt: skip
        _items(node["config"], draw(st.sampled_from(["", "", "over", "object", "range", "zip", "batches"])))
        if node["config"]["on_item_failure"] == "continue" and draw(st.booleans()):
            node["config"]["max_failures"] = draw(st.sampled_from([1, 2, 0.5]))
        if draw(st.integers(0, 2)) == 0:
            inner = {"over": [1, 2], "item": "inner", "body": node["config"]["body"],
                     "concurrency": draw(st.sampled_from([None, 1])),
                     "on_item_failure": draw(st.sampled_from(["fail", "continue"]))}  # fmt: skip
            node["config"]["body"] = {"type": "map", "config": inner}
    elif kind == "loop":
        node["config"] = {
            "body": {"type": work, "config": config}, "until": "iteration >= 2",
            "max_iterations": draw(st.integers(1, 3)), "on_max": draw(st.sampled_from(["complete", "fail"])),
        }  # fmt: skip
        if draw(st.booleans()):
            node["config"]["delay_ms"] = 50
    elif kind == "subworkflow":
        node["config"] = sub
        if "timeout_ms" not in policy and "compensate_with" not in node and draw(st.integers(0, 2)) == 0:
            node["config"] = {**sub, "detached": True}
    elif kind == "wait":
        node["config"] = {"duration": draw(st.sampled_from(["5ms", "2s"]))}
    elif kind == "signal":
        node["config"] = {"signal": "s", "timeout_ms": 500, "on_timeout": draw(st.sampled_from(["fail", "continue"]))}
    else:
        node["config"] = {"approvers": ["ana", "bo"], "required": draw(st.integers(1, 2)), "expires_ms": 800,
                          "on_expire": draw(st.sampled_from(["fail", "approve", "reject"]))}  # fmt: skip
    if draw(st.integers(0, 5)) == 0:
        _mistake(node, draw(st.integers(0, 3)))
    return node


def _items(config: dict[str, Any], source: str) -> None:
    """Takes a map's items from somewhere else, and leaves some of them out."""
    count = len(config["over"])
    if source in {"object", "range", "zip"}:
        del config["over"]
    if source == "object":
        config.update(over={f"k{number}": number for number in range(count)}, result="object")
    elif source == "range":
        config["range"] = {"stop": count}
    elif source == "zip":
        config["zip"] = {"a": list(range(count)), "b": list(range(count))}
    elif source == "batches":
        config["batches"] = 2
    if source:
        config["item_condition"] = "index % 3 != 1"


def _mistake(node: dict[str, Any], place: int) -> None:
    """Puts an expression into the node that can't be computed, or not for each of its parts."""
    kind, config = node["type"], node["config"]
    if place == 0 and "compensate_with" in node:
        node["compensate_with"] = {"type": "function", "config": {**WORK, "inputs": {"x": "{{1 // 0}}"}}}
    elif place == 1:
        node["condition"] = "1 / 0 == 1"
    elif kind == "approval":
        node["config"] = {**config, "escalate_ms": 100, "escalate_to": ["{{[1 // 0]}}"]}
    elif kind == "wait":
        node["config"] = {"duration": "{{1 // 0}}"}
    elif kind in {"map", "loop"} and config["body"]["type"] == "function":
        part = "index - 1" if kind == "map" else "iteration - 2"
        body = {"type": "function", "config": {**WORK, "inputs": {"x": f"{{{{[1 // ({part})]}}}}"}}}
        node["config"] = {**config, "body": body}
    elif kind == "loop":
        node["config"] = {**config, "until": "1 / (iteration - 2) > 5"}
    elif kind == "function" and place == 2:
        node["lane"], node["lane_limit"] = "{{org}}-{{1 // 0}}", 1
    elif kind == "function":
        node["config"] = {**config, "inputs": {**config.get("inputs", {}), "y": "{{ {'to': 1 // 0} }}"}}


@st.composite
def workflows(draw: st.DrawFn) -> dict[str, Any]:
    count = draw(st.integers(1, 5))
    listed = [draw(nodes(f"n{index}")) for index in range(count)]
    edges: list[dict[str, Any]] = [
        {"from": f"n{source}", "to": f"n{target}"}
        for target in range(1, count)
        for source in range(target)
        if draw(st.integers(0, 2)) == 0
    ]
    known = {(edge["from"], edge["to"]) for edge in edges}
    if count > 1 and draw(st.booleans()):
        source, target = draw(st.sampled_from(sorted(known) or [("n0", "n0")]))
        if source != target:
            back = {"from": target, "to": source, "condition": f"{target}.status == 'completed'", "max_iterations": 2}
            edges.append(back)
    elif draw(st.booleans()):
        for node in listed:
            if sum(edge["to"] == node["id"] for edge in edges) > 1:
                node["join"] = draw(st.sampled_from(["any", 2]))
    if draw(st.integers(0, 5)) == 0:
        listed[-1] = {
            "id": f"n{count - 1}",
            "type": "continue_as_new",
            "condition": "go",
            "config": {"inputs": {"go": False}},
        }
    if draw(st.integers(0, 3)) == 0:
        status = draw(st.sampled_from(["completed", "failed", "cancelled"]))
        listed.insert(draw(st.integers(0, count)), ended("stop", status, draw(st.sampled_from([[], ["n0"]]))))
    timed = [node for node in listed if {"timeout_ms", "total_timeout_ms"} & node.get("policy", {}).keys()]
    if timed and draw(st.booleans()):
        for node in timed:
            node["policy"]["on_timeout"] = "late"
        listed.append({"id": "late", "type": "function", "config": WORK})
    if draw(st.integers(0, 2)) == 0:
        last = [node for name in ("z0", "z1") if (node := at_end(draw(nodes(name)))) is not None]
        if len(last) > 1 and draw(st.booleans()):
            last[1]["depends_on"] = ["z0"]
        listed += last
    found: dict[str, Any] = {"name": "w", "inputs": {"go": {"type": "boolean", "default": True}},
                             "dag": {"nodes": listed, "edges": edges}}  # fmt: skip
    return found
