"""Findings of detectors, and how overlapping findings become disjoint ones. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

EMAIL: Final = "EMAIL_ADDRESS"
PHONE: Final = "PHONE_NUMBER"
CARD: Final = "CREDIT_CARD"
IBAN: Final = "IBAN_CODE"
SSN: Final = "US_SSN"
ITIN: Final = "US_ITIN"
DE_TAX_ID: Final = "DE_TAX_ID"
FR_NIR: Final = "FR_NIR"
ES_NIF: Final = "ES_NIF"
ES_NIE: Final = "ES_NIE"
IT_FISCAL_CODE: Final = "IT_FISCAL_CODE"
EU_VAT_ID: Final = "EU_VAT_ID"
PASSPORT: Final = "PASSPORT"
DATE_OF_BIRTH: Final = "DATE_OF_BIRTH"
PIN: Final = "PIN"
IP: Final = "IP_ADDRESS"
API_KEY: Final = "API_KEY"
PASSWORD: Final = "PASSWORD"  # noqa: S105  the name of a category
PRIVATE_KEY: Final = "PRIVATE_KEY"

LABEL_CHARS: Final = 48  # that a label may stand before a value

# Among findings of equal length the more certain category names the vault token: a checksum beats a form.
_BY_CERTAINTY: Final = (
    {PASSWORD},
    {PHONE},
    {IP},
    {PASSPORT, DATE_OF_BIRTH, PIN, SSN, ITIN},
    {EMAIL, FR_NIR, IT_FISCAL_CODE, ES_NIF, ES_NIE, DE_TAX_ID, EU_VAT_ID},
    {CARD, IBAN},
    {API_KEY},
    {PRIVATE_KEY},
)
_RANK: Final = {category: rank for rank, categories in enumerate(_BY_CERTAINTY) for category in categories}
CATEGORIES: Final = frozenset(_RANK)


class Finding(NamedTuple):
    """A part of a text: text[start:end] is a `category`."""

    start: int
    end: int
    category: str


# (text, its lower-case form of the same length, the dict key of the text or "") -> findings
Detector = Callable[[str, str, str], Iterable[Finding]]


def disjoint(findings: Iterable[Finding]) -> list[Finding]:
    """Merges overlapping findings and returns them in order.

    The span is the union, so that no part is left over at an edge. The category is that of the
    longest finding, then of the most certain one.
    """
    merged: list[Finding] = []
    best = (0, 0)
    for item in sorted(findings):
        weight = (item.end - item.start, _RANK[item.category])
        if merged and item.start < merged[-1].end:
            last = merged[-1]
            category = item.category if weight > best else last.category
            merged[-1] = Finding(last.start, max(last.end, item.end), category)
            best = max(best, weight)
        else:
            merged.append(item)
            best = weight
    return merged


def words(text: str) -> frozenset[str]:
    """Returns a list of words as a set."""
    return frozenset(text.split())


def named(label: re.Pattern[str], name: str) -> bool:
    """True if a dict key holds the label."""
    return name != "" and label.search(name.lower().replace("_", " ")) is not None


def labelled(label: re.Pattern[str], low: str, start: int, end: int, name: str) -> bool:
    """True if the dict key holds the label, or the text from shortly before `start` up to `end` does."""
    return named(label, name) or label.search(low, max(0, start - LABEL_CHARS), end) is not None
