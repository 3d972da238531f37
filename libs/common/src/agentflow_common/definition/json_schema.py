"""JSON Schema (draft 2020-12) of workflow definitions, made from the models, for editors and other programs.

The models describe the form with `dag:`. The graph style (graph_style.py) is another way to write the same, so its
form is put together here from the same fields. The schema knows what each field may hold. It does not know which nodes,
inputs and tools exist: `agentctl workflow validate` checks these.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core.core_schema import ModelSchema

from agentflow_common.definition.graph_style import LLM_FIELDS, OTHERS, SHORT, WORKS
from agentflow_common.definition.model import Definition
from agentflow_common.definition.nodes.types import BODY_TYPES, ITEM_BODY_TYPES, NODE_TYPES, UNDO_TYPES
from agentflow_common.field_texts import field_texts

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_CHOICES: Final = {  # the unions of models that `type` tells apart
    frozenset(NODE_TYPES): "TypedNode",
    frozenset(BODY_TYPES): "Body",
    frozenset(ITEM_BODY_TYPES): "ItemBody",
    frozenset(UNDO_TYPES): "Compensation",
}
_NESTED: Final = ("items", "additionalProperties")
_MANY: Final = ("anyOf", "oneOf", "allOf")
_EMPTY: Final = ("approval", "continue_as_new", "end")  # these need no configuration

Schema = dict[str, Any]


def text(schema: Schema) -> str:
    """Returns the schema as it is written to a file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def workflow_schema() -> Schema:
    """Returns the schema of a workflow definition, in either style."""
    model = of_model(Definition)
    defs: Schema = model.pop("$defs")
    for union, kinds in list(_unions(defs)):
        defs[_CHOICES[frozenset(kinds)]] = _choice(kinds, defs)
        for name in ("oneOf", "discriminator"):
            del union[name]
        union["$ref"] = f"#/$defs/{_CHOICES[frozenset(kinds)]}"
    for kind in NODE_TYPES:
        required = _of_type(defs, kind)["required"]
        required.remove("id")  # in the graph style `name` may be given instead
    defs["Node"] = {
        "description": "One step of the workflow.",
        "properties": {"id": _of_type(defs, "tool")["properties"]["id"]},
        "required": ["id"],
        "$ref": "#/$defs/TypedNode",
    }
    defs["Dag"]["properties"]["nodes"]["items"] = {"$ref": "#/$defs/Node"}
    defs["Workflow"] = model
    defs["GraphNode"] = _graph_node(defs)
    defs["GraphWorkflow"] = _graph_workflow(defs)
    has_graph_style = {"anyOf": [{"required": ["nodes"]}, {"required": ["entry_point"]}]}
    return {
        "$schema": DIALECT,
        "title": "AgentFlow workflow",
        "description": model["description"],
        "type": "object",
        "if": {"anyOf": [{"required": ["dag"]}, {"required": ["graph"]}, {"not": has_graph_style}]},
        "then": {"$ref": "#/$defs/Workflow"},
        "else": {"$ref": "#/$defs/GraphWorkflow"},
        "$defs": dict(sorted(defs.items())),
    }


class _WithTexts(GenerateJsonSchema):
    """Describes each field by the text below it."""

    def model_schema(self, schema: ModelSchema) -> Schema:
        found = super().model_schema(schema)
        model: type[BaseModel] = schema["cls"]
        for name, meaning in field_texts(model).items():
            key = model.model_fields[name].alias or name
            found["properties"][key] = self.handle_ref_overrides({**found["properties"][key], "description": meaning})
        return found


def of_model(model: type[BaseModel]) -> Schema:
    """Returns the schema of a model, with the texts below its fields."""
    return _tidy(model.model_json_schema(schema_generator=_WithTexts))


def _tidy(schema: Schema) -> Schema:
    """Returns a schema of pydantic without titles, with short forms for null, and with plain defaults only."""
    found = {key: value for key, value in schema.items() if key != "title"}
    if "description" in found and isinstance(found["description"], str):
        found["description"] = " ".join(found["description"].split())
    for name in ("properties", "$defs"):
        if name in found:
            found[name] = {key: _tidy(value) for key, value in found[name].items()}
    for name in _NESTED:
        if isinstance(found.get(name), dict):
            found[name] = _tidy(found[name])
    for name in _MANY:
        if name in found:
            found[name] = [_tidy(item) for item in found[name]]
    if found.get("default") is None or isinstance(found["default"], dict | list):
        found.pop("default", None)
    return _nullable(found)


def _nullable(schema: Schema) -> Schema:
    """Brings `anyOf: [{type: integer, ...}, {type: null}]` to `type: [integer, null]`."""
    choices = schema.get("anyOf")
    if choices is None or {"type": "null"} not in choices:
        return schema
    others = [choice for choice in choices if choice != {"type": "null"}]
    if len(others) == 1 and "anyOf" in others[0]:
        return {**schema, "anyOf": [*others[0]["anyOf"], {"type": "null"}]}
    if len(others) != 1 or "type" not in others[0]:
        return schema
    other = dict(others[0])
    if "enum" in other:
        other["enum"] = [*other["enum"], None]
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**other, "type": [other["type"], "null"], **rest}


def _unions(schema: Any) -> Iterator[tuple[Schema, dict[str, str]]]:
    """Yields each union of models, with the models by their type."""
    if isinstance(schema, dict):
        for value in schema.values():
            yield from _unions(value)
        if "discriminator" in schema:
            yield schema, schema["discriminator"]["mapping"]
    elif isinstance(schema, list):
        for item in schema:
            yield from _unions(item)


def _choice(kinds: Mapping[str, str], defs: Schema) -> Schema:
    """Returns the schema of an object whose `type` says which other fields it has."""
    ordered = sorted(kinds, key=NODE_TYPES.index)
    meanings = {kind: defs[_name(kinds[kind])]["properties"]["type"]["description"] for kind in ordered}
    listed = "; ".join(f"`{kind}`: {meaning[0].lower()}{meaning[1:].rstrip('.')}" for kind, meaning in meanings.items())
    return {
        "type": "object",
        "properties": {"type": {"enum": ordered, "description": f"{listed}."}},
        "required": ["type"],
        "allOf": [
            {"if": {"properties": {"type": {"const": kind}}, "required": ["type"]}, "then": {"$ref": kinds[kind]}}
            for kind in ordered
        ],
    }


def _name(reference: str) -> str:
    return reference.rpartition("/")[2]


def _of_type(defs: Schema, kind: str) -> Schema:
    """Returns the schema of the nodes of a type."""
    (reference,) = [
        case["then"]["$ref"] for case in defs["TypedNode"]["allOf"] if case["if"]["properties"]["type"]["const"] == kind
    ]
    found: Schema = defs[_name(reference)]
    return found


def _config(defs: Schema, kind: str) -> str:
    """Returns the name of the model of a node's configuration; the graph style names it by the type of the node."""
    return _name(_of_type(defs, kind)["properties"]["config"]["$ref"])


# --- the graph style ---


def _graph_node(defs: Schema) -> Schema:
    named = {"anyOf": [{"required": ["name"]}, {"required": ["id"]}]}
    return {
        "description": "One node of the graph. It does one thing: a call with `args`, or one of the other kinds.",
        "type": "object",
        "if": {"required": ["type"]},
        "then": {"$ref": "#/$defs/TypedNode", **named},
        "else": {**_short_node(defs), **named},
    }


def _short_node(defs: Schema) -> Schema:
    """Returns the schema of `{name: review, function: review_code, args: {...}}` and its like."""
    own = dict(_of_type(defs, "tool")["properties"])
    for name in ("type", "config"):
        del own[name]
    configs = {kind: defs[_config(defs, node_type)]["properties"] for kind, (node_type, _, _) in WORKS.items()}
    calls = {kind: {**configs[kind][field], "description": _CALLS[kind]} for kind, (_, field, _) in WORKS.items()}
    text = {key: value for key, value in configs["prompt"]["prompt"].items() if key != "not"}  # it may be a name here
    calls["prompt"] = {**text, "type": "string", "description": _CALLS["prompt"]}
    extra = {name: configs["prompt"][name] for name in ("parallel", "for_each", *LLM_FIELDS)}
    extra["reveal"] = configs["tool"]["reveal"]
    extra |= {name: configs["workflow"][name] for name in ("detached", "run_lane")}
    args = {
        "type": "object",
        "description": "The arguments, by name. Without `args` the node is given the shared state.",
        "examples": [{"code": "state.code"}],
    }
    kinds = [*WORKS, *OTHERS]
    with_call = {"anyOf": [{"required": [kind]} for kind in WORKS]}
    return {
        "properties": {
            "name": {**own["id"], "description": "The node's name: edges and conditions refer to it."},
            **calls,
            "args": args,
            **{kind: _other(defs, kind) for kind in OTHERS},
            **extra,
            **{name: value for name, value in own.items() if name != "name"},
        },
        "oneOf": [{"required": [kind]} for kind in kinds],
        "dependentRequired": {
            **{name: ["prompt"] for name in LLM_FIELDS},
            "reveal": ["tool"],
            "detached": ["workflow"],
            "run_lane": ["workflow"],
        },
        "dependentSchemas": dict.fromkeys(("args", "parallel", "for_each"), with_call),
        "additionalProperties": False,
    }


_CALLS: Final = {
    "tool": "The tool that the node calls. `agentctl tools list` shows what the workers offer.",
    "function": "The function that the node calls. `agentctl tools list` shows what the workers offer.",
    "prompt": "The prompt with which the node asks a model: `name`, `name@version`, `name@label`, or its text.",
    "workflow": "The workflow that the node runs: `name`, `name@version` or `name@label`.",
}


def _other(defs: Schema, kind: str) -> Schema:
    """Returns the schema of a node's configuration, or of the lone value that may stand for it."""
    model = _config(defs, kind)
    config = {"$ref": f"#/$defs/{model}"}
    description = defs[model]["description"]
    choices: list[Schema] = [config]
    if kind in SHORT:
        field = {**defs[model]["properties"][SHORT[kind]]}
        choices += [choice for choice in field.get("anyOf", [field]) if choice != {"type": "null"}]
    if kind in _EMPTY:
        choices.append({"type": "null"})
    return {"description": description, **(config if len(choices) == 1 else {"anyOf": choices})}


def _graph_workflow(defs: Schema) -> Schema:
    properties = {name: value for name, value in defs["Workflow"]["properties"].items() if name not in {"dag", "graph"}}
    graph, dag = defs["Graph"]["properties"], defs["Dag"]["properties"]
    bound = graph["max_supersteps"]
    return {
        "description": "A workflow whose nodes share a state and run in supersteps.",
        "type": "object",
        "properties": {
            **properties,
            "entry_point": graph["entry_point"],
            "state": graph["state"],
            "nodes": {**dag["nodes"], "items": {"$ref": "#/$defs/GraphNode"}},
            "edges": dag["edges"],
            "max_supersteps": bound,
            "max_iterations": {**bound, "description": "The same as `max_supersteps`. Give one of them."},
        },
        "required": ["name", "entry_point", "nodes"],
        "not": {"required": ["max_supersteps", "max_iterations"]},
        "additionalProperties": False,
    }
