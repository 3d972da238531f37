"""Differences of two JSON values, bounded. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from agentflow_common.rpc import DiffField, DiffValue
from agentflow_trace.diff.records import Value, numbered

FIELDS_MAX: Final = 20  # of one value; the others are counted
CHARS_MAX: Final = 200  # of one side of a field
TEXT_CHARS_MAX: Final = 20_000  # of a text that is compared line by line
DIFF_LINES_MAX: Final = 60
LEAVES_MAX: Final = 2_000
_ABSENT: Final = msgspec.UNSET


def differ(old: Value | None, new: Value | None, *, shown: bool = True) -> DiffValue | None:
    """Returns the differences, or None if the values are equal or one of them is not known.

    shown: also what differs inside. Values that the log has by reference are compared by their digest.
    """
    if old is None or new is None or old.sha256 == new.sha256:
        return None
    known = {
        "old_bytes": old.size, "new_bytes": new.size, "old_sha256": old.sha256, "new_sha256": new.sha256,
    }  # fmt: skip
    if not shown or old.stored or new.stored:
        return DiffValue(**known)  # type: ignore[arg-type]
    left, right = numbered(old.data), numbered(new.data)
    fields: list[DiffField] = []
    left_out = 0
    for place, before, after in _fields(left, right, ""):
        if len(fields) < FIELDS_MAX:
            fields.append(DiffField(path=place, old=_text(before), new=_text(after)))
        else:
            left_out += 1
    return DiffValue(fields=tuple(fields), text=_lines(left, right), left_out=left_out, **known)  # type: ignore[arg-type]


def _fields(old: Any, new: Any, place: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            path = f"{place}.{key}" if place else str(key)
            yield from _fields(old.get(key, _ABSENT), new.get(key, _ABSENT), path)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (left, right) in enumerate(zip(old, new, strict=True)):
            yield from _fields(left, right, f"{place}[{number}]")
    elif isinstance(old, list) and isinstance(new, list):
        yield from _items(old, new, place)
    elif old is _ABSENT or new is _ABSENT or _plain(old) != _plain(new):
        yield place, old, new


def _items(old: list[Any], new: list[Any], place: str) -> Iterator[tuple[str, Any, Any]]:
    """Yields the items that only one of two lists of other lengths has, without the equal ones at both ends."""
    left, right = [_plain(item) for item in old], [_plain(item) for item in new]
    start = 0
    while start < min(len(left), len(right)) and left[start] == right[start]:
        start += 1
    end = 0
    while end < min(len(left), len(right)) - start and left[-1 - end] == right[-1 - end]:
        end += 1
    for number in range(start, max(len(left), len(right)) - end):
        before = old[number] if number < len(left) - end else _ABSENT
        after = new[number] if number < len(right) - end else _ABSENT
        if before is _ABSENT or after is _ABSENT or left[number] != right[number]:
            yield f"{place}[{number}]", before, after


def _plain(value: Any) -> bytes:
    return msgspec.json.encode(value, order="sorted")


def _text(value: Any) -> str | None:
    if value is _ABSENT:
        return None
    text = value if isinstance(value, str) else _plain(value).decode()
    return text if len(text) <= CHARS_MAX else f"{text[: CHARS_MAX - 3]}..."


def _lines(old: Any, new: Any) -> str:
    """Returns a unified diff of two texts of several lines, or of the only text that two objects have."""
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
        changed = [key for key in old if old[key] != new[key]]
        return _lines(old[changed[0]], new[changed[0]]) if len(changed) == 1 else ""
    if not isinstance(old, str) or not isinstance(new, str) or "\n" not in old + new:
        return ""
    if max(len(old), len(new)) > TEXT_CHARS_MAX:
        return ""
    found = list(difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=1))[2:]
    cut = [line if len(line) <= CHARS_MAX else f"{line[: CHARS_MAX - 3]}..." for line in found[:DIFF_LINES_MAX]]
    more = len(found) - DIFF_LINES_MAX
    return "\n".join([*cut, *([f"... {more} more lines"] if more > 0 else [])])


def leaves(value: Any) -> frozenset[tuple[str, bytes]]:
    """Returns the parts of a value with their places, without the numbers of list items."""
    found: set[tuple[str, bytes]] = set()
    ahead = [("", value)]
    while ahead and len(found) < LEAVES_MAX:
        place, item = ahead.pop()
        if isinstance(item, dict) and item:
            ahead.extend((f"{place}.{key}", part) for key, part in item.items())
        elif isinstance(item, list) and item:
            ahead.extend((f"{place}[]", part) for part in item)
        elif isinstance(item, str):
            found.update((place, word.encode()) for word in item.split()[:200])
        else:
            found.add((place, msgspec.json.encode(item)))
    return frozenset(found)
