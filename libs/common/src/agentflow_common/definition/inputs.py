"""The inputs of a workflow: how they are declared, and the check of those that a run is given. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import Field

from agentflow_common.definition.nodes.base import IntOrNone, Model, Number
from agentflow_common.errors import InvalidError, Problem
from agentflow_common.expressions import language as expressions
from agentflow_common.expressions import value_schema
from agentflow_common.json_values import kind_of
from agentflow_common.places import texts


class InputSpec(Model):
    """One input of the workflow. Beside its type it may have rules, in the words of JSON Schema."""

    type: Literal["string", "integer", "number", "boolean", "array", "object", "any"] = "any"
    """The type of the value, in the terms of JSON."""

    required: bool = True
    """False: the input may be left out, and is null then."""

    default: Any = None
    """The value if the input is left out."""

    description: str = ""
    """What the input is, for people."""

    enum: tuple[Any, ...] | None = Field(None, min_length=1, max_length=1_000, examples=[["draft", "final"]])
    """The values that the input may have."""

    minimum: Number | None = None
    """The least number."""

    maximum: Number | None = None
    """The greatest number."""

    exclusive_minimum: Number | None = Field(None, alias="exclusiveMinimum")
    """The number has to be greater than this."""

    exclusive_maximum: Number | None = Field(None, alias="exclusiveMaximum")
    """The number has to be less than this."""

    multiple_of: Number | None = Field(None, alias="multipleOf", gt=0)
    """The number has to be a multiple of this."""

    min_length: IntOrNone = Field(None, alias="minLength", ge=0)
    """The least number of characters of a text."""

    max_length: IntOrNone = Field(None, alias="maxLength", ge=0)
    """The greatest number of characters of a text."""

    pattern: str | None = Field(None, examples=["^[A-Z]{2}[0-9]+$"], max_length=1_000)
    """A regular expression that a part of the text has to match; `^` and `$` stand for its ends. Without
    backreferences and lookarounds: it is matched in linear time."""

    format: str | None = Field(None, examples=["date", "email"])
    """What the text is: date, time, date-time, email, hostname, ipv4, ipv6, uri or uuid."""

    items: dict[str, Any] | None = Field(None, examples=[{"type": "string"}])
    """A JSON Schema of each item of a list."""

    min_items: IntOrNone = Field(None, alias="minItems", ge=0)
    """The least number of items of a list."""

    max_items: IntOrNone = Field(None, alias="maxItems", ge=0)
    """The greatest number of items of a list."""

    unique_items: bool = Field(False, alias="uniqueItems")
    """True: no item of the list may appear twice."""

    json_schema: dict[str, Any] | None = Field(
        None, alias="schema", examples=[{"properties": {"city": {"type": "string"}}, "required": ["city"]}]
    )
    """A JSON Schema of the whole value, for example of an object."""

    def rules(self) -> dict[str, Any]:
        """Returns the rules beside the type and `schema` as a JSON Schema; empty without any."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True, include=_RULES)


_RULES: Final = set(InputSpec.model_fields) - {"type", "required", "default", "description", "json_schema"}


def check_inputs(specs: Mapping[str, InputSpec], inputs: dict[str, Any], *, private: bool = False) -> dict[str, Any]:
    """Returns the inputs with defaults filled in. Raises InvalidError if one is missing, unknown or does not fit."""
    if not specs:
        return inputs
    problems = [
        Problem(f"inputs.{name}", "not an input of this workflow", f"its inputs are {', '.join(specs)}")
        for name in inputs
        if name not in specs
    ]
    full: dict[str, Any] = {}
    for name, spec in specs.items():
        if name in inputs:
            full[name] = inputs[name]
            if inputs[name] is not None or spec.required:
                problems += fitting(spec, inputs[name], f"inputs.{name}", private=private)
        elif spec.default is not None or not spec.required:
            full[name] = spec.default
        else:
            problems.append(Problem(f"inputs.{name}", "missing", f"give a value of type {spec.type}"))
    if problems:
        raise InvalidError.of(problems, "the inputs don't fit the workflow")
    return full


def fitting(spec: InputSpec, value: Any, place: str, *, private: bool = False) -> list[Problem]:
    """Returns the problems of a value: its type, or else what its rules say."""
    if not is_of_type(value, spec.type):
        fix = f'put quotes around it: {place.removeprefix("inputs.")}="..."' if spec.type == "string" else ""
        return [Problem(place, f"must be of type {spec.type}, got {kind_of(value)}", fix)]
    schemas = (spec.rules(), spec.json_schema or {})
    return [
        problem
        for schema in schemas
        if schema
        for problem in value_schema.of(schema).problems(value, place, private=private)
    ]


def problems_before_it_runs(spec: InputSpec, name: str, value: Any) -> list[Problem]:
    """Returns the problems of a value that a node gives to a workflow. Templates and references are not judged."""
    if (value is None and not spec.required) or any(_is_open(text) for _, text in texts(value)):
        return []
    return fitting(spec, value, f"inputs.{name}")


def _is_open(text: str) -> bool:
    return expressions.is_template(text) or expressions.parse_reference(text) is not None


def is_of_type(value: Any, kind: str) -> bool:
    if kind == "any" or value is None:
        return kind == "any"
    if kind in {"integer", "number"}:
        return not isinstance(value, bool) and isinstance(value, int if kind == "integer" else int | float)
    expected: dict[str, type] = {"string": str, "boolean": bool, "array": list, "object": dict}
    return isinstance(value, expected[kind])
