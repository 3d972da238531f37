"""The calls of a node, and the values that it reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from agentflow_common.definition.nodes.base import Model
from agentflow_common.definition.nodes.configs import MapBody, MapWork
from agentflow_common.definition.nodes.types import (
    AnyNode,
    ApprovalNode,
    ContinueNode,
    EndNode,
    FunctionNode,
    LlmNode,
    LoopNode,
    MapNode,
    SignalNode,
    SubworkflowNode,
    ToolNode,
    WaitNode,
)
from agentflow_common.events import PROMPT

OUTCOME: Final = "outcome"  # how the run ends, for nodes with `finally: true`
NAMED_BY: Final = {"tool": "tool_name", "function": "function_name", "llm": "prompt_ref", "subworkflow": "workflow"}


class Work(Model):
    """A call that a node makes: its own, its body's, or its compensation's."""

    type: str
    config: Any
    path: tuple[str, ...]  # the place of `config` inside the node


def works(node: AnyNode) -> list[Work]:
    """Returns the node's own work or its body's, then its compensation's."""
    found: list[Work] = []
    if isinstance(node, MapNode | LoopNode):
        body = node.config.body
        path: tuple[str, ...] = ("config", "body", "config")
        while isinstance(body, MapBody):
            body, path = body.config.body, (*path, "body", "config")
        found.append(Work(type=body.type, config=body.config, path=path))
    elif isinstance(node, ToolNode | FunctionNode | LlmNode | SubworkflowNode):
        found.append(Work(type=node.type, config=node.config, path=("config",)))
    undo = node.compensate_with
    if undo is not None:
        found.append(Work(type=undo.type, config=undo.config, path=("compensate_with", "config")))
    return found


def called_name(work: Work) -> str:
    """Returns the name of what is called; an empty text for a model that is asked with a text of the definition."""
    return getattr(work.config, NAMED_BY[work.type]) or ""


def prompt_of(node: AnyNode) -> tuple[str, frozenset[str]]:
    """Returns the text with which the node, or its body, asks a model, and the inputs that it may read by name.

    The text is empty for other nodes, and for a registered prompt.
    """
    found = works(node)
    text = getattr(found[0].config, PROMPT, None) if found else None
    return (text, frozenset(found[0].config.inputs)) if text else ("", frozenset())


def all_templates(node: AnyNode) -> dict[str, Any]:
    """Returns the values of the node by name, and the text of its prompt."""
    text, _ = prompt_of(node)
    return {**all_inputs(node), PROMPT: text} if text else all_inputs(node)


def arguments(work: Work) -> dict[str, Any]:
    """Returns a work's arguments: its `inputs`, overridden by `tool_args` or `function_args`."""
    config = work.config
    extra: dict[str, Any] = {}
    if work.type == "tool":
        extra = config.tool_args
    elif work.type == "function":
        extra = config.function_args
    return {**config.inputs, **extra}


def all_inputs(node: AnyNode) -> dict[str, Any]:
    """Returns the values, by name, that are resolved when the node begins. A compensation's are resolved later.

    Those of a body are named `body.NAME`, because the node itself may have a field of the same name, such as `zip`.
    A body that is a map has those of its own body as `body.body.NAME`.
    """
    config: Any = node.config
    if isinstance(node, MapNode | LoopNode):
        prefix = ""
        found: dict[str, Any] = {}
        for level in map_levels(node):
            found |= {prefix + name: value for name, value in map_items(level).items()}
            prefix += "body."
        prefix = prefix or "body."
        return found | {prefix + name: value for name, value in arguments(works(node)[0]).items()}
    if isinstance(node, WaitNode):
        return {name: value for name in ("duration", "until") if (value := getattr(config, name)) is not None}
    if isinstance(node, ApprovalNode):
        return {"message": config.message, "approvers": list(config.approvers), "escalate_to": list(config.escalate_to)}
    if isinstance(node, SignalNode | ContinueNode):
        return dict(getattr(config, "inputs", {}))
    if isinstance(node, EndNode):
        return {"error.message": config.error.message} | ({} if config.output is None else {"output": config.output})
    return arguments(works(node)[0])


def given_lanes(node: AnyNode) -> list[str]:
    """Returns the keys of the run lanes that the node gives the runs which it starts."""
    lanes = [work.config.run_lane for work in works(node) if work.type == "subworkflow"]
    return [lane.key for lane in lanes if lane is not None]


def map_levels(node: AnyNode) -> Iterator[MapWork]:
    """Yields the configuration of a map, then that of the map in it, and so on; of another node, nothing."""
    if isinstance(node, MapNode):
        level: MapWork = node.config
        yield level
        while isinstance(level.body, MapBody):
            level = level.body.config
            yield level


def map_items(config: MapWork) -> dict[str, Any]:
    """Returns the value that gives a map its items, by the name of its field: `over`, `zip` or `range`."""
    if config.zip is not None:
        return {"zip": config.zip}
    return {"over": config.over} if config.range is None else {"range": config.range.model_dump()}


def local_names(node: AnyNode) -> frozenset[str]:
    """Returns the names that have a meaning only inside this node's templates."""
    if isinstance(node, MapNode):
        return names_at_end(node).union(*({level.item, level.index} for level in map_levels(node)))
    if isinstance(node, LoopNode):
        return frozenset({"iteration", "previous"}) | names_at_end(node)
    return names_at_end(node)


def names_at_end(node: AnyNode) -> frozenset[str]:
    """Returns the names that a node with `finally: true` may use everywhere in it, also in its condition."""
    return frozenset({OUTCOME}) if node.at_end else frozenset()
