"""The shared state of a graph-style workflow: its JSON Schema, checked in bounded time, and its reducers. Pure.

schema_dialect.py has the dialect.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from agentflow_common.errors import InvalidError
from agentflow_common.expressions import schema_dialect
from agentflow_common.expressions.schema_dialect import INTEGER_MAX, SchemaFaultError, identity
from agentflow_common.json_values import kind_of
from agentflow_common.places import dotted

KEYS_MAX: Final = 1_000
VALUE_BYTES_MAX: Final = 4 * 1024 * 1024  # of one key, as JSON: the limit of the object store
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


class Schema:
    """A compiled schema of a state.

    Raises StateError if it is not a schema, or has parts that the engine refuses.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        try:
            self._whole = schema_dialect.compiled(schema)
        except SchemaFaultError as error:
            raise StateError(error.message, fix=error.fix) from None
        if schema.get("type", "object") != "object":
            raise StateError("the state is an object: give the schema `type: object` and `properties`")
        self.properties: dict[str, Any] = schema.get("properties", {})
        self._required = tuple(schema.get("required", ()))
        self._closed = schema.get("additionalProperties") is False
        # True if it describes each key by itself, as most schemas do. Then only changed keys are checked.
        self.by_key = set(schema) <= _BY_KEY and isinstance(schema.get("additionalProperties", True), bool)

    def check(self, state: Mapping[str, Any], changed: Mapping[str, Any]) -> None:
        """Raises StateError for the first violation.

        changed: the keys that are new or different in the state. With `by_key`, only their names are needed.
        """
        missing = next((name for name in self._required if name not in state), None)
        if missing is not None:
            raise StateError(f"the state has no {missing!r}, which its schema requires", (missing,))
        try:
            with schema_dialect.evaluation():
                self._check(state, changed)
        except SchemaFaultError as error:
            raise StateError(error.message, fix=error.fix) from None

    def _check(self, state: Mapping[str, Any], changed: Mapping[str, Any]) -> None:
        if not self.by_key:
            self._judge(self._whole.iter_errors(dict(state)), "")
            return
        for key, value in changed.items():
            if key in self.properties:
                self._judge(self._whole.evolve(schema=self.properties[key]).iter_errors(value), key)
            elif self._closed:
                known = ", ".join(list(self.properties)[:12])
                raise StateError(f"{key!r} is not a key of the state: its schema has {known or 'none'}", (key,))

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


# --- reducers ---

REPLACE: Final = "$replace"


def is_replacement(given: Any) -> bool:
    """True for `{"$replace": value}`, which takes the place of a key's value whatever its reducer is."""
    return isinstance(given, dict) and given.keys() == {REPLACE}


def reduce(reducer: str, key: str, current: Any, given: Any, present: bool) -> Any:
    """Returns a key's value after a node gave one. Raises StateError if the reducer can't take it.

    present: True if the key had a value before.
    """
    return _REDUCERS[reducer](key, current if present else None, given)


def reduce_change(reducer: str, key: str, current: Any, began: Any, ended: Any, its_reducer: str = "replace") -> Any:
    """Returns a key's value after a subgraph that began with the parent's value `began` and ended with `ended`.

    Only the difference counts, once. Raises StateError if the reducer can't take it.
    current: the value now, which other nodes of the same superstep may have changed too.
    its_reducer: of the subgraph. A list that only appends can have lost items by `$replace` alone: they are lost here
        too. A list that the subgraph made anew counts whole.
    """
    if identity(began) == identity(ended):
        return current
    if reducer in {"append", "extend"} and _continues(began, ended):
        return [*_list(key, reducer, current), *ended[len(began) :]]
    if {reducer, its_reducer} <= {"append", "extend"} and isinstance(began, list) and isinstance(ended, list):
        return [*ended, *(current[len(began) :] if _continues(began, current) else [])]
    if reducer == "merge" and isinstance(began, dict) and isinstance(ended, dict):
        changed = {name: value for name, value in ended.items() if not _is_same(began, name, value)}
        return _merge(key, current, changed)
    if reducer == "sum":
        added = _number(key, reducer, ended) - _number(key, reducer, began)
        return ended if identity(current) == identity(began) else _sum(key, current, added)
    return reduce(reducer, key, current, ended, True)


def _continues(began: Any, ended: Any) -> bool:
    if not isinstance(began, list) or not isinstance(ended, list):
        return False
    return identity(ended[: len(began)]) == identity(began)


def _is_same(began: dict[str, Any], name: str, value: Any) -> bool:
    return name in began and identity(began[name]) == identity(value)


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
    return list({identity(item): item for item in items}.values())


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
