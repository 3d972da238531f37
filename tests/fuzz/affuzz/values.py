"""Values and texts at the edge of what JSON, Python, Jinja and CEL agree on."""

from __future__ import annotations

import math
import random
from typing import Any, Final

NAMES: Final = (
    "items", "keys", "values", "get", "mro", "__class__", "__dict__", "count", "index", "format", "x", "n", "a",
    "length", "self", "result", "class", "lambda", "size", "has", "type", "0", "null", "true", "none", "state",
)  # fmt: skip
KEYS: Final = (*NAMES, "", " ", "a.b", "\U0001f600", "é", "$ref", "{{x}}", "x y", "'", '"', "\u202e")
TEXTS: Final = (
    "", " ", "a", "abc", "0", "-1", "null", "true", "NaN", "items", "__class__", "{{ 7 * 7 }}",
    "\x00", "\x7f", "\x1b[0m", "\ufeff", "\u202eabc", "e\u0301", "\u00df", "\U0001f600", "\U0001f469\u200d\U0001f680",
    "%s%d", "' or 1", '"', "\\", "\n\r\t", "\ud83d is a word with backslash u", "$blob", "<b>&</b>", "9007199254740993",
    "2026-02-30", "1e999", "\ufdd0\uffff",
)  # fmt: skip
LONE: Final = ("\ud800", "x\udfff", "\ude00\ud83d")
INTEGERS: Final = (
    0, 1, -1, 2, 7, 2**31, 2**53 - 1, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63) - 1,
    2**70 + 1, 10**30, 10**400,
)  # fmt: skip
FLOATS: Final = (0.0, -0.0, 0.1, 1.5, 1e-320, 5e-324, 1e16, 1e22, 1.7976931348623157e308, -2.5, 9007199254740992.0)
NO_NUMBERS: Final = (math.nan, math.inf, -math.inf)


def text(rng: random.Random, lone: bool = False) -> str:
    if lone and rng.random() < 0.05:
        return rng.choice(LONE)
    if rng.random() < 0.03:
        return rng.choice("ax\u00e9\U0001f600") * rng.choice([300, 3_000, 70_000])
    if rng.random() < 0.2:
        return "".join(chr(rng.choice([rng.randrange(32, 127), rng.randrange(0xA0, 0xD7FF)])) for _ in range(6))
    return rng.choice(TEXTS).replace("\ud83d", "\\ud83d")


def value(rng: random.Random, depth: int = 3, odd: bool = False) -> Any:  # noqa: PLR0911  (one for each kind)
    """A JSON value; odd: at times one that JSON does not have."""
    luck = rng.random()
    if odd and luck < 0.02:
        return rng.choice([*NO_NUMBERS, *LONE, b"bytes", 10**5_000, {1, 2}, object(), {("a",): 1}, nested(80)])
    if luck < 0.12:
        return None
    if luck < 0.2:
        return rng.random() < 0.5
    if luck < 0.4:
        return rng.choice(INTEGERS)
    if luck < 0.5:
        return rng.choice(FLOATS)
    if luck < 0.65 or depth == 0:
        return text(rng, lone=odd)
    if luck < 0.8:
        return [value(rng, depth - 1, odd) for _ in range(rng.choice([0, 1, 2, 3]))]
    if luck < 0.82:
        return nested(rng.choice([3, 25, 40]))
    return {key(rng): value(rng, depth - 1, odd) for _ in range(rng.choice([0, 1, 2, 4]))}


def key(rng: random.Random) -> str:
    return rng.choice(KEYS) if rng.random() < 0.5 else rng.choice(NAMES[:16])


def nested(depth: int) -> Any:
    found: Any = 1
    for level in range(depth):
        found = [found] if level % 2 else {"x": found}
    return found
