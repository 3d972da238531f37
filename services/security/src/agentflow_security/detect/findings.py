"""Findings of detectors, and how overlapping findings become disjoint ones. Pure."""

from __future__ import annotations

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
PASSWORD: Final = "PASSWORD"  # noqa: S105  the name of an entity
PRIVATE_KEY: Final = "PRIVATE_KEY"

# Among findings of equal length the more certain entity names the vault token: a checksum beats a form.
_RANK: Final = {
    PRIVATE_KEY: 9,
    API_KEY: 8,
    CARD: 7,
    IBAN: 7,
    EMAIL: 6,
    FR_NIR: 6,
    IT_FISCAL_CODE: 6,
    ES_NIF: 6,
    ES_NIE: 6,
    DE_TAX_ID: 6,
    EU_VAT_ID: 6,
    PASSPORT: 5,
    DATE_OF_BIRTH: 5,
    PIN: 5,
    SSN: 5,
    ITIN: 5,
    IP: 4,
    PHONE: 3,
    PASSWORD: 2,
}
ENTITIES: Final = frozenset(_RANK)


class Finding(NamedTuple):
    """A part of a text: text[start:end] is an `entity`."""

    start: int
    end: int
    entity: str


# (text, its lower-case form of the same length, the dict key of the text or "") -> findings
Detector = Callable[[str, str, str], Iterable[Finding]]


def disjoint(findings: Iterable[Finding]) -> list[Finding]:
    """Merges overlapping findings and returns them in order.

    The span is the union, so that no part is left over at an edge. The entity is that of the
    longest finding, then of the most certain one.
    """
    merged: list[Finding] = []
    best = (0, 0)
    for item in sorted(findings):
        weight = (item.end - item.start, _RANK[item.entity])
        if merged and item.start < merged[-1].end:
            last = merged[-1]
            entity = item.entity if weight > best else last.entity
            merged[-1] = Finding(last.start, max(last.end, item.end), entity)
            best = max(best, weight)
        else:
            merged.append(item)
            best = weight
    return merged


def words(text: str) -> frozenset[str]:
    """Returns a list of words as a set."""
    return frozenset(text.split())
