"""The dialect of JSON Schema in which authors describe values: it is checked in bounded time. Pure.

A schema comes from an author, and the engine of all runs evaluates it. So nothing is fetched for a `$ref`, and
`pattern` is the linear-time dialect of CEL's `matches`. An evaluation that takes too long ends in an error.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Any, Final

import msgspec

from agentflow_common.errors import InvalidError
from agentflow_common.expressions import language as expressions
from agentflow_common.expressions import schema_refs
from agentflow_common.expressions.formats import FORMATS
from agentflow_common.expressions.sandbox import ExpressionError
from agentflow_common.places import Place
from agentflow_common.screening import TOKEN

EVALUATIONS_MAX: Final = 100_000  # keywords of a schema, for one check of a value: about half a second
INTEGER_MAX: Final = 2**63 - 1
_OF_PLAIN_TEXT: Final = ("minLength", "maxLength", "enum", "const")


class SchemaFaultError(InvalidError):
    """A schema that is not valid or can't be evaluated."""

    def __init__(self, message: str, fix: str = "change it", place: Place = ()) -> None:
        super().__init__(message)
        self.fix = fix
        self.place = place  # in the schema, if it is known


# True while values are checked in which vault tokens stand for the texts that the schema is about.
_private: Final = contextvars.ContextVar("private", default=False)
# How many evaluations the current check may still make. Each check sets it first, so nothing is carried over.
_left: Final = contextvars.ContextVar("evaluations_left", default=EVALUATIONS_MAX)


def _counted(check: Callable[..., Any]) -> Callable[..., Any]:
    def count(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        left = _left.get() - 1
        _left.set(left)
        if left < 0:
            raise SchemaFaultError(f"the schema takes more than {EVALUATIONS_MAX:,} evaluations: simplify it")
        yield from check(validator, value, instance, schema) or ()

    return count


def _matches(pattern: str, text: str) -> bool:
    return expressions.condition(f"text.matches({_quoted(pattern)})").holds({"text": text})


def _quoted(pattern: str) -> str:
    return msgspec.json.encode(pattern).decode()


def _unless_private(check: Callable[..., Any]) -> Callable[..., Any]:
    def checked(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        if not (isinstance(instance, str) and _private.get() and TOKEN.search(instance)):
            yield from check(validator, value, instance, schema) or ()

    return checked


def _format(_validator: Any, name: Any, instance: Any, _schema: Any) -> Iterator[Any]:
    from jsonschema.exceptions import ValidationError

    if isinstance(instance, str) and name in FORMATS and not FORMATS[name].fits(instance):
        yield ValidationError("has another format")


def _pattern(_validator: Any, pattern: Any, instance: Any, _schema: Any) -> Iterator[Any]:
    from jsonschema.exceptions import ValidationError

    if isinstance(instance, str) and not _matches(pattern, instance):
        yield ValidationError("does not match")


def _pattern_properties(validator: Any, patterns: Any, instance: Any, _schema: Any) -> Iterator[Any]:
    if isinstance(instance, dict):
        for pattern, schema in patterns.items():
            for key, value in instance.items():
                if _matches(pattern, key):
                    yield from validator.descend(value, schema, path=key, schema_path=pattern)


def _unique(_validator: Any, wanted: Any, instance: Any, _schema: Any) -> Iterator[Any]:
    from jsonschema.exceptions import ValidationError

    if wanted and isinstance(instance, list) and len({identity(item) for item in instance}) < len(instance):
        yield ValidationError("not unique")


def _multiple_of(_validator: Any, step: Any, instance: Any, _schema: Any) -> Iterator[Any]:
    """Computes with the decimal digits as they are written: 19.99 is a multiple of 0.01, which doubles deny."""
    from jsonschema.exceptions import ValidationError

    is_number = isinstance(instance, int | float) and not isinstance(instance, bool)
    if is_number and (Fraction(str(instance)) / Fraction(str(step))).denominator != 1:
        yield ValidationError("not a multiple")


def identity(value: Any) -> bytes:
    """Returns bytes that are equal for values that are equal in JSON, where 1 and 1.0 are the same number."""
    return msgspec.json.encode(_whole(value), order="sorted")


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < INTEGER_MAX:
        return int(value)
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    return [_whole(item) for item in value] if isinstance(value, list) else value


@functools.cache
def _dialect(formats: bool) -> Any:
    from jsonschema.validators import Draft202012Validator, extend

    own = {
        "pattern": _unless_private(_pattern),
        "patternProperties": _pattern_properties,
        "uniqueItems": _unique,
        "multipleOf": _multiple_of,
        "format": _unless_private(_format),
        **{name: _unless_private(Draft202012Validator.VALIDATORS[name]) for name in _OF_PLAIN_TEXT},
    }
    if not formats:
        own["format"] = Draft202012Validator.VALIDATORS["format"]  # says nothing
    keywords = {name: _counted(own.get(name, check)) for name, check in Draft202012Validator.VALIDATORS.items()}
    return extend(Draft202012Validator, keywords)  # type: ignore[no-untyped-call, unused-ignore]


def _keys_not_text(schema: Any) -> Iterator[Any]:
    """Yields the keys that YAML reads as a number or as yes and no: JSON has texts only."""
    if isinstance(schema, Mapping):
        yield from (key for key in schema if not isinstance(key, str))
    for part in schema.values() if isinstance(schema, Mapping) else schema if isinstance(schema, list) else ():
        yield from _keys_not_text(part)


def _patterns(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        for key, value in schema.items():
            if key == "pattern" and isinstance(value, str):
                yield value
            elif key == "patternProperties" and isinstance(value, Mapping):
                yield from value
            yield from _patterns(value)
    elif isinstance(schema, list | tuple):
        for item in schema:
            yield from _patterns(item)


def _check_target(found: schema_refs.Reference) -> None:
    """Raises SchemaFaultError for a reference that does not lead to a schema."""
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator

    where = f"a `{found.place[-1]}` names a place in the schema, as #/$defs/..."
    if found.target is schema_refs.NOWHERE:
        raise SchemaFaultError(f"{found.text[:80]!r} leads nowhere: {where}", place=found.place)
    try:
        if found.is_aside:
            Draft202012Validator.check_schema(found.target)
    except SchemaError as error:
        text = f"what is at {found.text[:80]!r} is not a schema: {error.message[:200]}"
        raise SchemaFaultError(text, place=found.place) from None


def compiled(schema: Mapping[str, Any], *, formats: bool = False) -> Any:
    """Returns a validator of jsonschema. Raises SchemaFaultError for what is not a schema, or is refused.

    formats: `format` is checked. Otherwise it says nothing, as JSON Schema has it.
    """
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator
    from referencing import Registry

    for key in _keys_not_text(schema):
        raise SchemaFaultError(f"the key {key} is not a text", fix="put quotes around it")
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        where = ".".join(map(str, error.absolute_path)) or "the schema"
        raise SchemaFaultError(f"{where}: {error.message[:200]}") from None
    except RecursionError:
        raise SchemaFaultError("the schema is nested too deeply") from None
    for found in schema_refs.references(schema):
        _check_target(found)
    if place := schema_refs.endless(schema):
        raise SchemaFaultError(
            f"the references from {place[:80]!r} lead back to it without end: a `$ref` may lead back from a part "
            "of the value only, as `properties: {child: {$ref: '#'}}` does"
        )
    for pattern in _patterns(schema):
        try:
            expressions.condition(f"text.matches({_quoted(pattern)})").holds({"text": ""})
        except ExpressionError as error:
            raise SchemaFaultError(f"the pattern {pattern[:80]!r} can take more than linear time: {error}") from None
    return _dialect(formats)(schema, registry=Registry())


@contextlib.contextmanager
def evaluation(*, private: bool = False) -> Iterator[None]:
    """Surrounds one check of a value with a validator. Raises SchemaFaultError if it can't be evaluated in time.

    private: what a schema says about the letters of a text is not checked where a vault token stands in it.
    """
    _left.set(EVALUATIONS_MAX)
    before = _private.set(private)
    try:
        yield
    except InvalidError:
        raise
    except RecursionError:
        raise SchemaFaultError("the schema or the value is nested too deeply") from None
    except Exception as error:  # a validator may raise anything, for example for a `$ref` that leads nowhere
        text = f"the schema can't be evaluated: {type(error).__name__}: {str(error)[:200]}"
        raise SchemaFaultError(text) from None
    finally:
        _private.reset(before)
