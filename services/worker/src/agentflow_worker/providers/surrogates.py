"""Text that came in pieces of JSON: halves of a character are joined, and what has no other half is replaced.

JSON writes a character beyond the basic plane as two escapes, and a provider may cut its stream between the two. Each
half alone is a Python string that can't be encoded. Pure.
"""

from __future__ import annotations

import re
from typing import Final

REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
_HALF: Final = re.compile("[\ud800-\udfff]")
_PAIR: Final = re.compile("[\ud800-\udbff][\udc00-\udfff]")


def mended(text: str) -> str:
    """The text with its pairs joined and each lone half replaced; it can always be encoded."""
    if text.isascii() or _HALF.search(text) is None:
        return text
    return _HALF.sub(REPLACEMENT, _PAIR.sub(_joined, text))


def _joined(match: re.Match[str]) -> str:
    high, low = map(ord, match.group())
    return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))


class Joiner:
    """Mends a text that comes in pieces: a first half at the end of a piece waits for the next one."""

    def __init__(self) -> None:
        self._held = ""

    def push(self, piece: str) -> str:
        """What can be passed on now."""
        text, self._held = self._held + piece, ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self._held = text[:-1], text[-1]
        return mended(text)

    def end(self) -> str:
        """What was held back and has no other half."""
        held, self._held = self._held, ""
        return mended(held)
