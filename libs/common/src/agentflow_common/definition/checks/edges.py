"""Checks of edges: their ends, their conditions, and what the edges of a graph send (`over`, `args`)."""

from __future__ import annotations

from collections.abc import Iterator

from agentflow_common.definition.checks.names import INDEX, local_findings, refers, suggest
from agentflow_common.definition.checks.values import Values
from agentflow_common.definition.model import Definition, Edge
from agentflow_common.definition.nodes.calls import names_at_end
from agentflow_common.json_values import kind_of
from agentflow_common.places import Finding, Place

END = "END"


def edge_findings(definition: Definition, index: dict[str, int], values: Values) -> Iterator[Finding]:
    """Yields the problems of edges: their ends, their conditions, and what they send."""
    seen: set[tuple[str, str]] = set()
    for number, edge in enumerate(definition.dag.edges):
        here: Place = ("dag", "edges", number)
        for field, name in (("from", edge.source), ("to", edge.target)):
            if name not in index and not (definition.graph is not None and field == "to" and name == END):
                fix = suggest(name, index)
                if definition.graph is not None and name.strip("_").upper() in {"START", "END"}:
                    fix = "`entry_point` names the first node" if field == "from" else f"write {END}"
                yield (*here, field), f"there is no node {name!r}", fix
        if edge.source == edge.target and edge.max_iterations is None and definition.graph is None:
            yield here, f"{edge.source!r} points at itself", "remove the edge, or give it `max_iterations`"
        if (edge.source, edge.target) in seen:
            yield here, f"the edge {edge.source} -> {edge.target} appears twice", "remove one"
        if edge.max_iterations is not None and edge.condition is None and definition.graph is None:
            yield here, "a back edge without a condition is taken until its bound", "add `condition:`"
        seen.add((edge.source, edge.target))
        around = values.inside(edge.source)
        known = own_names(edge)
        if edge.source in index:
            known |= names_at_end(definition.dag.nodes[index[edge.source]])
        yield from around.condition((*here, "condition"), edge.condition, known)


def own_names(edge: Edge) -> frozenset[str]:
    """Returns the names that mean something in the condition and the arguments of this edge alone."""
    return frozenset() if edge.over is None else frozenset({edge.item, "index"})


def sent_findings(definition: Definition, values: Values) -> Iterator[Finding]:
    """Yields the problems of the templates and references in what edges send."""
    for number, edge in enumerate(definition.dag.edges):
        here: Place = ("dag", "edges", number)
        around = values.sent(edge.source)
        yield from values.inside("", around).check((*here, "over"), edge.over)
        yield from values.inside("", around | own_names(edge)).check((*here, "args"), edge.args)


def sends_without_graph(definition: Definition) -> Iterator[Finding]:
    """Yields the fields of edges that mean something only in a graph."""
    for number, edge in enumerate(definition.dag.edges):
        for field, is_set in (("over", edge.over is not None), ("args", bool(edge.args))):
            if is_set:
                fix = "use a `map` node" if field == "over" else "write them in the node"
                yield ("dag", "edges", number, field), "only the edges of a graph send values", fix


def send_findings(definition: Definition) -> Iterator[Finding]:
    """Yields what a graph's edges can't send."""
    nodes = {node.id: node for node in definition.dag.nodes}
    for number, edge in enumerate(definition.dag.edges):
        here: Place = ("dag", "edges", number)
        if not edge.sends:
            continue
        target = nodes.get(edge.target)
        if target is None:
            yield here, f"{edge.target} is where the graph ends: nothing can be sent there", "remove `over` and `args`"
        elif target.barrier:
            text = f"{edge.target!r} is a barrier, which runs once for all that leads to it"
            yield here, text, "remove `over` and `args`, or the barrier"
        for name in [*edge.args, *([edge.item] if edge.over is not None else [])]:
            place = (*here, "args", name) if name in edge.args else (*here, "item")
            yield from local_findings(place, name, nodes, {} if name in edge.args else {"index": INDEX}, {"state"})
        if edge.over is not None:
            yield from _list(here, edge)


def _list(here: Place, edge: Edge) -> Iterator[Finding]:
    plain = isinstance(edge.over, str) and not refers(edge.over)
    if plain or not isinstance(edge.over, list | str):
        fix = f'write over: "{{{{{edge.over}}}}}"' if plain else "for example over: state.tasks"
        yield (*here, "over"), f"`over` must be a list, or refer to one; it is {kind_of(edge.over)}", fix
