"""Hints for a field that is unknown at its place: a typo, another name, or another place is meant.

Pure: the schema's models say which fields exist at each level. See definition/model.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, get_args

from pydantic import BaseModel

from agentflow_common import hints
from agentflow_common.definition.nodes.configs import ItemBody
from agentflow_common.definition.nodes.policy import SHORT, Policy, Retry
from agentflow_common.definition.nodes.types import NODE_TYPES, AnyNode, ToolNode
from agentflow_common.places import Place

# Our fields, each with other engines' names for it, and short ones. A name of several fields means the first of them.
_OTHER_WORDS: Final = {
    field: words.split()
    for field, words in {
        "timeout_ms": "timeout timeout_s",
        "total_timeout_ms": "total_timeout",
        "heartbeat_ms": "heartbeat",
        "sla_ms": "sla",
        "deadline_ms": "deadline",
        "expires_ms": "expires",
        "escalate_ms": "escalate",
        "delay_ms": "delay",
        "initial_ms": "delay initial",
        "max_ms": "max",
        "prompt": "template text message",
        "tool_name": "tool",
        "function_name": "function",
        "workflow": "subworkflow",
        "tool_args": "args arguments params parameters",
        "function_args": "args arguments params parameters",
        "inputs": "args arguments params parameters input with",
        "args": "tool_args function_args inputs config",
        "outputs": "output",
        "retry": "retries max_retries",
        "max_attempts": "retries attempts max_retries",
        "condition": "when if",
        "depends_on": "needs depends dependencies after",
        "compensate_with": "compensate compensation undo",
        "over": "items foreach with_items",
        "zip": "lists",
        "range": "with_sequence",
        "batches": "batch batch_size",
        "item_condition": "when filter",
        "for_each": "foreach",
        "concurrency": "max_concurrency parallelism",
        "nodes": "steps tasks",
        "from": "source",
        "to": "target",
        "duration": "timer sleep",
        "on_failure": "on_error continue_on_error",
        "lane": "queue",
        "required": "required_approvals",
        "enum": "choices options one_of allowed",
        "minimum": "min gte ge",
        "maximum": "max lte le",
        "pattern": "regex match",
        "schema": "properties additionalProperties json_schema",
    }.items()
}
_POLICY: Final = frozenset(Policy.model_fields)
_RETRY: Final = frozenset((*Retry.model_fields, *SHORT))
_GRAPH_STYLE: Final = frozenset(
    {"name", "tool", "function", "prompt", "workflow", "args", "parallel", "for_each", "reveal", "detached", "run_lane",
     "output", "max_output_tokens", "temperature", "model", *NODE_TYPES[4:]}
)  # fmt: skip


def names_of(model: type[BaseModel]) -> frozenset[str]:
    """Returns the fields of a model as an author writes them."""
    return frozenset(field.alias or name for name, field in model.model_fields.items())


def _by_type(union: Any) -> dict[str, type[BaseModel]]:
    return {get_args(model.model_fields["type"].annotation)[0]: model for model in get_args(union)}


_NODES: Final = _by_type(AnyNode)
_BODIES: Final = _by_type(get_args(ItemBody)[0])


def _config_of(models: Mapping[str, type[BaseModel]], kind: Any) -> frozenset[str]:
    model = models.get(kind) if isinstance(kind, str) else None
    annotation: Any = model.model_fields["config"].annotation if model is not None else None
    return names_of(annotation) if isinstance(annotation, type) else frozenset()


def _levels(node: Mapping[str, Any], graph_style: bool) -> Iterator[tuple[Place, frozenset[str]]]:
    """Yields the levels of a node: the path below the node, and the fields that may stand there."""
    own = names_of(ToolNode)
    yield (), (own - {"id", "type", "config"}) | _GRAPH_STYLE if graph_style else own
    yield ("config",), _config_of(_NODES, node.get("type"))
    yield ("policy",), _POLICY
    yield ("policy", "retry"), _RETRY
    place: Place = ("config",)
    config = node.get("config")
    while isinstance(config, Mapping) and isinstance(body := config.get("body"), Mapping):
        yield (*place, "body"), frozenset({"type", "config"})
        place, config = (*place, "body", "config"), body.get("config")
        yield place, _config_of(_BODIES, body.get("type"))
    undo = node.get("compensate_with")
    if isinstance(undo, Mapping):
        yield ("compensate_with",), frozenset({"type", "config", "retry"})
        yield ("compensate_with", "config"), _config_of(_BODIES, undo.get("type"))
        yield ("compensate_with", "retry"), _RETRY


def unknown_field(
    path: Place, given: Any, node: Any, outside: Mapping[Place, frozenset[str]], graph_style: bool
) -> str:
    """Returns how to fix an unknown field.

    path: where it stands, in the schema's shape.
    given: its value.
    node: the node that holds it, None outside of nodes.
    outside: the fields of each level outside of nodes, by path with `*` for names and numbers.
    graph_style: the author wrote nodes as `{name: a, tool: t}`.
    """
    name = str(path[-1])
    if node is None:
        shaped = ("*" if isinstance(part, int) or path[:i] == ("inputs",) else part for i, part in enumerate(path))
        here: Place = tuple(shaped)[:-1]
        levels = dict(outside)
    else:
        here, levels = path[3:-1], dict(_levels(node, graph_style))
    own = levels.pop(here, frozenset())
    if found := _meant(name, own):
        return f"did you mean {found!r}?{_hint(found, name, given)}"
    if graph_style:
        levels.pop(("config",), None)  # the author wrote none
    for typos in (False, True):
        for place, fields in levels.items():
            if found := _meant(name, fields, typos=typos):
                return _elsewhere(found, name, given, place, "node" if node is not None else "definition")
    return f"remove it; the fields here are {', '.join(sorted(own))}" if own else "remove it, or check its indentation"


def _meant(name: str, fields: frozenset[str], *, typos: bool = True) -> str:
    """Returns the field that is meant, if it is one of these."""
    if name in fields:
        return name
    if other := next((field for field, words in _OTHER_WORDS.items() if name in words and field in fields), ""):
        return other
    return next(iter(hints.near(name, sorted(fields), cutoff=0.75)), "") if typos else ""


def _elsewhere(found: str, name: str, given: Any, place: Place, whole: str) -> str:
    as_other = "" if found == name else f", as `{found}`"
    if not place:
        return f"it stands in the {whole} itself{as_other}"
    text = _written(found, given)
    nested = text
    for part in reversed(place):
        nested = f"{part}: {{{nested}}}"
    if "*" in place:
        return f"it stands in `{'.'.join(map(str, place[:-1]))}`{as_other}"
    return f"it stands in `{'.'.join(map(str, place))}`{as_other}: write {nested}"


def _written(field: str, given: Any) -> str:
    """Returns `field: value`, or `field: ...` if the value is long."""
    plain = isinstance(given, str | int | float) and not isinstance(given, bool)
    if field.endswith("_ms") and plain and not isinstance(given, str):
        return f"{field}: {given}s"  # without a unit in the name, other engines count in seconds
    if field == "retry":
        return f"retry: {{max_attempts: {given if plain and isinstance(given, int) else 3}}}"
    return f"{field}: {given}" if plain and len(str(given)) <= 40 else f"{field}: ..."


def _hint(found: str, name: str, given: Any) -> str:
    if found == "retry" and not isinstance(given, dict):
        return f" Write {_written(found, given)}"
    if found.endswith("_ms") and not name.endswith("_ms"):
        return " It takes milliseconds, or a text such as 30s"
    return ""


def shape(path: Place, given: Any, kind: Any) -> str:
    """Returns an example of a mapping at this place. kind: the type of the node around it, or None."""
    name = path[-1]
    if name == "retry":
        attempts = given if isinstance(given, int) and not isinstance(given, bool) else 3
        return f"write retry: {{max_attempts: {attempts}}}"
    if "edges" in path:
        return "write {from: a, to: b}"
    if path[0] == "inputs":
        return "write {type: string}" if len(path) > 1 else "write each as `name: {type: string}`"
    if path[0] == "outputs":
        return "write each as `name: node.output`"
    return {
        "body": "write {type: function, config: ...}",
        "compensate_with": "write {type: function, config: ...}",
        "policy": "write {timeout_ms: 30s, retry: {max_attempts: 3}}",
        "dag": "write `nodes:` and `edges:` below it",
        "config": f"write {{{_FIRST[kind]}: ...}}" if kind in _FIRST else "",
    }.get(str(name), "")


_FIRST: Final = {
    "tool": "tool_name", "function": "function_name", "llm": "prompt", "subworkflow": "workflow", "map": "over",
    "loop": "body", "wait": "duration", "signal": "signal", "approval": "message", "continue_as_new": "inputs",
    "end": "output",
}  # fmt: skip
