"""Telephone numbers: a shape, then the numbering plans of Google's libphonenumber, or a word that says so. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from agentflow_security.detect.findings import PHONE, Finding

_CANDIDATE: Final = re.compile(
    r"(?:(?<![\w$€£¥/@#+-])(?<![0-9][.,:])(?:(?<![0-9][ ])|(?=[+(]))|(?<=/)(?=\+))"
    r"(?:(?:\+|00)[ ]?)?(?:\([0-9+]{1,5}\)|[0-9]{1,16}+)"
    r"(?:[ \u00a0]?[-./]?[ ]?\(?[0-9]{1,12}+\)?){0,7}"
    r"(?:[ ,]{0,2}(?:ext\.?|extension|x|#)[ .:]{0,2}[0-9]{1,6})?"
    r"(?![\w%€£¥$]|[.,/:-][0-9]|[ ]?(?:€|£|USD|EUR|GBP))",
    re.I,
)
_BEFORE: Final = re.compile(
    r"(?:phone|\btel\b|t[eé]l[eé]?f[oó]n|mobile?|\bmob\b|handy|\bcell(?:ular)?|\bfax|\bcall(?:ed|ing|s)?\b|\bdial(?:ed)?\b|"
    r"\bring\b|whats ?app|\bsms\b|\btext(?:ed)?\b|hotline|help ?line|land ?line|msisdn|caller|"
    r"\b(?:reach|contact)(?:ed|ing)? (?:me|us|him|her|them)?\b)"
    r"(?P<between>[^0-9]{0,28})\Z"
    r"|\b(?:office|home|work|direct|voice|pager|contact)(?: number| no\.?| line)?[ \t]?(?: is|:|-|=)?\s{0,3}\Z"
)
_AFTER: Final = re.compile(r"[ ]?[-(\[,][ ]?(?:office|fax|home|mobile|cell|work|phone|tel|direct)\b")
_OTHER: Final = re.compile(
    r"\b(?:id|ref(?:erence)?|order|case|ticket|invoice|account|card|amount|price|total|date|year|pin|code|step|line|port|"
    r"version|on|at the|since|until|before|after|by|in)\b[^a-z]{0,4}\Z|[;\n].{0,40}\n"
)
_NAME: Final = re.compile(r"phone|\btel\b|mobile|\bcell|\bfax|msisdn|whats ?app|\bsms\b|caller|contact number|telefon")
_DATE: Final = re.compile(
    r"(?:19|20)[0-9]{2}[ ]?-[ ]?(?:19|20)[0-9]{2}\Z|"
    r"(?:19|20)[0-9]{2}([-./ ])(?:0?[1-9]|1[0-2])\1(?:0?[1-9]|[12][0-9]|3[01])\b|"
    r"(?:0?[1-9]|[12][0-9]|3[01])([-./ ])(?:0?[1-9]|[12][0-9]|3[01])\2(?:19|20)?[0-9]{2}\b"
)
_NANP: Final = re.compile(
    r"(?:\+?1[-. ]?)?(?:\([2-9][0-9]{2}\)[ -]?[2-9][0-9]{2}[-. ]|"
    r"[2-9][0-9]{2}(?P<gap>[-. ])[2-9][0-9]{2}(?P=gap))[0-9]{4}"
)
_ZIP: Final = re.compile(r"[0-9]{5}-[0-9]{4}")
_PARENTHESES: Final = re.compile(r"\(0?[0-9]{1,4}\)[ ]?[0-9]{3,4}[- ]?[0-9]{2,5}(?:[- ][0-9]{2,4}){0,2}\Z")
_GROUP: Final = re.compile(r"[0-9]+")
_EXTENSION: Final = re.compile(r"[ ,]{0,2}(?:ext\.?|extension|x|#)[ .:]{0,2}[0-9]{1,6}\Z", re.I)
# Where a national number (leading 0 or grouped) may come from when no country code says so; by numbers of users.
_REGIONS: Final = (
    "US",
    "GB",
    "DE",
    "FR",
    "IT",
    "ES",
    "IN",
    "AU",
    "NL",
    "CH",
    "ZA",
    "BR",
    "TR",
    "JP",
    "PH",
    "SE",
    "BE",
    "PL",
)
# Parsing costs some 30 us a region; past this many candidates in one text the shape alone decides.
_LOOKUPS_MAX: Final = 4000


def find_phones(text: str, low: str, name: str) -> Iterator[Finding]:
    """International numbers, common national forms, and any plausible digits next to a word like `phone`."""
    named = bool(name) and _NAME.search(name.lower().replace("_", " ")) is not None
    lookups = 0
    for match in _CANDIDATE.finditer(text):
        raw = match.group()
        digits = sum(c.isdigit() for c in raw)
        if digits < 7 or digits > 20:
            continue
        body = _EXTENSION.sub("", raw)
        size = sum(c.isdigit() for c in body)
        if not 7 <= size <= 15 or _DATE.match(body):
            continue
        said = named or _said(low, match.start(), match.end())
        lookups += 1
        if _is_phone(body, size, said, exact=lookups <= _LOOKUPS_MAX):
            start = match.start()
            yield Finding(start, match.end(), PHONE)


def _said(low: str, start: int, end: int) -> bool:
    before = _BEFORE.search(low, max(0, start - 44), start)
    if before is not None and _OTHER.search(before["between"] or "") is None:
        return True
    return _AFTER.match(low, end) is not None


def _is_phone(body: str, size: int, said: bool, *, exact: bool) -> bool:  # noqa: PLR0911
    compact = re.sub(r"[^0-9+]", "", body)
    grouped = len(compact) < len(body.strip())
    if said:
        return True
    if body.startswith("+"):
        return size >= 8 and (not exact or _possible(compact, grouped))
    if compact.startswith("00"):
        return size >= 11 and (not exact or _possible("+" + compact[2:], grouped=False))
    if _ZIP.fullmatch(body):
        return False
    if _NANP.fullmatch(body) or _PARENTHESES.match(body):
        return True
    if compact[0] != "0" or not 9 <= size <= 12 or any(len(group) < 2 for group in _GROUP.findall(body)):
        return False
    return not exact or _valid_somewhere(compact, mobile=not grouped)


@lru_cache(maxsize=4096)
def _possible(number: str, grouped: bool) -> bool:
    """Whether `+<country><national>` is valid, or, written in groups as people write them, at least possible."""
    import phonenumbers

    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return False
    return bool(phonenumbers.is_possible_number(parsed) if grouped else phonenumbers.is_valid_number(parsed))


@lru_cache(maxsize=4096)
def _valid_somewhere(number: str, *, mobile: bool) -> bool:
    """Whether a number with its national prefix is valid in a large country; mobile: only as a mobile number, because
    ten plain digits may be anything."""
    import phonenumbers

    for region in _REGIONS:
        try:
            parsed = phonenumbers.parse(number, region)
            if phonenumbers.is_valid_number(parsed) and (
                not mobile or phonenumbers.number_type(parsed) == phonenumbers.PhoneNumberType.MOBILE
            ):
                return True
        except phonenumbers.NumberParseException:
            continue
    return False
