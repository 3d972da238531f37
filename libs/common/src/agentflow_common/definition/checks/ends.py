"""Checks of how a run ends: `end` nodes, and nodes with `finally: true`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from agentflow_common.definition.dependencies import dependencies, order_dependencies, referenced_steps
from agentflow_common.definition.model import Definition
from agentflow_common.definition.nodes.types import AnyNode, EndNode
from agentflow_common.definition.walks import cycle
from agentflow_common.places import Finding, Place

_NOT_AT_END: Final = {
    "signal": "nobody waits for a signal once the run ends",
    "approval": "nobody is asked once the run ends",
    "continue_as_new": "a run that continues as a new one has not ended",
    "end": "the run ends already",
}


def end_findings(definition: Definition) -> Iterator[Finding]:
    """Yields fields of `end` nodes that have no effect, and what would come after such a node."""
    ends = {node.id for node in definition.dag.nodes if isinstance(node, EndNode)}
    if not ends:
        return
    for number, node in enumerate(definition.dag.nodes):
        here: Place = ("dag", "nodes", number)
        for position, name in enumerate(node.depends_on):
            if name in ends:
                yield (
                    (*here, "depends_on", position),
                    f"the run ends at {name!r}, so nothing comes after it",
                    "remove it",
                )
        if isinstance(node, EndNode):
            yield from _end(here, node)
    for number, edge in enumerate(definition.dag.edges):
        if edge.source in ends and edge.target != "END":
            text = f"the run ends at {edge.source!r}, so nothing comes after it"
            yield ("dag", "edges", number), text, "remove the edge"


def _end(here: Place, node: EndNode) -> Iterator[Finding]:
    config = node.config
    if config.output is not None and config.status != "completed":
        text = f"a run that ends as {config.status} has no output"
        yield (*here, "config", "output"), text, "remove it, or say why in `error`"
    if "error" in config.model_fields_set and config.status == "completed":
        yield (*here, "config", "error"), "a run that completes has no error", "remove it, or set `status: failed`"
    if node.policy.on_failure == "continue":
        text = "the run ends at an `end` node, so it can't continue without it"
        yield (*here, "policy", "on_failure"), text, "give the node a `condition` instead"


def finally_findings(definition: Definition) -> Iterator[Finding]:
    """Yields what nodes at the end can't be or have, and edges between them and other nodes."""
    last = {node.id for node in definition.dag.nodes if node.at_end}
    if not last:
        if "finally_ms" in definition.model_fields_set:
            yield ("finally_ms",), "no node has `finally: true`", "remove it, or set `finally: true` at a node"
        return
    if len(last) == len(definition.dag.nodes):
        yield ("dag", "nodes"), "every node has `finally: true`", "leave it out at the nodes that do the work"
    for number, node in enumerate(definition.dag.nodes):
        here: Place = ("dag", "nodes", number)
        if node.at_end:
            yield from _last_node(here, node)
        for position, name in enumerate(node.depends_on):
            yield from _crossing((*here, "depends_on", position), name, node.id, last)
    for number, lock in enumerate(definition.lock):
        for position, name in enumerate(lock.nodes):
            if name in last:
                place: Place = ("lock", number, "nodes", position)
                yield place, f"{name!r} runs when the run ends, without a lock", "remove it"
    for number, edge in enumerate(definition.dag.edges):
        here = ("dag", "edges", number)
        yield from _crossing(here, edge.source, edge.target, last)
        if edge.max_iterations is not None and {edge.source, edge.target} <= last:
            yield (*here, "max_iterations"), "a node with `finally: true` runs once", "use a `loop` node"


def _last_node(here: Place, node: AnyNode) -> Iterator[Finding]:
    if node.type in _NOT_AT_END:
        text = f"{_NOT_AT_END[node.type]}, so {node.id!r} can't have `finally: true`"
        yield (*here, "finally"), text, "remove `finally`, or use another type of node"
    if node.compensate_with is not None:
        yield (*here, "compensate_with"), "nothing is undone after the end of a run", "remove it"
    if node.policy.on_unknown == "ask":
        yield (*here, "policy", "on_unknown"), "nobody is asked once the run ends", "write `fail` or `retry`"
    if node.writes is not None:
        yield (*here, "writes"), "nothing reads the shared state after the end of a run", "remove it"


def _crossing(place: Place, source: str, target: str, last: set[str]) -> Iterator[Finding]:
    if source in last and target not in last:
        text = f"{source!r} runs when the run ends, so {target!r} can't come after it"
        yield place, text, "remove it, or set `finally: true` there too"
    elif target in last and source not in last:
        yield place, f"{target!r} runs when the run ends, after all other nodes", "remove it"


def finally_reads(definition: Definition) -> Iterator[Finding]:
    """Yields nodes and outputs that read what runs after them. The parts of the definition can be read."""
    last = {node.id for node in definition.dag.nodes if node.at_end}
    if not last:
        return
    sources = dependencies(definition)
    reads = order_dependencies(definition, sources)
    for number, node in enumerate(definition.dag.nodes):
        for name in [] if node.at_end else reads[node.id]:
            if name in last:
                text = f"{node.id!r} reads {name!r}, which runs when the run ends"
                yield ("dag", "nodes", number), text, "let it read another node"
    for output, value in definition.outputs.items():
        for name in referenced_steps(value, dict.fromkeys(last)):
            if name in last:
                text = f"{name!r} runs when the run ends, after the output is computed"
                yield ("outputs", output), text, "let it read another node"
    if definition.graph is not None and (
        circle := cycle({name: {*(source for source, _ in sources[name]), *reads[name]} for name in last})
    ):
        number = next(n for n, node in enumerate(definition.dag.nodes) if node.id in circle)
        yield ("dag", "nodes", number), f"the nodes form a cycle: {' -> '.join(circle)}", "remove one of the edges"
