"""Graph-style workflows, written as in mini-LangGraph, and their translation to the schema of definition/model.py.

    nodes: [{name: review, function: review_code}, {name: fix, tool: code.fix, args: {code: state.code}}]
    edges: [{from: review, to: fix, condition: state.score < 0.8}, {from: fix, to: review}]
    entry_point: review
    state: {schema: {...}, reducers: {...}, initial: {...}}
    max_supersteps: 20

A node does one thing: `tool`, `function`, `prompt`, `workflow` (with `args`), or `map`, `loop`, `wait`, `signal`,
`approval`, `continue_as_new`, `end` with their configuration. Without `args` a call gets the shared state, unless its
`prompt` is a text. Its other fields (`policy`, `condition`, `lane`, `writes`, ...) stay as they are. Errors name places
in the text as it was written.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from agentflow_common.definition.nodes.base import PROMPT_REF
from agentflow_common.events import PROMPT
from agentflow_common.json_values import kind_of
from agentflow_common.places import Finding, Place

ENDS: Final = frozenset({"END", "__end__"})
_TOP: Final = ("nodes", "edges", "entry_point", "state", "max_supersteps", "max_iterations")
WORKS: Final = {  # by the author's keyword: the node type, the field with the name, the field with the arguments
    "tool": ("tool", "tool_name", "tool_args"),
    "function": ("function", "function_name", "function_args"),
    "prompt": ("llm", "prompt_ref", "inputs"),
    "workflow": ("subworkflow", "workflow", "inputs"),
}
OTHERS: Final = ("map", "loop", "wait", "signal", "approval", "continue_as_new", "end")
SHORT: Final = {"signal": "signal", "wait": "duration"}  # the field that a lone value sets
LLM_FIELDS: Final = ("output", "max_output_tokens", "temperature", "model")
_VALUES: Final = frozenset(
    {
        "inputs",
        "tool_args",
        "function_args",
        "args",
        "over",
        "zip",
        "range",
        "message",
        "duration",
        "approvers",
        "output",
        "error",
    }
)
_PARTS: Final = ("nodes", "edges")
_STATE: Final = re.compile(r"state((?:\.[A-Za-z_]\w*|\[\d+\])+)\Z")
_PART: Final = re.compile(r"\.(\w+)|(\[\d+\])")


class Authored(NamedTuple):
    """An author's definition, brought to the schema's shape."""

    data: dict[str, Any]  # in the schema's shape
    origin: dict[Place, Place]  # for places in `data`: the place in the author's text
    problems: list[Finding]  # found so far


def normalise(data: dict[str, Any]) -> Authored:
    """Returns a definition in the schema's shape. Data that is not graph-style has this shape already.

    If it has a `graph`, only its references to the shared state are changed.
    """
    if "dag" in data or "graph" in data or not ("nodes" in data or "entry_point" in data):
        return Authored(_with_references(data) if "graph" in data else data, {}, [])
    found = Authored({k: v for k, v in data.items() if k not in _TOP}, {}, [])
    bound = "max_iterations" if "max_iterations" in data else "max_supersteps"
    found.origin.update(
        {
            ("dag",): (),
            ("dag", "nodes"): ("nodes",),
            ("dag", "edges"): ("edges",),
            ("graph",): (),
            ("graph", "max_supersteps"): (bound,),
        }
    )
    if "entry_point" not in data:
        fix = "add it with the node that runs first (a workflow without shared state has its nodes under `dag:`)"
        found.problems.append(((), "the field 'entry_point' is missing", fix))
    if "max_iterations" in data and "max_supersteps" in data:
        text = "`max_iterations` and `max_supersteps` mean the same"
        found.problems.append((("max_iterations",), text, "keep one"))
    dag: dict[str, Any] = {}
    if "nodes" in data:
        nodes = data["nodes"]
        dag["nodes"] = [_node(n, i, found) for i, n in enumerate(nodes)] if isinstance(nodes, list) else nodes
    if "edges" in data:
        edges = data["edges"]
        dag["edges"] = [_edge(edge) for edge in edges] if isinstance(edges, list) else edges
    graph = {
        name: data[field]
        for name, field in (("entry_point", "entry_point"), ("state", "state"), ("max_supersteps", bound))
        if field in data
    }
    found.data.update(dag=dag, graph=graph)
    _check_names(data.get("nodes"), found)
    return found._replace(data=_with_references(found.data))


def _edge(edge: Any) -> Any:
    to = edge.get("to") if isinstance(edge, dict) else None
    return {**edge, "to": "END"} if isinstance(to, str) and to in ENDS else edge


def _check_names(nodes: Any, found: Authored) -> None:
    seen: dict[Any, int] = {}
    for number, node in enumerate(nodes if isinstance(nodes, list) else []):
        name = node.get("name", node.get("id")) if isinstance(node, dict) else None
        if not isinstance(name, str):
            continue
        if name in seen:
            text = f"the name {name!r} is taken by nodes[{seen[name]}]"
            found.problems.append((("nodes", number, "name"), text, "rename one"))
        seen.setdefault(name, number)


def _node(node: Any, number: int, found: Authored) -> Any:
    """Returns a node in the schema's shape, and adds its problems to `found`."""
    there: Place = ("nodes", number)
    here: Place = ("dag", *there)
    found.origin[here] = there
    if not isinstance(node, dict):
        found.problems.append((there, f"a node is a mapping, got {kind_of(node)}", "write {name: ..., tool: ...}"))
        return node
    kinds = [kind for kind in (*WORKS, *OTHERS) if kind in node]
    made = {key: value for key, value in node.items() if key not in {*kinds, "name", "args"}}
    if "name" in node and "id" not in node:
        found.origin[*here, "id"] = (*there, "name")
        made["id"] = node["name"]
    elif "id" not in node:
        found.problems.append((there, "the node has no `name`", "add `name:`"))
    if "type" in node and not kinds:
        if "args" in node:
            found.problems.append(
                ((*there, "args"), "`args` goes with tool, function, prompt or workflow", "use config")
            )
        return made
    if len(kinds) != 1:
        text = f"the node has {' and '.join(kinds)}: it does one thing" if kinds else "the node does nothing"
        found.problems.append((there, text, f"give one of {', '.join((*WORKS, *OTHERS))}"))
        return made
    kind = kinds[0]
    if "type" in made or "config" in made:
        field = "type" if "type" in made else "config"
        found.problems.append(((*there, field), f"`{kind}` says it already", f"remove `{field}`"))
    if kind in WORKS:
        made["type"], made["config"] = _work(kind, node, made, here, there, found)
    else:
        made["type"], made["config"] = kind, _other(kind, node, here, there, found)
    return made


def _work(
    kind: str, node: dict[str, Any], made: dict[str, Any], here: Place, there: Place, found: Authored
) -> tuple[str, dict[str, Any]]:
    node_type, name, arguments = WORKS[kind]
    is_text = kind == PROMPT and isinstance(node[kind], str) and not re.match(PROMPT_REF, node[kind])
    name = PROMPT if is_text else name
    config: dict[str, Any] = {name: node[kind]}
    found.origin[*here, "config", name] = (*there, kind)
    found.origin[*here, "config", arguments] = (*there, "args")
    found.origin[*here, "config"] = there
    if "args" in node:
        config[arguments] = node["args"]
    elif not is_text:  # a text says itself what it reads
        config["state_args"] = True
    for field in ("parallel", "for_each", "reveal", "detached", "run_lane", *LLM_FIELDS):
        if field in made:
            config[field] = made.pop(field)
    return node_type, config


def _other(kind: str, node: dict[str, Any], here: Place, there: Place, found: Authored) -> Any:
    found.origin[*here, "config"] = (*there, kind)
    if "args" in node:
        found.problems.append(((*there, "args"), f"`args` means nothing with {kind}", f"put it inside `{kind}`"))
    value = node[kind]
    if kind in SHORT and isinstance(value, str | int):
        found.origin[*here, "config", SHORT[kind]] = (*there, kind)
        value = {SHORT[kind]: value}
    return {} if value is None else value


# --- references to the shared state ---


def _with_references(data: dict[str, Any]) -> dict[str, Any]:
    """Returns the data with references such as `state.code` written as templates, `{{state.code}}`.

    Only values are changed: conditions are CEL, which reads `state.code` as it is.
    """
    dag = data.get("dag")
    changed = dict(data)
    if "outputs" in data:
        changed["outputs"] = _replaced(data["outputs"])
    if isinstance(dag, dict):
        parts = {name: [_in_values(part) for part in dag[name]] for name in _PARTS if isinstance(dag.get(name), list)}
        changed["dag"] = {**dag, **parts}
    return changed


def _in_values(part: Any) -> Any:
    if not isinstance(part, dict):
        return part
    return {
        key: _replaced(value)
        if key in _VALUES
        else _in_values(value)
        if key in {"config", "body", "compensate_with"}
        else value
        for key, value in part.items()
    }


def _replaced(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _replaced(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item) for item in value]
    if isinstance(value, str) and (match := _STATE.match(value)):
        parts = (f"['{name}']" if name else index for name, index in _PART.findall(match[1]))
        return f"{{{{state{''.join(parts)}}}}}"
    return value
