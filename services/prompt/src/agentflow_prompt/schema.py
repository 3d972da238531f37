"""JSON Schema 2020-12 for prompt inputs: no network, no backtracking regular expressions, bounded
size.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from agentflow_common.errors import Problem
from agentflow_common.expressions import schema_refs
from agentflow_common.places import dotted

SCHEMA_BYTES_MAX: Final = 64 * 1024
PROBLEMS_MAX: Final = 20
_VALUE_KEYWORDS: Final = frozenset({"enum", "const", "default", "examples"})  # data, not schemas


def check(inputs_schema: dict[str, Any]) -> list[Problem]:
    """Returns the problems of a schema. An empty schema is valid."""
    if not inputs_schema:
        return []
    if len(msgspec.json.encode(inputs_schema)) > SCHEMA_BYTES_MAX:
        return [Problem("inputs_schema", f"larger than {SCHEMA_BYTES_MAX:,} bytes", "describe less")]
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator

    try:
        Draft202012Validator.check_schema(inputs_schema)
    except SchemaError as error:
        place = dotted(("inputs_schema", *error.absolute_path))
        return [Problem(place, _short(error.message), "see JSON Schema 2020-12")]
    except RecursionError:
        return [Problem("inputs_schema", "is nested too deeply", "describe less")]
    if inputs_schema.get("type", "object") != "object":
        return [Problem("inputs_schema.type", "the inputs are an object", "write type: object")]
    return _refused(inputs_schema, "inputs_schema") or [
        Problem(dotted(("inputs_schema", *found.place)), f"{found.text[:80]!r} leads nowhere", "define it under $defs")
        for found in schema_refs.references(inputs_schema)
        if not isinstance(found.target, dict | bool)
    ]


def _refused(node: Any, place: str) -> list[Problem]:
    """Returns keywords that could reach the network or run without end on a short text."""
    found: list[Problem] = []
    if isinstance(node, list):
        for number, item in enumerate(node):
            found += _refused(item, f"{place}[{number}]")
    if not isinstance(node, dict):
        return found
    for key, value in node.items():
        here = f"{place}.{key}"
        if key in _VALUE_KEYWORDS:
            continue
        if key in {"$ref", "$dynamicRef"} and isinstance(value, str):
            if not value.startswith("#"):
                found.append(Problem(here, "refers outside the schema", "write '#/$defs/...'"))
        elif key in {"pattern", "patternProperties"} and not place.endswith("properties"):
            found.append(Problem(here, "patterns are not supported", "use enum, const, minLength or maxLength"))
        else:
            found += _refused(value, here)
    return found


def check_inputs(inputs_schema: dict[str, Any], inputs: dict[str, Any]) -> list[Problem]:
    """Returns the places where the inputs do not fit, at most PROBLEMS_MAX.

    No message has an input's value.
    """
    from jsonschema.validators import Draft202012Validator
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    validator = Draft202012Validator(inputs_schema, registry=Registry())  # type: ignore[no-untyped-call, unused-ignore]
    problems: list[Problem] = []
    try:
        for error in validator.iter_errors(inputs):
            problems += _problems(error)
            if len(problems) >= PROBLEMS_MAX:
                break
    except Unresolvable:
        return [Problem("inputs_schema", "has a $ref to nothing", "define it under $defs in a new version")]
    except RecursionError:
        return [Problem("inputs", "are nested too deeply", "flatten them")]
    return sorted(problems[:PROBLEMS_MAX], key=lambda problem: problem.place)


def _problems(error: Any) -> list[Problem]:
    place = dotted(("inputs", *error.absolute_path))
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        return [Problem(f"{place}.{name}", "is missing", "pass it") for name in missing]
    if error.validator == "additionalProperties":
        return [Problem(place, "has inputs that the prompt does not know", "remove them or correct their names")]
    wanted = _short(str(error.validator_value))
    return [
        Problem(place, f"does not fit {error.validator}: {wanted}", f"pass a value with {error.validator} {wanted}")
    ]


def _short(text: str) -> str:
    return text if len(text) <= 200 else text[:197] + "..."
