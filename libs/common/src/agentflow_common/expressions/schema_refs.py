"""The references of a JSON Schema: where they lead, and whether they end. Pure.

A reference may lead back to a schema around it if it then applies to a part of the value: a tree's `children` are
trees. A reference that comes back for the same value never ends.
"""

from __future__ import annotations

import graphlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

_SAME: Final = ("not", "if", "then", "else")  # these apply to the same value, the others to parts of it
_SAME_LISTS: Final = ("allOf", "anyOf", "oneOf")
_SAME_MAPS: Final = ("dependentSchemas",)
_REFS: Final = ("$ref", "$dynamicRef")
_PARTS: Final = ("items", "additionalProperties", "unevaluatedItems", "unevaluatedProperties", "contains",
                 "propertyNames")  # fmt: skip
_PARTS_LISTS: Final = ("prefixItems",)
_PARTS_MAPS: Final = ("properties", "patternProperties", "$defs", "definitions")
NOWHERE: Final = object()


def at(schema: Any, place: str) -> Any:
    """Returns the value at a place such as `#/a/0/b`; NOWHERE if it does not exist."""
    if place != "#" and not place.startswith("#/"):
        return NOWHERE
    found = schema
    for part in place.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping) and name in found:
            found = found[name]
        elif isinstance(found, list | tuple) and name.isdigit() and int(name) < len(found):
            found = found[int(name)]
        else:
            return NOWHERE
    return found


def endless(schema: Mapping[str, Any]) -> str:
    """Returns a place whose references lead back to it for the same value, or an empty text."""
    sorter: graphlib.TopologicalSorter[str] = graphlib.TopologicalSorter()
    seen: set[str] = set()
    todo = ["#"]
    while todo:
        place = todo.pop()
        found = at(schema, place)
        if place in seen or not isinstance(found, Mapping):
            continue
        seen.add(place)
        same = [*_places(place, found, _SAME, _SAME_LISTS, _SAME_MAPS), *_targets(found)]
        sorter.add(place, *same)
        todo.extend([*same, *_places(place, found, _PARTS, _PARTS_LISTS, _PARTS_MAPS)])
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        return str(min(error.args[1]))
    return ""


def _targets(schema: Mapping[str, Any]) -> Iterator[str]:
    for name in _REFS:
        ref = schema.get(name)
        if isinstance(ref, str) and (ref == "#" or ref.startswith("#/")):
            yield ref


def _places(
    place: str, schema: Mapping[str, Any], plain: tuple[str, ...], lists: tuple[str, ...], maps: tuple[str, ...]
) -> Iterator[str]:
    """Yields the places of the schemas under these keywords."""
    yield from (f"{place}/{name}" for name in plain if name in schema)
    for name in lists:
        yield from (f"{place}/{name}/{number}" for number in range(len(schema.get(name, ()))))
    for name in maps:
        for key in schema.get(name, ()):
            yield f"{place}/{name}/" + key.replace("~", "~0").replace("/", "~1")
