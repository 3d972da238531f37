"""Checks of a graph-style workflow: its entry, its edges, its shared state."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

from agentflow_common.definition.checks.edges import END, send_findings, sends_without_graph
from agentflow_common.definition.checks.names import suggest
from agentflow_common.definition.model import Definition
from agentflow_common.definition.nodes.calls import all_templates, works
from agentflow_common.definition.nodes.types import AnyNode
from agentflow_common.definition.walks import reachable
from agentflow_common.expressions import language as expressions
from agentflow_common.expressions.sandbox import ExpressionError
from agentflow_common.expressions.state_schema import Schema, StateError
from agentflow_common.places import Finding, Place, texts

_KINDS = {
    "append": ("array",), "extend": ("array",), "union": ("array",), "merge": ("object",),
    "sum": ("number", "integer"), "max": ("number", "integer", "string"), "min": ("number", "integer", "string"),
}  # fmt: skip
_STATE_KEY = re.compile(r"\{\{\s*state(?:\.|\[')(\w+)")


def graph_findings(definition: Definition) -> Iterator[Finding]:
    """Yields the problems of a graph-style workflow.

    For other workflows, yields only the fields that have no effect there.
    """
    for number, node in enumerate(definition.dag.nodes):
        yield from _node(definition, number, node)
    graph = definition.graph
    if graph is None:
        yield from sends_without_graph(definition)
        return
    index = [node.id for node in definition.dag.nodes]
    if graph.entry_point not in index:
        yield ("graph", "entry_point"), f"there is no node {graph.entry_point!r}", f"the nodes are {_some(index)}"
    else:
        yield from _unreachable(definition, graph.entry_point)
    yield from _state(definition)
    yield from send_findings(definition)


def _some(names: list[str]) -> str:
    return ", ".join(names[:12])


def _node(definition: Definition, number: int, node: AnyNode) -> Iterator[Finding]:
    here = ("dag", "nodes", number)
    if definition.graph is None:
        if node.writes is not None:
            yield (*here, "writes"), "only a graph has a shared state", "remove it, or read the output as node.output"
        if node.barrier:
            yield (*here, "barrier"), "only a graph has barriers", "remove it: the node waits for all that lead to it"
        if any(work.config.state_args for work in works(node)):
            yield (*here, "config", "state_args"), "only a graph has a shared state", "remove it"
        return
    if node.id == END:
        yield (*here, "id"), f"{END!r} is where a graph ends", "give the node another name"
    if node.depends_on and not node.at_end:
        yield (*here, "depends_on"), "a graph's nodes run when an edge leads to them", "write edges instead"
    for key, part in (node.writes if isinstance(node.writes, dict) else {}).items():
        found = expressions.parse_reference(f"node.{part}")
        if found is None or found[1] != "output":
            yield (*here, "writes", key), f"{part!r} is not a part of the output", "write `output` or `output.field`"


def _unreachable(definition: Definition, entry: str) -> Iterator[Finding]:
    targets: dict[str, list[str]] = {}
    for edge in definition.dag.edges:
        targets.setdefault(edge.source, []).append(edge.target)
    seen = reachable([entry], targets)
    for number, node in enumerate(definition.dag.nodes):
        if node.id not in seen and not node.at_end:
            text = f"no edge leads to {node.id!r} from {entry!r}"
            yield ("dag", "nodes", number), text, "add one, or remove the node"


def _state(definition: Definition) -> Iterator[Finding]:
    assert definition.graph is not None  # noqa: S101
    spec = definition.graph.state
    here = ("graph", "state")
    properties: dict[str, Any] = {}
    if spec.json_schema:
        try:
            schema = Schema(spec.json_schema)
            properties = schema.properties
            given = dict.fromkeys((*spec.json_schema.get("required", ()), *definition.inputs))
            if schema.by_key:
                schema.check({**given, **spec.initial}, spec.initial)
        except StateError as error:
            in_initial = bool(error.keys) and error.keys[0] in spec.initial
            yield (*here, "initial" if in_initial else "schema"), error.message, error.fix
    if spec.json_schema.get("additionalProperties") is False:
        yield from _closed(definition, properties)
    for key, reducer in spec.reducers.items():
        kinds = _KINDS.get(reducer)
        declared = properties.get(key)
        kind = declared.get("type") if isinstance(declared, dict) else None
        if kinds and isinstance(kind, str) and kind not in kinds:
            text = f"the reducer `{reducer}` makes a value of type {' or '.join(kinds)}, the schema says {kind}"
            yield (*here, "reducers", key), text, "change one of them"


def _closed(definition: Definition, properties: Collection[str]) -> Iterator[Finding]:
    """Yields each use of a key that the closed schema of the state does not have."""
    assert definition.graph is not None  # noqa: S101
    named: list[tuple[Place, Collection[str]]] = [
        (("graph", "state", "reducers"), definition.graph.state.reducers),
        (("graph", "state", "initial"), definition.graph.state.initial),
        (("inputs",), definition.inputs),
    ]
    for number, node in enumerate(definition.dag.nodes):
        writes = node.writes if isinstance(node.writes, dict) else [node.writes] if node.writes else []
        named.append((("dag", "nodes", number, "writes"), writes))
        named.append((("dag", "nodes", number, "condition"), _keys(node.condition or node.config.condition)))
        named.append((("dag", "nodes", number, "config"), _referred(all_templates(node))))
    for number, edge in enumerate(definition.dag.edges):
        named.append((("dag", "edges", number, "condition"), _keys(edge.condition)))
    named.append((("outputs",), _referred(definition.outputs)))
    for place, keys in named:
        for key in keys:
            if key not in properties:
                text = f"{key!r} is not a key of the state, and its schema allows no others"
                yield place, text, suggest(key, properties, "it has")


def _keys(text: str | None) -> Collection[str]:
    """Returns the keys of the state that a condition names; empty if it reads the whole state, or is not valid."""
    try:
        return expressions.condition_keys(text) or () if text else ()
    except ExpressionError:
        return ()


def _referred(value: Any) -> list[str]:
    """Returns the keys of the state that the templates in a value begin with."""
    return [match[1] for _, text in texts(value) if (match := _STATE_KEY.match(text))]
