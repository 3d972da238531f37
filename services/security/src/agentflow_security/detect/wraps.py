"""Where a line break may have cut a value in two: between two characters that are no blanks. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from agentflow_security.detect.randomness import worded

_BREAK: Final = re.compile(r"(?<=[^\n][A-Za-z0-9().+/_=-])[ \t]{0,3}\r?\n[ \t]{0,8}(?=[A-Za-z0-9(])")


_REST_OF_KEY: Final = re.compile(r"[A-Za-z0-9_/+-]{1,200}+={0,2}+(?![A-Za-z0-9]|[ \t]{0,3}[:=@(]|\.[A-Za-z])", re.ASCII)
_LINE_CHARS_MIN: Final = 32  # a line shorter than this was not broken for want of room


class Break(NamedTuple):
    """text[start:end] is the line break with its blanks."""

    start: int
    end: int


def breaks(text: str) -> Iterator[Break]:
    """Every single line break between what could be the halves of one value."""
    if "\n" in text:
        for match in _BREAK.finditer(text):
            yield Break(match.start(), match.end())


def line_before(text: str, end: int, chars_max: int) -> int:
    """Where the line that text[end] ends begins, or `chars_max` before its end."""
    floor = max(0, end - chars_max)
    return max(floor, text.rfind("\n", floor, end) + 1)


def rest_of_key(text: str, start: int) -> str:
    """The word at the beginning of a line, if it sets no other name (`NEXT=...`, `next: ...`); else nothing."""
    match = _REST_OF_KEY.match(text, start)
    return match.group() if match else ""


def goes_on(text: str, end: int, rest: str) -> bool:
    """Whether the next line's first word is more of a key that ends at text[end] and is long enough without it: the
    line is full, and the word has digits between its letters."""
    full = end >= _LINE_CHARS_MIN and "\n" not in text[end - _LINE_CHARS_MIN : end]
    digits = sum(c.isdigit() for c in rest)
    mixed = any(c.isupper() for c in rest) and any(c.islower() for c in rest[1:])
    return full and 0 < digits < len(rest) and (digits >= 2 or mixed or worded(rest) < 0.5)
