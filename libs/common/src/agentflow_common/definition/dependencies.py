"""The order of a definition's nodes: which wait for which, and which a back edge runs again. Linear in the graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from agentflow_common.definition.model import Definition, Edge
from agentflow_common.definition.nodes.calls import all_inputs, given_lanes, map_levels, prompt_of
from agentflow_common.definition.nodes.types import AnyNode, LoopNode
from agentflow_common.definition.walks import reachable, turned
from agentflow_common.expressions import language as expressions
from agentflow_common.places import texts


class Loop(NamedTuple):
    """A back edge."""

    source: str
    target: str
    condition: str | None
    max_iterations: int
    body: tuple[str, ...]  # the nodes between its ends, in the definition's order, which run again when it is taken

    @property
    def edge(self) -> str:
        return f"{self.source}->{self.target}"


Sources = dict[str, list[tuple[str, str | None]]]


TIMED_OUT: Final = ("timeout", "heartbeat_timeout", "signal_timeout", "approval_expired")  # types of errors


def dependencies(definition: Definition) -> Sources:
    """Returns the explicit sources of each node as (source, condition), from forward edges and `depends_on`.

    A node with `on_timeout` has an edge to the node that it names, and its other edges are taken in other cases only.
    """
    sources: Sources = {node.id: [] for node in definition.dag.nodes}
    for edge in definition.dag.edges:
        if edge.max_iterations is None and edge.target in sources:
            sources[edge.target].append((edge.source, edge.condition))
    for node in definition.dag.nodes:
        if node.depends_on:
            present = {name for name, _ in sources[node.id]}
            sources[node.id].extend((name, None) for name in node.depends_on if name not in present)
    late = {node.id: node.policy.on_timeout for node in definition.dag.nodes if node.policy.on_timeout is not None}
    if late:
        for into in sources.values():
            into[:] = [(name, _in_time(name, condition) if name in late else condition) for name, condition in into]
        for name, target in late.items():
            if target in sources:
                sources[target].append((name, _too_late(name)))
    return sources


def _too_late(name: str) -> str:
    kinds = ", ".join(f"'{kind}'" for kind in TIMED_OUT)
    return f"{name}.status == 'failed' && {name}.error.type in [{kinds}]"


def _in_time(name: str, condition: str | None) -> str:
    return f"!({_too_late(name)})" + ("" if condition is None else f" && ({condition})")


def loops(definition: Definition, sources: Sources) -> list[Loop]:
    """Returns the back edges, the innermost first. A body is empty if the target does not lead to the source.

    A body has nodes without edges, too. Such a node reads one node of the loop, and another one waits for it. It can't
    run after the loop, because the loop waits for it.
    """
    back = [edge for edge in definition.dag.edges if edge.max_iterations is not None]
    if not back or definition.graph is not None:
        return []
    edges = {name: [source for source, _ in into if source in sources] for name, into in sources.items()}
    found = by_edges = _between(back, edges)
    seen = [by_edges]
    while True:
        reads = order_dependencies(definition, sources, found, at_end=False)
        following = _between(back, {name: list(dict.fromkeys([*into, *reads[name]])) for name, into in edges.items()})
        if following == found:
            return found
        if following in seen:  # the bodies depend on the reads, and the reads on the bodies: a cycle, which is refused
            return by_edges
        seen.append(following)
        found = following


def _between(back: list[Edge], waits: Mapping[str, list[str]]) -> list[Loop]:
    targets = turned(waits)
    found: list[Loop] = []
    for edge in back:
        between = reachable([edge.target], targets) & reachable([edge.source], waits)
        body = tuple(name for name in waits if name in between) if edge.source in between else ()
        found.append(Loop(edge.source, edge.target, edge.condition, edge.max_iterations or 1, body))
    return sorted(found, key=lambda loop: len(loop.body))


def order_dependencies(
    definition: Definition, sources: Sources | None = None, found: list[Loop] | None = None, *, at_end: bool = True
) -> dict[str, list[str]]:
    """Returns the steps that each node reads in inputs and conditions, without its direct sources.

    A node in a loop that reads a later node of it gets the output of the previous iteration, so it does not wait.
    at_end: what the conditions of back edges read counts, too.
    """
    reads: dict[str, list[str]] = {}
    sources = dependencies(definition) if sources is None else sources
    found = loops(definition, sources) if found is None else found
    inside = [(set(loop.body), loop) for loop in found]
    locked = {name for lock in definition.lock for name in lock.nodes}
    # all locks are taken at once, so every node under a lock waits for what any key reads
    keys = [name for lock in definition.lock for name in referenced_steps(lock.key, sources) if name in sources]
    last = {node.id for node in definition.dag.nodes if node.at_end}
    for node in definition.dag.nodes:
        if definition.graph is not None and not node.at_end:
            reads[node.id] = []
            continue
        into = sources[node.id]
        direct = {name for name, _ in into}
        names = [*_reads(node, into, sources), *(_reads_at_end(node.id, found, sources) if at_end else ())]
        if node.id in locked:
            names += keys
        names = [n for n in dict.fromkeys(names) if n not in direct and n != node.id]
        if node.at_end:  # all the others are over when it begins
            names = [n for n in names if n in last]
        for body, _ in inside:
            if node.id in body:
                later = reachable([node.id], turned({name: [s for s, _ in sources[name]] for name in body}))
                names = [n for n in names if n not in later]
        reads[node.id] = names
    return reads


def waits_for(definition: Definition) -> dict[str, list[str]]:
    """Returns by node the nodes that it waits for: the sources of its edges, and the steps that it reads."""
    sources = dependencies(definition)
    reads = order_dependencies(definition, sources)
    return {
        name: list(dict.fromkeys([*(source for source, _ in into), *reads[name]])) for name, into in sources.items()
    }


def _reads_at_end(node: str, found: list[Loop], known: Mapping[str, Any]) -> Iterator[str]:
    """Yields the steps outside of the loops that conditions of the node's back edges read.

    They must be decided first. Otherwise a scheduler that tests the condition again after a crash could get another
    result.
    """
    for loop in found:
        if loop.source == node and loop.condition:
            names = expressions.condition_steps(loop.condition)
            yield from (name for name in names if name in known and name not in loop.body)


def _reads(node: AnyNode, into: list[tuple[str, str | None]], known: Mapping[str, Any]) -> list[str]:
    names = list(referenced_steps(all_inputs(node), known))
    names.extend(referenced_steps([node.lane, *given_lanes(node)], known))
    prompt, own = prompt_of(node)
    names.extend(name for name in referenced_steps(prompt, known) if name not in own)
    texts = [node.condition, node.config.condition, *(condition for _, condition in into)]
    if isinstance(node, LoopNode):
        texts += [node.config.until, node.config.while_]
    texts += [level.item_condition for level in map_levels(node)]
    for text in texts:
        if text:
            names.extend(expressions.condition_steps(text))
    return [name for name in dict.fromkeys(names) if name in known]


def referenced_steps(value: Any, known: Mapping[str, Any]) -> Iterator[str]:
    """Yields the steps that the references and templates in a value read. A reference may name an unknown step."""
    for _, text in texts(value):
        reference = expressions.parse_reference(text)
        if reference is not None:
            yield reference[0]
        elif expressions.is_template(text):
            yield from (name for name in expressions.template(text).variables if name in known)


def waiting(sources: Sources, reads: Mapping[str, list[str]], found: list[Loop]) -> dict[str, set[str]]:
    """Returns all nodes that each node waits for. A node after a loop waits for the loop's end."""
    waits = {name: {source for source, _ in into} | set(reads[name]) for name, into in sources.items()}
    for loop in found:
        body = set(loop.body)
        for name, into in waits.items():
            if name not in body and into & body:
                into.add(loop.source)
    return waits
