"""Hints for authors: the known names that are near an unknown one, and pydantic's errors in plain words. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

COMPARED_MAX: Final = 500  # names: to compare one takes some 15 us
_WRITE: Final = {
    "int_type": "write an integer",
    "int_parsing": "write an integer",
    "int_from_float": "write an integer",
    "float_type": "write a number",
    "float_parsing": "write a number",
    "bool_type": "write true or false",
    "bool_parsing": "write true or false",
    "string_type": "write a text",
    "list_type": "write a list",
    "dict_type": "write an object",
}
_LENGTHS: Final = {  # the words, and the name of the bound in the error's context
    "string_too_short": ("at least", "min_length"),
    "string_too_long": ("at most", "max_length"),
    "too_short": ("at least", "min_length"),
    "too_long": ("at most", "max_length"),
}
_CHOICES: Final = ("literal_error", "enum")  # the context of the error lists the choices, in quotes
_BOUNDS: Final = {  # the words, and the name of the bound in the error's context
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}


def near(name: str, known: Iterable[str], *, most: int = 1, cutoff: float = 0.6) -> list[str]:
    """Returns the known names that are written nearly like `name`, the closest first.

    `most` bounds their number. `cutoff` is the least similarity, from 0 to 1 (difflib.SequenceMatcher.ratio).
    """
    return difflib.get_close_matches(name, list(islice(known, COMPARED_MAX)), n=most, cutoff=cutoff)


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "", *, most: int = 1, cutoff: float = 0.6) -> str:
    """Returns `did you mean 'a' or 'b'?`, or `otherwise` if no known name is close."""
    close = near(name, known, most=most, cutoff=cutoff)
    return f"did you mean {' or '.join(map(repr, close))}?" if close else otherwise


def plain(item: Any) -> str:
    """Returns what one of pydantic's errors says, without the value that was given."""
    kind = item["type"]
    if kind in _CHOICES:
        return f"use {item['ctx']['expected']}"
    if kind in _BOUNDS:
        words, bound = _BOUNDS[kind]
        return f"must be {words} {item['ctx'][bound]:,}"
    if kind in _LENGTHS:
        words, bound = _LENGTHS[kind]
        many = item["ctx"][bound]
        unit = "character" if kind.startswith("string") else "field" if isinstance(item["input"], dict) else "item"
        return f"must have {words} {many:,} {unit}{'' if many == 1 else 's'}"
    return _WRITE.get(kind) or str(item["msg"]).removeprefix("Value error, ")


def meant(item: Any, given: str = "") -> str:
    """Returns `did you mean 'a'?` for one of pydantic's errors; empty unless it is about a choice that is near.

    given: the text to compare, by default the value of the error.
    """
    if item["type"] not in _CHOICES:
        return ""
    words = {word.lower(): word for word in re.findall(r"'([^']+)'", item["ctx"]["expected"])}
    close = near((given or str(item["input"])).lower(), words, cutoff=0.7)
    return f"did you mean {words[close[0]]!r}?" if close else ""
