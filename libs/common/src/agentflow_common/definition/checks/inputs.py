"""Checks of the inputs that a workflow declares: their rules fit their types, and their defaults fit both. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from agentflow_common.definition.inputs import InputSpec, fitting, is_of_type
from agentflow_common.definition.model import Definition
from agentflow_common.expressions import value_schema
from agentflow_common.expressions.schema_dialect import SchemaFaultError
from agentflow_common.json_values import kind_of
from agentflow_common.places import Finding, Place

_NUMBERS: Final = ("integer", "number", "any")
_TYPES_OF: Final = {  # the types that a rule is about
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), _NUMBERS),
    **dict.fromkeys(("minLength", "maxLength", "pattern", "format"), ("string", "any")),
    **dict.fromkeys(("items", "minItems", "maxItems", "uniqueItems"), ("array", "any")),
}
_PAIRS: Final = (("minimum", "maximum"), ("minLength", "maxLength"), ("minItems", "maxItems"))


def input_findings(definition: Definition) -> Iterator[Finding]:
    for name, spec in definition.inputs.items():
        here: Place = ("inputs", name)
        wrong = list(_rules(spec, here))
        yield from wrong
        if spec.default is None:
            continue
        if not is_of_type(spec.default, spec.type):
            text = f"the default is {kind_of(spec.default)}, and the input is of type {spec.type}"
            yield (*here, "default"), text, "change one of them"
        elif not wrong:
            for problem in fitting(spec, spec.default, "the default"):
                yield (*here, "default"), f"{problem.place} {problem.message}", problem.fix or "change one of them"


def _rules(spec: InputSpec, here: Place) -> Iterator[Finding]:
    if spec.json_schema is not None and (fault := _fault(spec.json_schema)):
        yield (*here, "schema", *fault.place), fault.message, fault.fix
    rules = spec.rules()
    for rule in rules:
        types = _TYPES_OF.get(rule, (spec.type,))
        if spec.type not in types:
            fix = f"remove it, or use `type: {types[0]}`"
            yield (*here, rule), f"`{rule}` says nothing about an input of type {spec.type}", fix
    for least, most in _PAIRS:
        if least in rules and most in rules and rules[least] > rules[most]:
            yield (*here, least), f"`{least}` is greater than `{most}`: no value fits", "change one of them"
    for number, value in enumerate(rules.get("enum", ())):
        if not is_of_type(value, spec.type) and not (value is None and not spec.required):
            text = f"it is {kind_of(value)}, and the input is of type {spec.type}"
            yield (*here, "enum", number), text, "change one of them"
    if fault := _fault(rules):
        named = ("pattern", "format", "items")
        alone = [rule for rule in named if rule in rules and _fault({rule: rules[rule]})]
        yield (*here, *(fault.place or alone[:1])), fault.message, fault.fix


def _fault(schema: Mapping[str, Any]) -> SchemaFaultError | None:
    """Returns what is wrong with a schema, or None."""
    try:
        value_schema.of(schema)
    except SchemaFaultError as error:
        return error
    return None
