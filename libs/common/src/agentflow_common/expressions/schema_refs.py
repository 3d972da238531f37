"""The references of a JSON Schema: where they lead, and whether they end. Pure.

A reference may lead back to a schema around it if it then applies to a part of the value: a tree's `children` are
trees. A reference that comes back for the same value never ends.
"""

from __future__ import annotations

import graphlib
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from agentflow_common.places import Place

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


class Reference(NamedTuple):
    """A `$ref` or `$dynamicRef` of a schema."""

    place: Place
    text: str
    target: Any  # NOWHERE if nothing is there
    is_aside: bool  # the target stands where no keyword looks for a schema, so nothing has checked it as one


def references(schema: Mapping[str, Any]) -> Iterator[Reference]:
    """Yields each reference that a check of a value may follow."""
    by_keyword = set(_schemas(schema, follow=False))
    everywhere = _schemas(schema, follow=True)
    anchors = _anchors(everywhere)
    for place, found in everywhere.items():
        for name in _REFS:
            if isinstance(ref := found.get(name), str):
                places = _targets(schema, place, found, anchors, (name,))
                target = at(schema, places[0]) if places else NOWHERE
                yield Reference((*_path(schema, place), name), ref, target, by_keyword.isdisjoint(places))


def endless(schema: Mapping[str, Any]) -> str:
    """Returns a place whose references lead back to it for the same value, or an empty text."""
    sorter: graphlib.TopologicalSorter[str] = graphlib.TopologicalSorter()
    found = _schemas(schema, follow=True)
    anchors = _anchors(found)
    for place, part in found.items():
        same = _places(place, part, _SAME, _SAME_LISTS, _SAME_MAPS)
        sorter.add(place, *same, *_targets(schema, place, part, anchors))
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        return str(min(error.args[1]))
    return ""


def _schemas(schema: Mapping[str, Any], *, follow: bool) -> dict[str, Mapping[str, Any]]:
    """Returns each schema in a schema by its place. follow: also what stands elsewhere, and a reference leads to it."""
    found: dict[str, Mapping[str, Any]] = {}
    todo = ["#"]
    while todo:
        place = todo.pop()
        part = at(schema, place)
        if place in found or not isinstance(part, Mapping):
            continue
        found[place] = part
        todo.extend(_places(place, part, (*_SAME, *_PARTS), (*_SAME_LISTS, *_PARTS_LISTS), (*_SAME_MAPS, *_PARTS_MAPS)))
        if follow:
            todo.extend(_targets(schema, place, part, {}))
    return found


def _anchors(found: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Returns the places that have a name, by the name."""
    places: dict[str, list[str]] = {}
    for place, part in found.items():
        for name in (part.get("$anchor"), part.get("$dynamicAnchor")):
            if isinstance(name, str):
                places.setdefault(name, []).append(place)
    return places


def _targets(
    schema: Mapping[str, Any],
    place: str,
    part: Mapping[str, Any],
    anchors: Mapping[str, list[str]],
    names: tuple[str, ...] = _REFS,
) -> list[str]:
    """Returns the places that references of a part lead to, whether or not something is there."""
    targets: list[str] = []
    for name in names:
        ref = part.get(name)
        if not isinstance(ref, str):
            continue
        if ref == "#" or ref.startswith("#/"):
            targets.append(_resource(schema, place) + ref[1:])
        elif ref.startswith("#"):
            targets.extend(anchors.get(ref[1:], ()))
    return targets


def _resource(schema: Mapping[str, Any], place: str) -> str:
    """Returns the place that `#` means at a place: the nearest one around it that has an `$id`, or the whole."""
    while place != "#":
        part = at(schema, place)
        if isinstance(part, Mapping) and "$id" in part:
            return place
        place = place.rpartition("/")[0]
    return place


def _path(schema: Mapping[str, Any], place: str) -> Place:
    path: list[str | int] = []
    found: Any = schema
    for part in place.split("/")[1:]:
        name: str | int = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list | tuple):
            name = int(name)
        found = found[name]
        path.append(name)
    return tuple(path)


def _places(
    place: str, schema: Mapping[str, Any], plain: tuple[str, ...], lists: tuple[str, ...], maps: tuple[str, ...]
) -> Iterator[str]:
    """Yields the places of the schemas under these keywords."""
    yield from (f"{place}/{name}" for name in plain if name in schema)
    for name in lists:
        listed = schema.get(name)
        yield from (
            f"{place}/{name}/{number}" for number in range(len(listed) if isinstance(listed, list | tuple) else 0)
        )
    for name in maps:
        mapped = schema.get(name)
        for key in mapped if isinstance(mapped, Mapping) else ():
            yield f"{place}/{name}/" + str(key).replace("~", "~0").replace("/", "~1")
