"""JSON values: finding what JSON can't hold, making other values plain, and writing values as text. Pure.

A value of the log is null, a boolean, an integer of any size, a finite number, a text without lone surrogates, a list
of such values, or an object whose keys are texts.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

JSON_DEPTH_MAX: Final = 200  # of lists and objects within each other: every reader of the log can follow that
INT_BITS_MAX: Final = 12_800  # about 3,850 digits: what Python and the readers of the log convert
_LONE: Final = re.compile("[\ud800-\udfff]")
_ADDRESS: Final = re.compile(r"(?: object)? at 0x[0-9a-fA-F]+")
_KINDS: Final = {str: "a text", int: "a number", float: "a number", list: "a list", tuple: "a list", dict: "an object"}
_INT_PROBLEM: Final = "an integer has more than 3,800 digits: give it as a text"
# Where a value stands: a text for the whole, or the place of what holds it with a key or an index.
_Place: TypeAlias = "str | tuple[_Place, str | int]"
_WORDS: Final = {None: "null", True: "true", False: "false"}


class JsonError(ValueError):
    """A value that JSON can't hold. place: where it stands in the whole, empty for the whole itself."""

    def __init__(self, place: str, message: str) -> None:
        super().__init__(f"{place}: {message}" if place else message)
        self.place = place
        self.message = message


def kind_of(value: Any) -> str:
    """Returns the name of a value's JSON type: `null`, `a text`, `a list`, ..."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else "a boolean"
    return next((word for kind, word in _KINDS.items() if isinstance(value, kind)), f"a {type(value).__name__}")


def escaped(text: str) -> str:
    r"""Returns the text with each lone surrogate written out, as `\ud800`: such a text can be stored."""
    return text if text.isascii() else _LONE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def without_addresses(text: str) -> str:
    """Returns the text without the memory addresses that Python writes: the same on every machine."""
    return _ADDRESS.sub("", text) if " at 0x" in text else text


def is_storable(text: str) -> bool:
    """True if the text holds no lone surrogate."""
    return text.isascii() or _LONE.search(text) is None


def escaped_all(value: Any) -> Any:
    """Returns plain data with the lone surrogates of every text and key written out."""
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, dict):
        return {escaped_all(key): escaped_all(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [escaped_all(item) for item in value]
    return value


def _number_problem(value: float) -> str:
    name = "NaN" if math.isnan(value) else "infinity" if value > 0 else "-infinity"
    return f"{name} is not a JSON number: give a finite number or null"


def _text_problem(value: str) -> str:
    match = _LONE.search(value)
    code = ord(match[0]) if match else 0
    return f"a text holds the lone surrogate \\u{code:04x}: give valid Unicode (decode bytes with errors='replace')"


def _said(place: _Place) -> str:
    """Returns a place as text. Only an error needs one; making one for every part took a third of a check's time."""
    parts: list[str | int] = []
    while isinstance(place, tuple):
        place, part = place
        parts.append(part)
    text = place
    for part in reversed(parts):
        if isinstance(part, int):
            text = f"{text}[{part}]"
        else:
            name = escaped(part) if len(part) <= 64 else escaped(part[:64]) + "..."
            text = f"{text}.{name}" if text else name
    return text


def check(value: Any, place: str = "") -> None:  # noqa: PLR0912  (one for each kind of value)
    """Raises JsonError for the first part that JSON can't hold: NaN, infinity, a lone surrogate, another type."""
    stack: list[tuple[Any, _Place, int]] = [(value, place, 0)]
    while stack:
        item, here, depth = stack.pop()
        if isinstance(item, str):
            if not is_storable(item):
                raise JsonError(_said(here), _text_problem(item))
        elif isinstance(item, float):
            if not math.isfinite(item):
                raise JsonError(_said(here), _number_problem(item))
        elif item is None or isinstance(item, int):
            if item is not None and item.bit_length() > INT_BITS_MAX:
                raise JsonError(_said(here), _INT_PROBLEM)
        elif depth >= JSON_DEPTH_MAX:
            raise JsonError(place, f"it is nested deeper than {JSON_DEPTH_MAX} levels: flatten it")
        elif isinstance(item, dict):
            for key, inner in item.items():
                if not isinstance(key, str):
                    raise JsonError(_said(here), f"a key is {kind_of(key)}: keys are texts")
                if not is_storable(key):
                    raise JsonError(_said(here), "in a key, " + _text_problem(key))
                stack.append((inner, (here, key), depth + 1))
        elif isinstance(item, list | tuple):
            stack.extend((inner, (here, number), depth + 1) for number, inner in enumerate(item))
        else:
            raise JsonError(_said(here), f"{kind_of(item)} is not a JSON value")


def plain(value: Any, place: _Place = "", depth: int = 0) -> Any:  # noqa: PLR0911  (the same)
    """Returns the value as JSON holds it: lists for tuples, views and generators, texts for keys and for marked-up
    texts. Raises JsonError for what JSON can't hold, and whatever going through a lazy value raises."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        if not is_storable(value):
            raise JsonError(_said(place), _text_problem(value))
        return value if type(value) is str else str.__str__(value)
    if isinstance(value, int):
        if value.bit_length() > INT_BITS_MAX:
            raise JsonError(_said(place), _INT_PROBLEM)
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise JsonError(_said(place), _number_problem(value))
        return value
    if getattr(type(value), "stands_for_null", False):
        return None
    if depth >= JSON_DEPTH_MAX:
        raise JsonError("", f"it is nested deeper than {JSON_DEPTH_MAX} levels: flatten it")
    if isinstance(value, Mapping):
        return {key_text(key, place): plain(item, (place, str(key)), depth + 1) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, bytes | bytearray | memoryview):
        return [plain(item, (place, number), depth + 1) for number, item in enumerate(value)]
    raise JsonError(_said(place), f"{kind_of(value)} is not a JSON value")


def key_text(key: Any, place: _Place = "") -> str:
    """Returns an object's key as the text that JSON writes for it. Raises JsonError."""
    if isinstance(key, str):
        if not is_storable(key):
            raise JsonError(_said(place), "in a key, " + _text_problem(key))
        return str.__str__(key)
    if key is None or isinstance(key, int | float):
        return text_of(key)
    raise JsonError(_said(place), f"a key is {kind_of(key)}: keys are texts")


def text_of(value: Any) -> str:
    """Returns how a value reads inside a text: a text as it is, everything else as JSON. Raises JsonError."""
    if isinstance(value, str):
        return value if type(value) is str else str.__str__(value)
    if value is None or isinstance(value, bool):
        return _WORDS[value]
    return json.dumps(plain(value), ensure_ascii=False)
