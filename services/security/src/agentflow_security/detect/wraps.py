"""Line breaks that may have cut a value in two: those between two characters that are not blanks.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from agentflow_security.detect.randomness import worded

_BREAK: Final = re.compile(r"(?<=[^\n][A-Za-z0-9().+/_=-])[ \t]{0,3}\r?\n[ \t]{0,8}(?=[A-Za-z0-9(])")


_REST_OF_KEY: Final = re.compile(r"[A-Za-z0-9_/+-]{1,200}+={0,2}+(?![A-Za-z0-9]|[ \t]{0,3}[:=@(]|\.[A-Za-z])", re.ASCII)
_LINE_CHARS_MIN: Final = 32  # a line shorter than this had room for more


class Break(NamedTuple):
    """A line break with its blanks: text[start:end]."""

    start: int
    end: int


def breaks(text: str) -> Iterator[Break]:
    """Finds every single line break between possible halves of one value."""
    if "\n" in text:
        for match in _BREAK.finditer(text):
            yield Break(match.start(), match.end())


def line_before(text: str, end: int, chars_max: int) -> int:
    """Returns the start of the line that ends at text[end], or `chars_max` before its end."""
    floor = max(0, end - chars_max)
    return max(floor, text.rfind("\n", floor, end) + 1)


def rest_of_key(text: str, start: int) -> str:
    """Returns the first word of a line, or nothing if it sets another name (`NEXT=...`, `next: ...`)."""
    match = _REST_OF_KEY.match(text, start)
    return match.group() if match else ""


def goes_on(text: str, end: int, rest: str) -> bool:
    """True if the next line's first word continues a key that ends at text[end] and is long enough
    by itself.

    The line has to be full, and the word must have digits between its letters.
    """
    full = end >= _LINE_CHARS_MIN and "\n" not in text[end - _LINE_CHARS_MIN : end]
    digits = sum(c.isdigit() for c in rest)
    mixed = any(c.isupper() for c in rest) and any(c.islower() for c in rest[1:])
    return full and 0 < digits < len(rest) and (digits >= 2 or mixed or worded(rest) < 0.5)
