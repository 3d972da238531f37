"""Arguments that a step takes from the steps before it, or from the run's inputs, because its author gave none. Pure.

A definition is completed when it is registered or submitted, with references and templates that an author could have
written. A run is pinned to the completed definition, so nothing else has to know of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from agentflow_common.definition.dependencies import dependencies
from agentflow_common.definition.model import Definition
from agentflow_common.definition.nodes.calls import arguments, called_name, prompt_of, works
from agentflow_common.definition.nodes.types import AnyNode, FunctionNode, LlmNode, ToolNode
from agentflow_common.places import Finding


class Needs(msgspec.Struct, frozen=True):
    """The arguments that a tool, a function or a prompt has to be given."""

    required: tuple[str, ...] = ()  # the names of the arguments
    branches: str = ""  # the argument that takes the outputs of several steps, by their ids; "": it has none
    aliases: Mapping[str, str] = {}  # other names of arguments, each with the argument's own


def called(definition: Definition) -> set[tuple[str, str]]:
    """Returns (type, name) of what the nodes without `inputs` call; their arguments may have to be completed."""
    return {(node.type, called_name(works(node)[0])) for node in _open_nodes(definition)}


def completed(definition: Definition, needs: Mapping[tuple[str, str], Needs]) -> Definition:
    """Returns the definition with the `inputs` that its nodes need and their author left out.

    needs: of what the nodes call, by (type, name). A node that can't be completed stays as it is.
    """
    filled: dict[str, AnyNode] = {}
    sources = dependencies(definition)
    late: dict[str, list[str]] = {}  # by node: those before it that failed if they lead there, so they have no output
    for node in definition.dag.nodes:
        if node.policy.on_timeout is not None:
            late.setdefault(node.policy.on_timeout, []).append(node.id)
    for node in _open_nodes(definition):
        need = needs.get((node.type, called_name(works(node)[0])))
        before = [name for name, _ in sources[node.id] if name not in late.get(node.id, ())]
        if need is not None and (inputs := _inputs(definition, node, need, before)):
            filled[node.id] = node.model_copy(update={"config": node.config.model_copy(update={"inputs": inputs})})
    if not filled:
        return definition
    nodes = tuple(filled.get(node.id, node) for node in definition.dag.nodes)
    return definition.model_copy(update={"dag": definition.dag.model_copy(update={"nodes": nodes})})


def without_items(definition: Definition) -> Iterator[Finding]:
    """Yields parallel nodes that got no input, so that no list is known."""
    for number, node in enumerate(definition.dag.nodes):
        if getattr(node.config, "parallel", False) and not arguments(works(node)[0]):
            place = ("dag", "nodes", number, "config", "parallel")
            yield place, "no input is known that gets an item of the list", "name it: `inputs: {item: before.output}`"


def _open_nodes(definition: Definition) -> Iterator[ToolNode | FunctionNode | LlmNode]:
    if definition.graph is not None:
        return
    for node in definition.dag.nodes:
        if isinstance(node, ToolNode | FunctionNode | LlmNode) and not node.config.inputs and not prompt_of(node)[0]:
            yield node


def _inputs(definition: Definition, node: AnyNode, need: Needs, before: list[str]) -> dict[str, Any]:
    given = {need.aliases.get(name, name) for name in arguments(works(node)[0])}
    missing = [name for name in need.required if name not in given]
    if getattr(node.config, "parallel", False):
        return {missing[0]: f"{before[0]}.output"} if len(missing) == len(before) == 1 else {}
    if not missing and need.branches and not given and before:
        return {need.branches: {name: f"{name}.output" for name in before}}
    values = {name: _value(definition, name, before) for name in missing}
    return {name: value for name, value in values.items() if value}


def _value(definition: Definition, name: str, before: list[str]) -> str:
    """Returns where an argument comes from: the run's input of its name, or that field of the step before."""
    if not name.isidentifier():
        return ""
    if name in definition.inputs:
        return f"{{{{inputs.{name}}}}}"
    field = f"{before[0]}.output.{name}" if len(before) == 1 else ""
    if definition.inputs:
        return field
    if not field or "-" in field:  # a template would read the `-` as a minus
        return f"{{{{inputs.{name}}}}}"
    return f"{{{{inputs.{name} if '{name}' in inputs else {field}}}}}"
