"""Values with a checksum: cards (Luhn) and IBANs (mod 97); US identity numbers by their ranges.

Pure. Digits may be split by single spaces, dashes or a line break with its indentation, as PDF text
extraction leaves them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate
from typing import Final

from agentflow_security.detect.findings import CARD, IBAN, ITIN, SSN, Finding, labelled

_GAP: Final = r"(?:-?[ \t]{0,3}\r?\n[ \t]{0,8}|[ \t]{1,2}|[ ]?[-.][ ]?|\+)"
_DIGITS: Final = re.compile(r"[0-9]{1,20}+")
_GAP_CHARS_MAX: Final = 14
_GAP_ONLY: Final = re.compile(_GAP + r"\Z")
_CARD_WORD: Final = re.compile(
    r"card|visa|maestro|amex|american express|discover|diners|jcb|union ?pay|credit|debit|payment|\bpan\b|carte|karte|"
    r"tarjeta|cart[aã]o|\bcc\b"
)
_CARD_SHAPES: Final = {
    (4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 4, 3), (4, 4, 5), (4, 4, 4, 1), (6, 13), (6, 10), (4, 5, 6),
    (4, 4, 4, 3),
}  # fmt: skip
_CARD_MIN, _CARD_MAX = 12, 19
_GROUPS_MAX: Final = 7  # five as printed, and two line breaks
# The first digits of the numbers in `issuer_fits`
_BEGINNINGS: Final = frozenset(["18", "21", *map(str, range(22, 28)), "30", *map(str, range(34, 70)), "81", "97"])


def luhn(digits: str) -> bool:
    total = 0
    for index, char in enumerate(reversed(digits)):
        value = ord(char) - 48
        if index % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


_ANY: Final = frozenset(range(16, 20))
_NONE: Final = frozenset[int]()
_16: Final = frozenset([16])


def issuer_fits(digits: str) -> tuple[bool, bool]:
    """Returns (a network issues such numbers, the length is usual enough to need no label about cards)."""
    lengths, usual = issuer_lengths(digits[:6])
    return len(digits) in lengths, len(digits) in usual


@lru_cache(maxsize=8192)
def issuer_lengths(beginning: str) -> tuple[frozenset[int], frozenset[int]]:  # noqa: PLR0911  a table of ranges
    """Returns the lengths of the numbers that begin with these six digits, and those that need no label."""
    two, three, four, six = int(beginning[:2]), int(beginning[:3]), int(beginning[:4]), int(beginning)
    if beginning[0] == "4":  # Visa; 13 is historic, 19 rare
        return frozenset([13, 16, 19]), _16
    if 51 <= two <= 55 or 2221 <= four <= 2720:  # Mastercard
        return _16, _16
    if two in {34, 37}:  # American Express
        return frozenset([15]), frozenset([15])
    if 300 <= three <= 305 or three == 309 or two in {36, 38, 39}:  # Diners Club
        return frozenset([14, 16, 19]), frozenset([14, 16])
    if two == 35:  # JCB
        return _ANY, _16 if 3528 <= four <= 3589 else _NONE
    if four in {1800, 2131}:  # JCB, old
        return frozenset([15]), frozenset([15])
    if four == 6011 or two == 65 or 644 <= three <= 649 or 622126 <= six <= 622925:  # Discover
        return _ANY, _16
    if two in {62, 81}:  # UnionPay
        return _ANY, _16
    if 2200 <= four <= 2204 or four == 9792:  # Mir, Troy
        return _16, _16
    if two in {50, 60} or 56 <= two <= 69:  # Maestro, RuPay, Verve, Elo, Hipercard
        return frozenset(range(12, 20)), _16
    return _NONE, _NONE


def find_cards(text: str, low: str, name: str) -> Iterator[Finding]:
    """Finds runs of 12 to 19 digits, in one piece or in groups, that Luhn and the issuer ranges confirm."""
    groups = [m.span() for m in _DIGITS.finditer(text)]
    ends = list(accumulate((b - a for a, b in groups), initial=0))
    first = 0
    while first < len(groups):
        last = min(first + _GROUPS_MAX, len(groups))
        start, end = groups[first]
        second = start + 1 if end - start > 1 or first + 1 == last else groups[first + 1][0]
        beginning = text[start] + text[second : second + 1]
        if ends[last] - ends[first] < _CARD_MIN or beginning not in _BEGINNINGS:
            first += 1
            continue
        lengths, _ = issuer_lengths("".join(text[a:b] for a, b in groups[first : first + 6])[:6])
        if lengths.isdisjoint([size - ends[first] for size in ends[first + 1 : last + 1]]):
            first += 1
            continue
        end = _card_from(text, low, name, groups, first)
        if end:
            yield Finding(groups[first][0], groups[end - 1][1], CARD)
        first = end or first + 1


def _card_from(text: str, low: str, name: str, groups: list[tuple[int, int]], first: int) -> int:
    """Returns the group after the longest card that begins with group `first`; 0 if there is no card."""
    start = groups[first][0]
    if start and (text[start - 1].isalnum() or text[start - 1] == "_" or _decimal(text, start)):
        return 0
    digits = ""
    shape: list[int] = []
    found = 0
    for index in range(first, min(first + _GROUPS_MAX, len(groups))):
        a, b = groups[index]
        digits += text[a:b]
        shape.append(b - a)
        if len(digits) > _CARD_MAX:
            break
        if len(digits) >= _CARD_MIN and not _glued(text, b) and _is_card(digits):
            tight = "\n" in text[start:b]
            telling = issuer_fits(digits)[1]
            plausible = len(shape) == 1 or tuple(shape) in _CARD_SHAPES or (tight and _rewrapped(text[start:b]))
            if (telling and plausible) or labelled(_CARD_WORD, low, start, b + 16, name):
                found = index + 1
        if index + 1 == len(groups) or not _joined(text, b, groups[index + 1][0]):
            break
    return found


def _joined(text: str, end: int, start: int) -> bool:
    return start - end <= _GAP_CHARS_MAX and _GAP_ONLY.match(text, end, start) is not None


def _is_card(digits: str) -> bool:
    return len(set(digits)) > 1 and issuer_fits(digits)[0] and luhn(digits)


def _rewrapped(piece: str) -> bool:
    """True if the digits have a card's grouping without the line break inside one group."""
    for joiner in ("", " "):
        flat = re.sub(r"[ \t]*\r?\n[ \t]*", joiner, piece)
        sizes = tuple(len(g) for g in re.split(r"[^0-9]+", flat))
        if len(sizes) == 1 or sizes in _CARD_SHAPES:
            return True
    return False


def _decimal(text: str, start: int) -> bool:
    return start > 1 and text[start - 1] in ".," and text[start - 2].isdigit()


def _glued(text: str, end: int) -> bool:
    if end >= len(text):
        return False
    char = text[end]
    return char.isalnum() or char == "_" or (char in ".," and end + 1 < len(text) and text[end + 1].isdigit())


# --- IBAN ---

# ISO 13616 registry: country -> length
_IBAN_LENGTH: Final = {
    code: int(size)
    for size, codes in {
        "15": "NO", "16": "BE", "18": "DK FI FO GL NL SD FK", "19": "MK SI", "20": "AT BA EE KZ LT LU XK MN",
        "21": "CH HR LI LV", "22": "BG BH CR DE GB GE IE ME RS VA", "23": "AE GI IL IQ OM SO TL",
        "24": "AD CZ ES MD PK RO SA SE SK TN VG", "25": "LY PT ST", "26": "IS TR", "27": "BI DJ FR GR IT MC MR SM",
        "28": "AL AZ BY CY DO GT HU LB NI PL SV HN", "29": "BR EG PS QA UA", "30": "JO KW MU YE", "31": "MT SC",
        "32": "LC", "33": "RU",
    }.items()
    for code in codes.split()
}  # fmt: skip
_IBAN_START: Final = re.compile(r"(?<![A-Za-z0-9])(?:[A-Z]{2}|[a-z]{2}|[A-Z][a-z])[ ]?[0-9]{2}(?![0-9]{31})", re.ASCII)
_IBAN_BODY: Final = re.compile(rf"(?:{_GAP}?+[A-Za-z0-9]){{11,31}}+", re.ASCII)
_ALNUM: Final = re.compile(r"[A-Za-z0-9]", re.ASCII)


def mod97(iban: str) -> bool:
    rearranged = iban[4:] + iban[:4]
    return int("".join(str(int(c, 36)) for c in rearranged)) % 97 == 1


def find_ibans(text: str, low: str, name: str) -> Iterator[Finding]:  # noqa: ARG001
    """Finds a country code, two check digits and the country's number of characters.

    ISO 7064 mod 97-10 confirms them.
    """
    for match in _IBAN_START.finditer(text):
        head = match.group().replace(" ", "").upper()
        length = _IBAN_LENGTH.get(head[:2])
        if length is None:
            continue
        end = match.end()
        compact = head
        body = _IBAN_BODY.match(text, end)
        if body is None:
            continue
        for char in _ALNUM.finditer(text, end, body.end()):
            compact += char.group().upper()
            end = char.end()
            if len(compact) == length:
                break
        if len(compact) != length or (end < len(text) and text[end].isalnum() and text[end].isascii()):
            continue
        if mod97(compact):
            yield Finding(match.start(), end, IBAN)


# --- US identity numbers ---

_SSN: Final = re.compile(
    r"(?<![0-9A-Za-z])(?<![0-9][-.])(?!000|666)[0-9]{3}"
    r"(?P<gap>[- .]|[ ]?-[ ]?|\r?\n)(?!00)[0-9]{2}(?P=gap)(?!0000)[0-9]{4}"
    r"(?![0-9A-Za-z])(?![-.][0-9])"
)
# Cut by a line break, its dashes there or gone: `536-90-\n4399`, `536-904399` (some extractors join lines at a dash)
_SSN_BROKEN: Final = re.compile(
    r"(?<![0-9A-Za-z])(?<![0-9][-.])[0-9]{3}(?P<one>[- ]?(?:[ \t]{0,3}\r?\n[ \t]{0,8})?)"
    r"[0-9]{2}(?P<two>[- ]?(?:[ \t]{0,3}\r?\n[ \t]{0,8})?)[0-9]{4}(?![0-9A-Za-z])(?![-.][0-9])"
)
_NINE: Final = re.compile(r"(?<![0-9A-Za-z.,-])[0-9]{9}(?![0-9A-Za-z])(?![.,-][0-9])")
_SSN_WORD: Final = re.compile(r"\bssn\b|\bssns?\b|social security|\bss ?#|tax ?(?:payer)? ?id|\bitin\b")


def find_ssns(text: str, low: str, name: str) -> Iterator[Finding]:
    """Finds SSN and ITIN with separators. Nine plain digits need a label."""

    def said(match: re.Match[str]) -> bool:
        return labelled(_SSN_WORD, low, match.start(), match.start(), name)

    for match in _SSN.finditer(text):
        digits = re.sub(r"[^0-9]", "", match.group())
        category = _identity(digits)
        if category and (match["gap"] == "-" or said(match)):
            yield Finding(match.start(), match.end(), category)
    for match in _SSN_BROKEN.finditer(text):
        category = _identity(re.sub(r"[^0-9]", "", match.group()))
        dashes = match["one"][:1] == "-" and match["two"][:1] == "-"
        if category and (dashes or (match["one"] + match["two"] and said(match))):
            yield Finding(match.start(), match.end(), category)
    for match in _NINE.finditer(text):
        category = _identity(match.group())
        if category and said(match):
            yield Finding(match.start(), match.end(), category)


def _identity(digits: str) -> str:
    """Returns US_SSN, US_ITIN or nothing, by https://www.ssa.gov/employer/randomization.html and
    IRS ITIN group ranges.
    """
    area, group, serial = digits[:3], int(digits[3:5]), digits[5:]
    if area in {"000", "666"} or group == 0 or serial == "0000":
        return ""
    if area[0] == "9":
        return ITIN if 50 <= group <= 65 or 70 <= group <= 88 or 90 <= group <= 92 or 94 <= group <= 99 else ""
    return SSN
