"""Kinds of documents, and how much in a text speaks for each. The signs stand in `kinds.toml`."""

from __future__ import annotations

import functools
import math
import re
from typing import Final

from agentflow_worker.providers.local.data import table

OPENING_CHARS: Final = 400
USUAL_WORDS: Final = 600  # a longer text has more signs by chance

_DATA: Final = table("kinds")
_SIGNS: Final[dict[str, list[tuple[float, str]]]] = _DATA["signs"]
_NAMES: Final = {name: kind for kind in _SIGNS for name in (kind, *_DATA["names"].get(kind, "").split())}


def kind_of(label: str) -> str:
    """Returns the kind of document that a label means (`incident report` -> incident); empty for none."""
    words = re.findall(r"[^\W\d_]+(?:-[^\W\d_]+)*", label.lower())
    whole = _NAMES.get("_".join(words))
    return whole or next((_NAMES[word] for word in words if word in _NAMES), "")


@functools.cache
def _patterns(kind: str) -> tuple[tuple[float, re.Pattern[str]], ...]:
    return tuple((weight, re.compile(sign, re.I | re.M)) for weight, sign in _SIGNS[kind])


def evidence(text: str, kind: str) -> float:
    """Returns how much speaks for a kind: the weights of its signs in the text.

    A sign at the start counts more.
    """
    weights = 0.0
    for weight, pattern in _patterns(kind):
        places = [match.start() for _, match in zip(range(20), pattern.finditer(text), strict=False)]
        if places:
            opening = 1.5 if places[0] < OPENING_CHARS else 1.0
            weights += weight * opening * (1 + 0.3 * math.log2(len(places)))
    words = text.count(" ") + 1
    return float(weights / max(1.0, (words / USUAL_WORDS)) ** 0.35)


def document_of(text: str) -> tuple[str, dict[str, float]]:
    """Returns the kind of document and the evidence for each kind; `document` if no kind is clearly ahead."""
    scores = {kind: evidence(text, kind) for kind in _SIGNS}
    ranked = sorted(scores.values(), reverse=True)
    best = max(scores, key=lambda kind: scores[kind])
    clear = ranked[0] >= 3.0 and ranked[0] >= 1.25 * ranked[1]
    return (best if clear else "document"), scores
