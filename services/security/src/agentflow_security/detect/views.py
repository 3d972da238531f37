"""A second view of a text: escapes are decoded, invisible characters removed. Pure.

A detector sees plain text only, with spaces around words of scripts without spaces (`电话138...`). `4111%201111...`,
`jane&#64;example.com`, `4111\\u00a01111` or full-width digits become plain in a second view, whose findings are
mapped back to the original by an offset table.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from functools import lru_cache
from typing import Final, NamedTuple

# Thai, kana, Chinese and Korean letters: their words have no spaces around them, and yet end a value in ASCII.
_CLOSE: Final = r"\u0e00-\u0e7f\u3041-\u30ff\u3400-\u9fff\uac00-\ud7af"
_ASCII: Final = r"0-9A-Za-z\uff10-\uff19\uff21-\uff3a\uff41-\uff5a"
_ESCAPED: Final = re.compile(
    rf"(?<=[{_CLOSE}])(?=[{_ASCII}+(])|(?<=[{_ASCII})])(?=[{_CLOSE}])|"
    r"(?:%[2-7][0-9A-Fa-f])"  # URL encoding of printable ASCII
    r"|&(?:#[0-9]{2,6}|#[xX][0-9A-Fa-f]{2,5}|nbsp|amp|quot|apos|lt|gt|commat|colon|equals|period|lowbar|shy);"
    r"|=(?:40|3D|2E|3A)(?![0-9A-Fa-f])"  # quoted-printable, the characters that matter in mail headers
    r"|\\(?:u00[2-7][0-9A-Fa-f]|[nrt\"'/])"  # JSON inside a string
    # other scripts' digits, odd spaces, hyphens and invisible characters, full-width and mathematical forms
    r"|[\u00a0\u00ad\u061c\u0660-\u0669\u06f0-\u06f9\u0966-\u096f\u1680\u180e\u2000-\u206f\u2070-\u209c\u2212\u3000"
    r"\ufe52-\ufe6b\ufeff\uff01-\uff5e\U0001d400-\U0001d7ff]"
)
_ENTITY: Final = {
    "nbsp": " ", "amp": "&", "quot": '"', "apos": "'", "lt": "<", "gt": ">", "commat": "@", "colon": ":",
    "equals": "=", "period": ".", "lowbar": "_", "shy": "",
}  # fmt: skip
_KNOWN_MAX: Final = 4096  # different escapes of one text whose meaning is kept
_BACKSLASH: Final = {"n": "\n", "r": "\r", "t": "\t"}


class View(NamedTuple):
    """A decoded text."""

    text: str
    offsets: array[int]  # of each character in the original, and one more for the end


def _decode(piece: str) -> str:
    if not piece:
        return " "
    head = piece[0]
    if head == "%":
        return chr(int(piece[1:], 16))
    if head == "=":
        return chr(int(piece[1:], 16))
    if head == "\\":
        return chr(int(piece[2:], 16)) if piece[1] == "u" else _BACKSLASH.get(piece[1], piece[1])
    if head == "&":
        return _decode_entity(piece)
    return _plain(piece)


def _decode_entity(piece: str) -> str:
    body = piece[1:-1]
    if body[0] != "#":
        return _ENTITY[body]
    code = int(body[2:], 16) if body[1] in "xX" else int(body[1:])
    return _plain(chr(code)) if code < 0x110000 else piece


@lru_cache(maxsize=4096)
def _plain(char: str) -> str:
    """Returns the ASCII character that a reader sees: for full-width forms, other digits, odd
    spaces and hyphens.
    """
    category = unicodedata.category(char)
    if category == "Nd":
        return str(unicodedata.digit(char))
    if category == "Cf":
        return ""
    if category in {"Zs", "Zl", "Zp"}:
        return " "
    if category == "Pd" or char == "\u2212":
        return "-"
    folded = unicodedata.normalize("NFKC", char)
    return folded if len(folded) == 1 and folded.isascii() else char


def decoded(text: str) -> View | None:
    """Returns the decoded view, or None if it equals the text."""
    parts: list[str] = []
    offsets = array("q")
    known: dict[str, str] = {}
    position = 0
    changed = False
    for match in _ESCAPED.finditer(text):
        piece = match.group()
        plain = known.get(piece)
        if plain is None:
            plain = _decode(piece)
            if len(known) < _KNOWN_MAX:
                known[piece] = plain
        if plain == piece:
            continue
        changed = True
        start, end = match.span()
        if start > position:
            parts.append(text[position:start])
            offsets.extend(range(position, start))
        parts.append(plain)
        if len(plain) == 1:
            offsets.append(start)
        else:
            offsets.extend([start] * len(plain))
        position = end
    if not changed:
        return None
    parts.append(text[position:])
    offsets.extend(range(position, len(text) + 1))
    return View("".join(parts), offsets)


def lowered(text: str) -> str:
    """Returns lower case of the same length, so that offsets stay right (`İ` would become two characters)."""
    low = text.lower()
    return low if len(low) == len(text) else "".join(c.lower() if len(c.lower()) == 1 else c for c in text)
