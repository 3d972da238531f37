"""A schema of one value, and the problems of values that do not fit it, in plain words. Pure."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from agentflow_common import hints
from agentflow_common.errors import Problem
from agentflow_common.expressions import schema_dialect
from agentflow_common.expressions.formats import FORMATS
from agentflow_common.expressions.schema_dialect import SchemaFaultError
from agentflow_common.json_values import kind_of
from agentflow_common.places import dotted

PROBLEMS_MAX: Final = 20  # of one value
_DATA: Final = frozenset({"enum", "const", "default", "examples"})  # keywords whose values are no schemas


class ValueSchema:
    """A compiled schema. Raises SchemaFaultError if it is not one, or has parts that the engine refuses."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._validator = schema_dialect.compiled(schema, formats=True)
        for name in _formats(schema):
            if name not in FORMATS:
                fix = hints.did_you_mean(name, FORMATS, f"use {', '.join(FORMATS)}, or `pattern`")
                raise SchemaFaultError(f"the format {name[:40]!r} is not known", fix)

    def problems(self, value: Any, place: str, *, private: bool = False) -> list[Problem]:
        """Returns the places where a value does not fit, at most PROBLEMS_MAX. No text has the value.

        place: of the value. private: vault tokens may stand in it.
        """
        found: list[Problem] = []
        try:
            with schema_dialect.evaluation(private=private):
                for error in self._validator.iter_errors(value):
                    found += _problems(error, place)
                    if len(found) >= PROBLEMS_MAX:
                        break
        except SchemaFaultError as error:
            return [Problem(place, error.message, error.fix)]
        return found[:PROBLEMS_MAX]


@functools.lru_cache(maxsize=1024)
def cached(encoded: bytes) -> ValueSchema:
    """Returns the schema of a JSON text, compiled once. Raises SchemaFaultError."""
    return ValueSchema(msgspec.json.decode(encoded))


def of(schema: Mapping[str, Any]) -> ValueSchema:
    """Returns the compiled schema. Raises SchemaFaultError."""
    return cached(msgspec.json.encode(schema, order="sorted"))


def _formats(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        for key, value in schema.items():
            if key == "format" and isinstance(value, str):
                yield value
            elif key not in _DATA:
                yield from _formats(value)
    elif isinstance(schema, list | tuple):
        for item in schema:
            yield from _formats(item)


def _problems(error: Any, place: str) -> Iterator[Problem]:
    """Yields the problems of one error of jsonschema."""
    path = dotted(tuple(error.absolute_path))
    here = f"{place}{'' if not path or path.startswith('[') else '.'}{path}"
    rule, wanted, value = error.validator, error.validator_value, error.instance
    if rule == "required":
        for name in (name for name in wanted if name not in value):
            yield Problem(f"{here}.{name}", "missing", "give it")
    elif rule in _WORDS:
        yield Problem(here, *_WORDS[rule](wanted, value))
    elif rule is None:  # the schema `false`
        yield Problem(here, "nothing may stand here", "remove it")
    else:
        yield Problem(here, f"must fit {rule}: {_json(wanted)}, and it is {kind_of(value)}", "")


def _json(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 120 else text[:117] + "..."


def _bound(words: str) -> Callable[[Any, Any], tuple[str, str]]:
    return lambda wanted, _: (f"must be {words} {_json(wanted)}", "")


def _size(one: str, words: str) -> Callable[[Any, Any], tuple[str, str]]:
    return lambda wanted, value: (f"must have {words} {wanted:,} {one}{'s' * (wanted != 1)}, got {len(value):,}", "")


def _choice(wanted: Any, value: Any) -> tuple[str, str]:
    names = [item for item in wanted if isinstance(item, str)]
    shown = ", ".join(_json(item) for item in wanted[:20]) + (", ..." if len(wanted) > 20 else "")
    return f"must be one of {shown}", hints.did_you_mean(value, names) if isinstance(value, str) else ""


def _type(wanted: Any, value: Any) -> tuple[str, str]:
    kinds = [wanted] if isinstance(wanted, str) else wanted
    return f"must be of type {' or '.join(kinds)}, got {kind_of(value)}", ""


def _format(wanted: Any, _value: Any) -> tuple[str, str]:
    return f"must have the format {wanted}", f"for example {FORMATS[wanted].example}"


def _others(_wanted: Any, _value: Any) -> tuple[str, str]:
    return "has a field that its schema does not allow", "remove it, or correct its name"


_WORDS: Final[dict[str, Callable[[Any, Any], tuple[str, str]]]] = {
    "minimum": _bound("at least"),
    "maximum": _bound("at most"),
    "exclusiveMinimum": _bound("more than"),
    "exclusiveMaximum": _bound("less than"),
    "multipleOf": _bound("a multiple of"),
    "minLength": _size("character", "at least"),
    "maxLength": _size("character", "at most"),
    "minItems": _size("item", "at least"),
    "maxItems": _size("item", "at most"),
    "uniqueItems": lambda _wanted, _value: ("must not have the same item twice", ""),
    "pattern": lambda wanted, _value: (f"must match the pattern {_json(wanted)}", ""),
    "format": _format,
    "enum": _choice,
    "const": lambda wanted, value: _choice([wanted], value),
    "type": _type,
    "additionalProperties": _others,
}
