"""The shared state of a graph-style workflow: its JSON Schema, checked in bounded time, and its reducers. Pure.

A schema comes from an author, and the scheduler of all runs evaluates it. So nothing is fetched for a `$ref`, and
`pattern` is the linear-time dialect of CEL's `matches`. An evaluation that takes too long ends in an error.
"""

from __future__ import annotations

import contextvars
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from agentflow_common.errors import InvalidError
from agentflow_common.expressions import language as expressions
from agentflow_common.expressions import schema_refs
from agentflow_common.expressions.sandbox import ExpressionError
from agentflow_common.json_values import kind_of
from agentflow_common.places import dotted, texts

KEYS_MAX: Final = 1_000
VALUE_BYTES_MAX: Final = 4 * 1024 * 1024  # of one key, as JSON: the limit of the object store
INTEGER_MAX: Final = 2**63 - 1
EVALUATIONS_MAX: Final = 100_000  # keywords of a schema, for one check of the state: about half a second
_BY_KEY: Final = frozenset(
    {"$schema", "$id", "$defs", "$comment", "title", "description", "type", "properties", "required",
     "additionalProperties", "default", "examples"}
)  # fmt: skip


class StateError(InvalidError):
    """A state that does not fit its schema."""

    def __init__(self, message: str, keys: tuple[str, ...] = (), step: str = "", fix: str = "change it") -> None:
        super().__init__(message, kind="invalid_state")
        self.keys = keys  # the keys with a wrong value, if they are known
        self.step = step  # the step whose output did not fit
        self.fix = fix


# How many evaluations the current check may still make. Each check sets it first, so nothing is carried over.
_left: Final = contextvars.ContextVar("evaluations_left", default=EVALUATIONS_MAX)


def _counted(check: Callable[..., Any]) -> Callable[..., Any]:
    def count(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        left = _left.get() - 1
        _left.set(left)
        if left < 0:
            raise StateError(f"the schema takes more than {EVALUATIONS_MAX:,} evaluations: simplify it")
        yield from check(validator, value, instance, schema) or ()

    return count


def _matches(pattern: str, text: str) -> bool:
    return expressions.condition(f"text.matches({_quoted(pattern)})").holds({"text": text})


def _quoted(pattern: str) -> str:
    return msgspec.json.encode(pattern).decode()


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

    if wanted and isinstance(instance, list) and len({_identity(item) for item in instance}) < len(instance):
        yield ValidationError("not unique")


def _identity(value: Any) -> bytes:
    """Returns bytes that are equal for values that are equal in JSON, where 1 and 1.0 are the same number."""
    return msgspec.json.encode(_whole(value), order="sorted")


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < INTEGER_MAX:
        return int(value)
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    return [_whole(item) for item in value] if isinstance(value, list) else value


@functools.cache
def _dialect() -> Any:
    from jsonschema.validators import Draft202012Validator, extend

    own = {"pattern": _pattern, "patternProperties": _pattern_properties, "uniqueItems": _unique}
    keywords = {name: _counted(own.get(name, check)) for name, check in Draft202012Validator.VALIDATORS.items()}
    return extend(Draft202012Validator, keywords)  # type: ignore[no-untyped-call, unused-ignore]


def _keys_not_text(schema: Any) -> Iterator[Any]:
    """Yields the keys that YAML reads as a number or as yes and no: JSON has texts only."""
    if isinstance(schema, Mapping):
        yield from (key for key in schema if not isinstance(key, str))
    for part in schema.values() if isinstance(schema, Mapping) else schema if isinstance(schema, list) else ():
        yield from _keys_not_text(part)


class Schema:
    """A compiled schema of a state.

    Raises StateError if it is not a schema, or has parts that the engine refuses.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        from jsonschema.exceptions import SchemaError
        from jsonschema.validators import Draft202012Validator
        from referencing import Registry

        for key in _keys_not_text(schema):
            raise StateError(f"the key {key} is not a text", fix="put quotes around it")
        try:
            Draft202012Validator.check_schema(schema)
        except SchemaError as error:
            where = ".".join(map(str, error.absolute_path)) or "the schema"
            raise StateError(f"{where}: {error.message[:200]}") from None
        if schema.get("type", "object") != "object":
            raise StateError("the state is an object: give the schema `type: object` and `properties`")
        for ref in (text for place, text in texts(schema) if place[-1] == "$ref"):
            if schema_refs.at(schema, ref) is schema_refs.NOWHERE:
                raise StateError(f"{ref[:80]!r} leads nowhere: a `$ref` names a place in the schema, as #/$defs/...")
        if place := schema_refs.endless(schema):
            raise StateError(
                f"the references from {place[:80]!r} lead back to it without end: a `$ref` may lead back from a part "
                "of the value only, as `properties: {child: {$ref: '#'}}` does"
            )
        for pattern in _patterns(schema):
            try:
                expressions.condition(f"text.matches({_quoted(pattern)})").holds({"text": ""})
            except ExpressionError as error:
                raise StateError(f"the pattern {pattern[:80]!r} can take more than linear time: {error}") from None
        self._whole = _dialect()(schema, registry=Registry())
        self.properties: dict[str, Any] = schema.get("properties", {})
        self._required = tuple(schema.get("required", ()))
        self._closed = schema.get("additionalProperties") is False
        # True if it describes each key by itself, as most schemas do. Then only changed keys are checked.
        self.by_key = set(schema) <= _BY_KEY and isinstance(schema.get("additionalProperties", True), bool)

    def check(self, state: Mapping[str, Any], changed: Mapping[str, Any]) -> None:
        """Raises StateError for the first violation.

        changed: the keys that are new or different in the state. With `by_key`, only their names are needed.
        """
        _left.set(EVALUATIONS_MAX)
        try:
            missing = next((name for name in self._required if name not in state), None)
            if missing is not None:
                raise StateError(f"the state has no {missing!r}, which its schema requires", (missing,))
            if not self.by_key:
                self._judge(self._whole.iter_errors(dict(state)), "")
                return
            for key, value in changed.items():
                if key in self.properties:
                    self._judge(self._whole.evolve(schema=self.properties[key]).iter_errors(value), key)
                elif self._closed:
                    known = ", ".join(list(self.properties)[:12])
                    raise StateError(f"{key!r} is not a key of the state: its schema has {known or 'none'}", (key,))
        except RecursionError:
            raise StateError("the schema or the state is nested too deeply") from None
        except StateError:
            raise
        except Exception as error:  # a validator may raise anything, for example for a `$ref` that leads nowhere
            raise StateError(f"the schema can't be evaluated: {type(error).__name__}: {str(error)[:200]}") from None

    def _judge(self, errors: Iterator[Any], key: str) -> None:
        """Raises StateError for the first error. It leaves out the value itself, which may be large or confidential."""
        error = next(errors, None)
        if error is None:
            return
        path = [*([key] if key else []), *error.absolute_path]
        place = dotted(("state", *path))
        rule = f"{error.validator}: {msgspec.json.encode(error.validator_value).decode()[:120]}"
        found = kind_of(error.instance)
        raise StateError(f"{place} does not fit its schema ({rule}); it is {found}", tuple(map(str, path[:1])))


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


# --- reducers ---


def reduce(reducer: str, key: str, current: Any, given: Any, present: bool) -> Any:
    """Returns a key's value after a node gave one. Raises StateError if the reducer can't take it.

    present: True if the key had a value before.
    """
    return _REDUCERS[reducer](key, current if present else None, given)


def reduce_change(reducer: str, key: str, current: Any, began: Any, ended: Any) -> Any:
    """Returns a key's value after a subgraph that began with the parent's value `began` and ended with `ended`.

    Only the difference counts, once. Raises StateError if the reducer can't take it.
    current: the value now, which other nodes of the same superstep may have changed too.
    """
    if _identity(began) == _identity(ended):
        return current
    if reducer in {"append", "extend"} and _continues(began, ended):
        return [*_list(key, reducer, current), *ended[len(began) :]]
    if reducer == "merge" and isinstance(began, dict) and isinstance(ended, dict):
        changed = {name: value for name, value in ended.items() if not _is_same(began, name, value)}
        return _merge(key, current, changed)
    if reducer == "sum":
        added = _number(key, reducer, ended) - _number(key, reducer, began)
        return ended if _identity(current) == _identity(began) else _sum(key, current, added)
    return reduce(reducer, key, current, ended, True)


def _continues(began: Any, ended: Any) -> bool:
    if not isinstance(began, list) or not isinstance(ended, list):
        return False
    return _identity(ended[: len(began)]) == _identity(began)


def _is_same(began: dict[str, Any], name: str, value: Any) -> bool:
    return name in began and _identity(began[name]) == _identity(value)


def _needs(key: str, reducer: str, what: str, value: Any) -> StateError:
    return StateError(f"the reducer `{reducer}` of {key!r} needs {what}, got {kind_of(value)}", (key,))


def _list(key: str, reducer: str, value: Any) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise _needs(key, reducer, "a list", value)
    return value


def _append(key: str, current: Any, given: Any) -> Any:
    return [*_list(key, "append", current), given]


def _extend(key: str, current: Any, given: Any) -> Any:
    return [*_list(key, "extend", current), *_list(key, "extend", given)]


def _merge(key: str, current: Any, given: Any) -> Any:
    for value in (current, given):
        if value is not None and not isinstance(value, dict):
            raise _needs(key, "merge", "an object", value)
    return {**(current or {}), **(given or {})}


def _union(key: str, current: Any, given: Any) -> Any:
    items = [*_list(key, "union", current), *(given if isinstance(given, list) else [given])]
    return list({_identity(item): item for item in items}.values())


def _number(key: str, reducer: str, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _needs(key, reducer, "numbers", value)
    return value


def _sum(key: str, current: Any, given: Any) -> Any:
    total = _number(key, "sum", given) + (0 if current is None else _number(key, "sum", current))
    if math.isinf(total) if isinstance(total, float) else abs(total) > INTEGER_MAX:
        raise StateError(f"the sum of {key!r} is too large", (key,))
    return total


def _extreme(name: str, choose: Callable[[Any, Any], Any]) -> Callable[[str, Any, Any], Any]:
    def pick(key: str, current: Any, given: Any) -> Any:
        for value in (current, given):
            if value is not None and not isinstance(value, str):
                _number(key, name, value)
        if current is None or given is None:
            return given if current is None else current
        if isinstance(current, str) is not isinstance(given, str):
            raise StateError(f"the reducer `{name}` of {key!r} can't compare a text with a number", (key,))
        return choose(current, given)

    return pick


_REDUCERS: Final[dict[str, Callable[[str, Any, Any], Any]]] = {
    "replace": lambda _key, _current, given: given,
    "append": _append,
    "extend": _extend,
    "merge": _merge,
    "union": _union,
    "sum": _sum,
    "max": _extreme("max", max),
    "min": _extreme("min", min),
    "first": lambda _key, current, given: given if current is None else current,
}
