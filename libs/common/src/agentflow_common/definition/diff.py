"""Differences of two workflow definitions by structure: nodes, edges, inputs, outputs and the rest. Pure.

Works on canonical definitions (`Definition.canonical()`), so order, spelling and defaults make no difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

import msgspec

ABSENT: Final = msgspec.UNSET  # None can't mean it: null is a value, too
VALUE_CHARS_MAX: Final = 120

What = Literal["added", "removed", "changed"]


class FieldChange(msgspec.Struct, frozen=True):
    """One field that differs."""

    path: str  # such as `config.inputs.text`
    old: Any = ABSENT  # ABSENT: the field does not exist
    new: Any = ABSENT


class Change(msgspec.Struct, frozen=True):
    """One part of a workflow that differs."""

    kind: str  # `workflow`, `input`, `output`, `node` or `edge`
    what: What
    name: str  # a node's id, `a -> b`, an input's name
    fields: tuple[FieldChange, ...] = ()


def diff(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Change, ...]:
    """Returns every change from `old` to `new`, both canonical. Another version number alone does not count."""
    return (
        *_whole(old, new),
        *_named("input", old.get("inputs", {}), new.get("inputs", {})),
        *_named("output", _boxed(old.get("outputs", {})), _boxed(new.get("outputs", {}))),
        *_named("node", _by_id(old), _by_id(new)),
        *_named("edge", _edges(old), _edges(new)),
    )


def _whole(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    parts = {"dag", "inputs", "outputs", "version"}
    left = {key: value for key, value in old.items() if key not in parts}
    right = {key: value for key, value in new.items() if key not in parts}
    if changed := tuple(_fields(left, right, "")):
        yield Change("workflow", "changed", str(new.get("name", "")), changed)


def _by_id(definition: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {str(n["id"]): {k: v for k, v in n.items() if k != "id"} for n in definition["dag"]["nodes"]}


def _edges(definition: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns the edges by name, `a -> b`. Further edges between the same ends get a number: `a -> b (2)`."""
    found: dict[str, dict[str, Any]] = {}
    for edge in definition["dag"].get("edges", ()):
        name = base = f"{edge['from']} -> {edge['to']}"
        number = 1
        while name in found:
            number += 1
            name = f"{base} ({number})"
        found[name] = {key: value for key, value in edge.items() if key not in {"from", "to"}}
    return found


def _boxed(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: {"value": value} for name, value in values.items()}


def _named(kind: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    for name in old:
        if name not in new:
            yield Change(kind, "removed", name)
    for name, value in new.items():
        if name not in old:
            yield Change(kind, "added", name, tuple(_fields({}, value, "")))
        elif changed := tuple(_fields(old[name], value, "")):
            yield Change(kind, "changed", name, changed)


def _fields(old: Any, new: Any, path: str) -> Iterator[FieldChange]:
    """Yields the leaves that differ. Lists are compared as a whole: an inserted item shifts all numbers after it."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from _fields(old.get(key, ABSENT), new.get(key, ABSENT), f"{path}.{key}" if path else str(key))
    elif isinstance(old, dict) and new is ABSENT and old:
        yield from _fields(old, {}, path)
    elif isinstance(new, dict) and old is ABSENT and new:
        yield from _fields({}, new, path)
    elif old is ABSENT or new is ABSENT or msgspec.json.encode(old) != msgspec.json.encode(new):
        yield FieldChange(path, old, new)  # as JSON, because Python takes 1 and True for the same


def lines(changes: tuple[Change, ...]) -> list[str]:
    """Returns the changes as lines of text: `+` added, `-` removed, `~` changed, fields indented."""
    out: list[str] = []
    for change in changes:
        sign = {"added": "+", "removed": "-", "changed": "~"}[change.what]
        out.append(f"{sign} {change.kind} {change.name}")
        for field in change.fields:
            if change.what == "added":
                out.append(f"    {field.path}: {_text(field.new)}")
            elif field.old is ABSENT:
                out.append(f"    + {field.path}: {_text(field.new)}")
            elif field.new is ABSENT:
                out.append(f"    - {field.path}: {_text(field.old)}")
            else:
                out.append(f"    {field.path}: {_text(field.old)} -> {_text(field.new)}")
    return out


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= VALUE_CHARS_MAX else f"{text[: VALUE_CHARS_MAX - 3]}..."
