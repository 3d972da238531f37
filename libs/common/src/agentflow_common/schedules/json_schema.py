"""JSON Schema (draft 2020-12) of schedules, made from the models, for editors and other programs."""

from __future__ import annotations

from pydantic import AliasChoices, BaseModel

from agentflow_common.definition.json_schema import DIALECT, Schema, of_model
from agentflow_common.schedules import sources
from agentflow_common.schedules.spec import Spec


def schedule_schema() -> Schema:
    """Returns the schema of a schedule. It does not know which workflows and inputs exist."""
    model = of_model(Spec)
    defs = model.pop("$defs")
    model["properties"] = _with_other_names(Spec, model["properties"])
    for part in (sources.Files, sources.Rows):
        defs[part.__name__]["properties"] = _with_other_names(part, defs[part.__name__]["properties"])
    return {
        "$schema": DIALECT,
        "title": "AgentFlow schedule",
        **model,
        "anyOf": [{"required": ["cron"]}, {"required": ["trigger"]}],
        "$defs": defs,
    }


def _with_other_names(model: type[BaseModel], properties: Schema) -> Schema:
    """Returns the fields. Before a field that has another name (`jitter` for `jitter_ms`) it adds one of that name."""
    found: Schema = {}
    for name, value in properties.items():
        alias = model.model_fields[name].validation_alias
        others = [choice for choice in alias.choices if choice != name] if isinstance(alias, AliasChoices) else []
        found |= {str(other): value for other in others}
        found[name] = {**value, "description": f"The same as `{others[0]}`."} if others else value
    return found
