"""For tests: small definitions of workflows, as data.

`workflow` takes what the other functions give:

    workflow(function("a"), function("b", inputs={"x": "a.output"}), edges=edges("a b"))
"""

from __future__ import annotations

import itertools
from typing import Any, Final

from agentflow_common.definition.parse import parse_dict

Node = dict[str, Any]

WORK: Final = {"function_name": "f"}
BODY: Final = {"type": "function", "config": WORK}  # of a map or a loop
ONCE: Final = {"retry": {"max_attempts": 1}}  # a policy: the first failure is final
CONTINUE: Final = {"on_failure": "continue", **ONCE}  # a policy: the run continues without the step
UNDO: Final = {"type": "function", "config": {"function_name": "undo"}}  # a compensation


def workflow(*nodes: Node, edges: list[dict[str, Any]] | None = None, **top: Any) -> dict[str, Any]:
    """Returns a definition named `w` with these nodes; `top` are fields beside its dag."""
    return {"name": "w", "dag": {"nodes": [*nodes], "edges": edges or []}, **top}


def in_order(*nodes: Node, **top: Any) -> dict[str, Any]:
    """Returns a definition whose nodes run one after the other."""
    pairs = itertools.pairwise(node["id"] for node in nodes)
    return workflow(*nodes, edges=edges(*(f"{source} {target}" for source, target in pairs)), **top)


def edges(*pairs: str, **condition: Any) -> list[dict[str, Any]]:
    """Returns an edge for each pair such as "a b"; `condition` are further fields of each."""
    return [{**dict(zip(("from", "to"), pair.split(), strict=True)), **condition} for pair in pairs]


def function(name: str, inputs: dict[str, Any] | None = None, **more: Any) -> Node:
    """Returns a node that runs the function `f`. A `config` among `more` is added to its own."""
    config = {**WORK, **({} if inputs is None else {"inputs": inputs}), **more.pop("config", {})}
    return {"id": name, "type": "function", "config": config, **more}


def tool(name: str, **more: Any) -> Node:
    """Returns a node that runs a tool of its own name."""
    return {"id": name, "type": "tool", "config": {"tool_name": name}, **more}


def subworkflow(name: str, **more: Any) -> Node:
    """Returns a node that runs the workflow `child`."""
    return {"id": name, "type": "subworkflow", "config": {"workflow": "child"}, **more}


def child(*nodes: Node, name: str = "child", **top: Any) -> dict[str, dict[str, Any]]:
    """Returns the definitions of a run whose subworkflows run these nodes; without nodes, one function."""
    parts = nodes or (function("x"),)
    return {name: parse_dict({"name": name, "dag": {"nodes": [*parts]}, **top}).canonical()}
