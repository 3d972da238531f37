"""Checks of nodes that start before all of the nodes before them are decided: `join: any`, `join: 2`."""

from __future__ import annotations

from collections.abc import Iterator

from agentflow_common.definition.dependencies import dependencies, loops, waits_for
from agentflow_common.definition.model import Definition
from agentflow_common.definition.walks import reachable
from agentflow_common.expressions import language as expressions
from agentflow_common.places import Finding


def join_findings(definition: Definition) -> Iterator[Finding]:
    """Yields joins that can't be met, or whose moment would be unclear. The parts of the definition can be read."""
    joins = {node.id: number for number, node in enumerate(definition.dag.nodes) if node.join != "all"}
    if not joins:
        return
    if definition.graph is not None:
        for number in joins.values():
            text = "a graph's node runs when an edge leads to it, so it has nothing to join"
            yield ("dag", "nodes", number, "join"), text, "remove it, or write `barrier: true`"
        return
    sources = dependencies(definition)
    before = waits_for(definition)
    inside = {name: loop.edge for loop in loops(definition, sources) for name in loop.body}
    for name, number in joins.items():
        node = definition.dag.nodes[number]
        place = ("dag", "nodes", number, "join")
        count = len(sources[name])
        needed = 1 if node.join == "any" else node.join
        if needed > count or count < 2:
            edges = f"{count or 'no'} edge{'s lead' if count != 1 else ' leads'}"
            text = f"{name!r} needs {needed} of the nodes before it, and {edges} there"
            yield place, text, "add edges (or `depends_on`), or remove `join`"
        for other in sorted(reachable([name], before)):
            if other in inside:
                text = f"{other!r} is in the loop {inside[other]}, and a join can't cancel a part of a loop of edges"
                yield place, text, "put the loop into a subworkflow or a `loop` node"
                break
    for number, edge in enumerate(definition.dag.edges):
        if edge.target in joins and edge.condition:
            for read in expressions.condition_steps(edge.condition):
                if read != edge.source and read in dict(sources[edge.target]):
                    text = f"the condition reads {read!r}, which need not be decided when {edge.target!r} starts"
                    yield ("dag", "edges", number, "condition"), text, f"let it read only {edge.source!r}"
