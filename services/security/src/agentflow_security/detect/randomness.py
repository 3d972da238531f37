"""Tells random strings, such as keys, from strings that a person wrote. Pure."""

from __future__ import annotations

import itertools
import math
import re
import string
from collections import Counter
from typing import Final

_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z", re.I)
_WORD: Final = re.compile(r"[A-Z]?[a-z]{3,}|[A-Z]{3,}")
_VOWELS: Final = frozenset("aeiouy")
_HEX: Final = frozenset("abcdef")
_ORDERED: Final = re.compile(
    "|".join(
        row[i : i + 4]
        for row in (string.ascii_lowercase, "qwertyuiop", "asdfghjkl", "zxcvbnm")
        for i in range(len(row) - 3)
    )
)


def entropy(text: str) -> float:
    """Returns the Shannon entropy in bits a character."""
    size = len(text)
    return -sum(n / size * math.log2(n / size) for n in Counter(text).values()) if size else 0.0


def is_filler(value: str) -> bool:
    """True for `xxxxxxxx`, `********`, `000000`, `<your key>` and other harmless fillers."""
    kinds = set(value.lower()) - set("-_. =")
    if len(kinds) <= 2:
        return True
    low = value.lower()
    return "xxxxx" in low or "*****" in low or "....." in low


def is_uuid(value: str) -> bool:
    return len(value) == 36 and _UUID.match(value) is not None


def looks_random(value: str, *, letters_only: bool = False) -> bool:
    """True for a mix of digits and letters with enough entropy and few pronounceable words.

    letters_only: a body without any digit may pass, by its changes of case.
    """
    size = len(value)
    if size < 8 or is_filler(value):
        return False
    digits = sum(c.isdigit() for c in value)
    letters = sum(c.isalpha() for c in value)
    if letters == 0:
        return False
    if digits == 0 and not (letters_only and any(c.isupper() for c in value) and any(c.islower() for c in value)):
        return False
    if entropy(value) < min(2.7, 0.72 * math.log2(size)):
        return False
    return worded(value) <= (0.5 if digits >= 2 else 0.3)


def worded(value: str) -> float:
    """Returns the share of characters in pronounceable words."""
    return sum(len(word) for word in _WORD.findall(value) if _pronounceable(word)) / max(1, len(value))


def _pronounceable(word: str) -> bool:
    """True if vowels are as frequent as in a language. Hex and `abcd...` are not words."""
    low = word.lower()
    if len(low) < 4 or not set(low) - _HEX or _ORDERED.search(low):
        return False
    return 0.2 <= sum(c in _VOWELS for c in low) / len(low) <= 0.7


def transitions(value: str) -> float:
    """Returns the share of neighbouring characters that differ in class (lower, upper, digit, other)."""
    classes = ["l" if c.islower() else "u" if c.isupper() else "d" if c.isdigit() else "o" for c in value]
    return sum(a != b for a, b in itertools.pairwise(classes)) / max(1, len(value) - 1)
