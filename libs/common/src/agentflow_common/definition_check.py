"""What the schema alone can't say: unique ids, edge ends, cycles, references, templates and conditions."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from agentflow_common import expressions
from agentflow_common.definition import Definition, FunctionNode, LlmNode, ToolNode
from agentflow_common.expressions import ExpressionError

Place = tuple[str | int, ...]
Finding = tuple[Place, str, str]
PROBLEMS_MAX = 50


def check(definition: Definition) -> list[Finding]:
    """Every problem as (path, message, fix), at most PROBLEMS_MAX."""
    found: list[Finding] = []
    for finding in _all(definition):
        found.append(finding)
        if len(found) >= PROBLEMS_MAX:
            break
    return found


def _all(definition: Definition) -> Iterator[Finding]:
    index: dict[str, int] = {}
    for number, node in enumerate(definition.dag.nodes):
        if node.id in index:
            yield (
                ("dag", "nodes", number, "id"),
                f"the id {node.id!r} is taken by dag.nodes[{index[node.id]}]",
                "rename one",
            )
        index.setdefault(node.id, number)
    if len(index) < len(definition.dag.nodes):
        return
    found = list(_edges(definition, index))
    for number, node in enumerate(definition.dag.nodes):
        found.extend(_node(definition, number, node, index))
    found.extend(_values(("outputs",), definition.outputs, definition, index))
    yield from found or _cycles(definition)  # the order can only be told of a graph whose parts can be read


def _suggest(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"the steps are {', '.join(list(known)[:12])}"


def _edges(definition: Definition, index: dict[str, int]) -> Iterator[Finding]:
    seen: set[tuple[str, str]] = set()
    for number, edge in enumerate(definition.dag.edges):
        for field, name in (("from", edge.source), ("to", edge.target)):
            if name not in index:
                yield ("dag", "edges", number, field), f"there is no node {name!r}", _suggest(name, index)
        if edge.source == edge.target:
            yield ("dag", "edges", number), f"{edge.source!r} points at itself", "remove the edge"
        if (edge.source, edge.target) in seen:
            yield ("dag", "edges", number), f"the edge {edge.source} -> {edge.target} stands twice", "remove one"
        seen.add((edge.source, edge.target))
        yield from _condition(("dag", "edges", number, "condition"), edge.condition, index)


def _node(
    definition: Definition, number: int, node: ToolNode | FunctionNode | LlmNode, index: dict[str, int]
) -> Iterator[Finding]:
    here: Place = ("dag", "nodes", number)
    yield from _condition((*here, "condition"), node.condition, index)
    yield from _condition((*here, "config", "condition"), node.config.condition, index)
    if node.condition and node.config.condition:
        yield (*here, "condition"), "both `condition` and `config.condition` are given", "keep one"
    for position, name in enumerate(node.depends_on):
        if name not in index:
            yield (*here, "depends_on", position), f"there is no node {name!r}", _suggest(name, index)
    yield from _values((*here, "config", "inputs"), node.config.inputs, definition, index, node.id)
    if isinstance(node, ToolNode):
        yield from _values((*here, "config", "tool_args"), node.config.tool_args, definition, index, node.id)
    if isinstance(node, FunctionNode):
        yield from _values((*here, "config", "function_args"), node.config.function_args, definition, index, node.id)
    if node.config.for_each and not node.config.parallel:
        yield (*here, "config", "for_each"), "`for_each` needs `parallel: true`", "add `parallel: true`"
    if node.config.parallel:
        arguments = all_inputs(node)
        if node.config.for_each and node.config.for_each not in arguments:
            yield (
                (*here, "config", "for_each"),
                f"{node.config.for_each!r} is not one of the inputs",
                _suggest(node.config.for_each, arguments),
            )
        if not arguments:
            yield (*here, "config", "parallel"), "a parallel node needs an input that is a list", "add it to `inputs`"


def _condition(place: Place, text: str | None, index: dict[str, int]) -> Iterator[Finding]:
    if text is None:
        return
    try:
        expressions.condition(text)
    except ExpressionError as error:
        yield place, error.message, "write CEL, for example classify.output.type == 'text'"
        return
    for name in expressions.condition_steps(text):
        if name not in index and name != "inputs":
            yield place, f"the condition speaks of {name!r}, and there is no such node", _suggest(name, index)


def _values(
    place: Place, value: Any, definition: Definition, index: dict[str, int], owner: str = ""
) -> Iterator[Finding]:
    """References and templates anywhere inside a value."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _values((*place, str(key)), item, definition, index, owner)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _values((*place, number), item, definition, index, owner)
    elif isinstance(value, str):
        reference = expressions.parse_reference(value)
        if reference is not None:
            if reference[0] not in index:
                yield (
                    place,
                    f"{value!r} refers to {reference[0]!r}, and there is no such node",
                    _suggest(reference[0], index),
                )
            elif reference[0] == owner:
                yield place, f"{value!r} refers to the node itself", "refer to a node that runs before"
        elif expressions.is_template(value):
            try:
                names = expressions.template(value).variables
            except ExpressionError as error:
                yield place, error.message, "templates hold {{ expressions }} only"
                return
            declared = set(definition.inputs)
            for name in sorted(names):
                if name == "inputs" or name in index or (not declared) or name in declared:
                    continue
                known = [*declared, *index]
                yield place, f"the template uses {name!r}, which is neither an input nor a node", _suggest(name, known)


def all_inputs(node: ToolNode | FunctionNode | LlmNode) -> dict[str, Any]:
    """A node's arguments: `inputs` together with `tool_args` or `function_args`, which win."""
    extra: dict[str, Any] = {}
    if isinstance(node, ToolNode):
        extra = node.config.tool_args
    elif isinstance(node, FunctionNode):
        extra = node.config.function_args
    return {**node.config.inputs, **extra}


def referenced_steps(value: Any, known: Any) -> Iterator[str]:
    """The steps that a value's references and templates read."""
    if isinstance(value, dict):
        for item in value.values():
            yield from referenced_steps(item, known)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from referenced_steps(item, known)
    elif isinstance(value, str):
        reference = expressions.parse_reference(value)
        if reference is not None:
            yield reference[0]
        elif expressions.is_template(value):
            yield from (name for name in expressions.template(value).variables if name in known)


def dependencies(definition: Definition) -> dict[str, list[tuple[str, str | None]]]:
    """Per node its explicit sources as (source, condition): edges and `depends_on`."""
    sources: dict[str, list[tuple[str, str | None]]] = {node.id: [] for node in definition.dag.nodes}
    for edge in definition.dag.edges:
        sources[edge.target].append((edge.source, edge.condition))
    for node in definition.dag.nodes:
        present = {name for name, _ in sources[node.id]}
        sources[node.id].extend((name, None) for name in node.depends_on if name not in present)
    return sources


def order_dependencies(definition: Definition) -> dict[str, list[str]]:
    """Per node the steps that it reads (inputs, conditions) and that no edge makes a direct source."""
    explicit = dependencies(definition)
    reads: dict[str, list[str]] = {}
    for node in definition.dag.nodes:
        direct = {name for name, _ in explicit[node.id]}
        names = list(referenced_steps(all_inputs(node), explicit))
        for text in (node.condition, node.config.condition, *(c for _, c in explicit[node.id])):
            if text:
                names.extend(expressions.condition_steps(text))
        reads[node.id] = [n for n in dict.fromkeys(names) if n in explicit and n not in direct and n != node.id]
    return reads


def _cycles(definition: Definition) -> Iterator[Finding]:
    explicit = dependencies(definition)
    reads = order_dependencies(definition)
    waiting = {name: {s for s, _ in explicit[name]} | set(reads[name]) for name in explicit}
    targets: dict[str, list[str]] = {name: [] for name in explicit}
    for name, sources in waiting.items():
        for source in sources:
            if source in targets:
                targets[source].append(name)
    counts = {name: len([s for s in sources if s in explicit]) for name, sources in waiting.items()}
    ready = [name for name, count in counts.items() if not count]
    done = 0
    while ready:
        name = ready.pop()
        done += 1
        for target in targets[name]:
            counts[target] -= 1
            if not counts[target]:
                ready.append(target)
    if done == len(explicit):
        return
    walk: list[str] = []
    name = next(n for n, count in counts.items() if count)
    while name not in walk:
        walk.append(name)
        name = next(s for s in sorted(waiting[name]) if counts.get(s))
    loop = [*walk[walk.index(name) :], name]
    loop.reverse()
    yield ("dag", "edges"), f"the nodes form a cycle: {' -> '.join(loop)}", "remove one of these edges or references"
