"""Text that came in pieces of JSON: halves of a character are joined, and a half that stays alone
is replaced.

JSON writes a character beyond the basic plane as two escapes, and a provider may cut its stream
between the two. Each half alone is a Python string that can't be encoded. Pure.
"""

from __future__ import annotations

import re
from typing import Final

REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
_HALF: Final = re.compile("[\ud800-\udfff]")
_PAIR: Final = re.compile("[\ud800-\udbff][\udc00-\udfff]")


def repaired(text: str) -> str:
    """Returns the text with its pairs joined and each lone half replaced.

    It can always be encoded.
    """
    if text.isascii() or _HALF.search(text) is None:
        return text
    return _HALF.sub(REPLACEMENT, _PAIR.sub(_joined, text))


def _joined(match: re.Match[str]) -> str:
    high, low = map(ord, match.group())
    return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))


class Joiner:
    """Repairs a text that comes in pieces.

    A first half at the end of a piece waits for the next one.
    """

    def __init__(self) -> None:
        self._half = ""

    def push(self, piece: str) -> str:
        """Returns the text that can be passed on now."""
        text, self._half = self._half + piece, ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return repaired(text)

    def end(self) -> str:
        """Returns the replacement for a first half that waits, if any."""
        half, self._half = self._half, ""
        return repaired(half)
