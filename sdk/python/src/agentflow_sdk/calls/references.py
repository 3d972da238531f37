"""References to runs and definitions, in each of the forms that the calls accept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from agentflow_sdk.convert.json_values import to_struct
from agentflow_sdk.errors import InvalidArgumentError


class HasDefinition(Protocol):
    """An object that has a definition, such as the builder `Workflow`."""

    def to_dict(self) -> dict[str, Any]: ...


class HasRunId(Protocol):
    """An object that belongs to a run, such as `Submission`, `Run` or `RunSummary`."""

    @property
    def run_id(self) -> str: ...


DefinitionSource = str | Mapping[str, Any] | HasDefinition
RunRef = str | HasRunId


def run_id_of(run: RunRef) -> str:
    """Returns the id of a run. Raises InvalidArgumentError if it is empty."""
    run_id = run if isinstance(run, str) else run.run_id
    if not run_id:
        raise InvalidArgumentError.at("run_id", "is empty", "pass the id of a run", "no run id")
    return run_id


def is_definition_text(text: str) -> bool:
    """True for a definition in YAML or JSON, which has a line break or a brace; a name has neither."""
    return "\n" in text or text.lstrip().startswith("{")


def definition_fields(definition: DefinitionSource) -> dict[str, Any]:
    """Returns the field of a request that takes a definition, with its value."""
    if isinstance(definition, str):
        return {"definition_text": definition}
    data = definition if isinstance(definition, Mapping) else definition.to_dict()
    return {"definition": to_struct(data, "definition")}
