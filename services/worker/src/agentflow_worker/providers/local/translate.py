"""A gloss, not a translation: frequent phrases and words from `glossary.csv`; everything else stays
as it is.

It exists so that a translation workflow runs offline and its output depends on its input. The
output says that it is a gloss.
"""

from __future__ import annotations

import re
from typing import Any, Final

from agentflow_worker.providers.local import text as t
from agentflow_worker.providers.local.data import rows

_TABLE: Final = rows("glossary")
LANGUAGES: Final = tuple(_TABLE[0])


def translate(text: str, target: str, source: str = "") -> dict[str, Any]:
    """Returns {"translation", "source_language", "target_language", "method", "coverage": 0..1}.

    method: `gloss`, `none` (no glossary for these languages) or `unchanged` (both languages are the
    same).
    """
    target = t.language_code(target)
    source = t.language_code(source) if source else t.detect_language(text)[0]
    result = {"source_language": source, "target_language": target}
    if source == target:
        return {**result, "translation": text, "method": "unchanged", "coverage": 1.0}
    if target not in LANGUAGES or source not in LANGUAGES:
        return {**result, "translation": text, "method": "none", "coverage": 0.0}
    glossed, coverage = _gloss(text, source, target)
    return {**result, "translation": glossed, "method": "gloss", "coverage": coverage}


def _gloss(text: str, source: str, target: str) -> tuple[str, float]:
    column, wanted = LANGUAGES.index(source), LANGUAGES.index(target)
    glossary: dict[str, str] = {}
    for row in _TABLE[1:]:
        glossary.setdefault(row[column].lower(), row[wanted])
    keys = sorted(glossary, key=lambda key: (-len(key), key))
    pattern = re.compile(r"(?<![\w<:])(?:" + "|".join(map(re.escape, keys)) + r")(?![\w>])", re.I)
    known = 0

    def put(match: re.Match[str]) -> str:
        nonlocal known
        known += len(match.group().split())
        word = glossary[match.group().lower()]
        return word[:1].upper() + word[1:] if match.group()[:1].isupper() and match.group() != "I" else word

    glossed = pattern.sub(put, text)
    total = sum(1 for word in t.words(text) if word[0].isalpha())
    return glossed, round(min(1.0, known / total), 3) if total else 0.0
