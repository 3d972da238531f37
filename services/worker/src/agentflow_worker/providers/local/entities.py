"""Names, dates and amounts by their shape: capitalised runs that a sentence start alone does not explain."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Final

from agentflow_common import screening
from agentflow_worker.providers.local import text as t

_MONTHS: Final = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
_DATE: Final = re.compile(
    rf"\b(?:\d{{4}}-\d{{2}}-\d{{2}}|\d{{1,2}}[./]\d{{1,2}}[./]\d{{2,4}}|\d{{1,2}}\.? (?:{_MONTHS})[a-z]*\.?,? \d{{4}}|"
    rf"(?:{_MONTHS})[a-z]*\.? \d{{1,2}},? \d{{4}})\b"
)
_AMOUNT: Final = re.compile(
    r"(?:\b(?:EUR|USD|GBP|CHF|JPY) ?|[$€£¥])\d(?:[\d,.]*\d)?(?: (?:million|billion|thousand))?"
    r"|\b\d(?:[\d,.]*\d)? ?(?:EUR|USD|GBP|CHF|JPY|€|£)|\b\d+(?:[.,]\d+)?(?: ?%| percent\b)"
)
_CURRENCIES: Final = frozenset(("EUR", "USD", "GBP", "CHF", "JPY"))
_NAME: Final = re.compile(r"[A-Z][\w&'-]+(?: (?:(?:of|the|and|de|van|von|del|la) )?[A-Z][\w&'-]+)*")


def entities(text: str, most: int = 25) -> dict[str, list[Any]]:
    """Returns {"names", "dates", "amounts": as written, most frequent first, "protected": count by
    kind of token}.
    """
    sample = text[: t.TEXT_CHARS_MAX]
    tokens = Counter(match.group(1) for match in screening.TOKEN.finditer(sample))
    plain = screening.TOKEN.sub(" ", sample)
    names: Counter[str] = Counter()
    for sentence in t.sentences(plain):
        for match in _NAME.finditer(sentence):
            name = _trimmed(match.group(), at_start=match.start() == 0)
            if name:
                names[name] += 1
    lowered = set(re.findall(r"\b[a-z][\w'-]+", plain))
    # one capitalised word that also occurs in lower case is a common word at a sentence's start
    kept = {name: n for name, n in names.items() if " " in name or name.lower() not in lowered}
    return {
        "names": _top(Counter(kept), most),
        "dates": _top(Counter(_DATE.findall(plain)), most),
        "amounts": _top(Counter(match.strip() for match in _AMOUNT.findall(plain)), most),
        "protected": [{"kind": kind, "count": n} for kind, n in sorted(tokens.items())],
    }


def _trimmed(name: str, *, at_start: bool) -> str:
    words = name.removesuffix("'s").split(" ")
    while words and words[0].lower() in t.stopwords_of("en"):
        words.pop(0)
    if len(words) == 1 and words[0] in _CURRENCIES:
        return ""
    if len(words) == 1 and (at_start or len(words[0]) < 3):
        return "" if at_start and not words[0].isupper() else words[0] if len(words[0]) > 1 else ""
    return " ".join(words)


def _top(counts: Counter[str], most: int) -> list[str]:
    return [value for value, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]]
