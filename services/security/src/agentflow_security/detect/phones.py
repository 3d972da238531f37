"""Telephone numbers: a form that Google's libphonenumber confirms, or a label before the digits.

Pure.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from functools import cached_property, lru_cache
from typing import Final

from agentflow_common.private_words import PHONE_WORDS
from agentflow_security.detect.findings import PHONE, Finding, named
from agentflow_security.detect.wraps import breaks, line_before

_WORDS: Final = "|".join(re.escape(word) for word in PHONE_WORDS)
_CANDIDATE: Final = re.compile(
    r"(?:(?<![\w$€£¥/@#+-])(?<![0-9][.,:])(?:(?<![0-9][ ])|(?=[+(]))|(?<=/)(?=\+))"
    r"(?:(?:\+|00)[ ]?)?(?:\([0-9+]{1,5}\)|[0-9]{1,16}+)"
    r"(?:[ \u00a0]?[-./]?[ ]?\(?[0-9]{1,12}+\)?){0,7}"
    r"(?:[ ,]{0,2}(?:ext\.?|extension|x|#)[ .:]{0,2}[0-9]{1,6})?"
    r"(?![\w%€£¥$]|[.,/:-][0-9]|[ ]?(?:€|£|USD|EUR|GBP))",
    re.I,
)
_BEFORE: Final = re.compile(
    r"(?:phone|\bt[eé]l\b|t[eé]l[eé]?f[oó]o?n|telem[oó]vel|mobile?|\bmob\b|\bm[oó]vil\b|handy|\bcell(?:ular)?|\bcelular|\bfax|"
    r"rufnummer|\brufnr\b|durchwahl|\btfno\b|\btelf\b|\btlfn?\b|\bpuhelin|\bcall(?:ed|ing|s)?\b|\bdial(?:ed)?\b|"
    r"\bappele[zr]\b|\bllam(?:e|a|ar)\b|\bchiam(?:a|are|ami)\b|\bligue\b|\bzadzwoń\b|\bтел(?:ефон)?\b|"  # noqa: RUF001
    r"\bring\b|whats ?app|\bsms\b|\btext(?:ed)?\b|hotline|help ?line|land ?line|msisdn|caller|"
    r"\bcep\b|\b(?:reach|contact)(?:ed|ing)? (?:me|us|him|her|them)?\b|" + _WORDS + ")"
    r"(?P<between>[^0-9]{0,28})\Z"
    r"|\b(?:office|home|work|direct|voice|pager|contact|desk|switchboard|portable|fixe|gsm|fon|festnetz|fijo|komórka|"
    r"puh|ruf|kom)(?: number| no\.?| line|\.)?[ \t]?(?: is| est|:|-|=)?\s{0,3}\Z"
)
# Each match of `_BEFORE` and `_AFTER` holds one of these: a text without them is not searched for labels.
_PARTS: Final = (
    "phone", "tel", "tél", "mob", "movil", "móvil", "handy", "cel", "fax", "rufn", "durchwahl", "tfno", "tlf", "puh",
    "call", "dial", "appele", "llam", "chiam", "ligue", "zadzwoń", "тел", "ring", "whats", "sms", "text",
    "line", "msisdn", "cep", "reach", "contact", "office", "home", "work", "direct", "voice", "pager", "desk",
    "switchboard", "portable", "fixe", "gsm", "fon", "festnetz", "fijo", "kom", "ruf", *PHONE_WORDS,
)  # fmt: skip
_AFTER: Final = re.compile(r"[ ]?[-(\[,][ ]?(?:office|fax|home|mobile|cell|work|phone|tel|direct)\b")
_OTHER: Final = re.compile(
    r"\b(?:id|ref(?:erence)?|order|case|ticket|invoice|account|card|amount|price|total|date|year|pin|code|step|line|port|"
    r"version|on|at the|since|until|before|after|by|in)\b[^a-z]{0,4}\Z|[;\n].{0,40}\n"
)
_NAME: Final = re.compile(
    r"phone|\bt[eé]l\b|mobile?|\bm[oó]vil\b|\bcel(?:l|ular)|\bfax|msisdn|whats ?app|\bsms\b|caller|contact number|"
    r"t[eé]l[eé]?f[oó]o?n|telem[oó]vel|rufnummer|durchwahl|handy|\bportable\b|\btlf\b|\btfno\b|" + _WORDS
)
_DATE: Final = re.compile(
    r"(?:19|20)[0-9]{2}[ ]?-[ ]?(?:19|20)[0-9]{2}\Z|"
    r"(?:19|20)[0-9]{2}([-./ ])(?:0?[1-9]|1[0-2])\1(?:0?[1-9]|[12][0-9]|3[01])\b|"
    # `06.12.34` is a date, the beginning of `06.12.34.56.78` is not
    r"(?:0?[1-9]|[12][0-9]|3[01])([-./ ])(?:0?[1-9]|[12][0-9]|3[01])\2(?:(?:19|20)[0-9]{2}\b|[0-9]{2}\b(?!\2[0-9]))"
)
_NANP: Final = re.compile(
    r"(?:\+?1[-. ]?)?(?:\([2-9][0-9]{2}\)[ -]?[2-9][0-9]{2}[-. ]|"
    r"[2-9][0-9]{2}(?P<gap>[-. ])[2-9][0-9]{2}(?P=gap))[0-9]{4}"
)
_ZIP: Final = re.compile(r"[0-9]{5}-[0-9]{4}")
_PARENTHESES: Final = re.compile(r"\(0?[0-9]{1,4}\)[ ]?[0-9]{3,4}[- ]?[0-9]{2,5}(?:[- ][0-9]{2,4}){0,2}\Z")
_GROUP: Final = re.compile(r"[0-9]+")
_SIGNS: Final = re.compile(r"[^0-9+]+")
_EXTENDED: Final = re.compile(r"[A-Za-z#]")
_EXTENSION: Final = re.compile(r"[ ,]{0,2}(?:ext\.?|extension|x|#)[ .:]{0,2}[0-9]{1,6}\Z", re.I)
# Possible countries of a national number (leading 0 or grouped), the largest numbers of users first.
_REGIONS: Final = (
    "US", "GB", "DE", "FR", "IT", "ES", "IN", "AU", "NL", "CH", "ZA", "BR", "TR", "JP", "PH", "SE", "BE", "PL",
)  # fmt: skip
# The first part of a number at the end of a line: unmistakable forms, and any digits after a word like `phone`.
_HEAD: Final = re.compile(
    r"(?<![\w$€£¥/@#+.,-])(?:(?P<plain>\+[0-9]{1,3}|00[1-9][0-9]{0,2})(?:[ ./()-]{0,3}[0-9]{1,5}){0,5}"
    r"|(?:1[-. ])?(?:\([2-9][0-9]{2}\)(?:[ -]?[2-9][0-9]{2})?"
    r"|[2-9][0-9]{2}(?P<gap>[-.])[2-9][0-9]{2}(?=(?P=gap))|[2-9][0-9]{2}(?=[-.])))\)?[ ]?[-./]?\Z"
)
_ANY_HEAD: Final = re.compile(r"(?<![\w$€£¥/@#+.,-])\(?[0-9]{2,5}\)?(?:[ ./-]{1,2}[0-9]{2,5}){0,3}[ ]?[-./]?\Z")
_TELLING: Final = re.compile(r"[+(]|00|[-.] ?\Z")
_TAIL: Final = re.compile(
    r"\(?[0-9]{1,12}+\)?(?:[ \u00a0]?[-./]?[ ]?\(?[0-9]{1,12}+\)?){0,5}(?![\w%€£¥$]|[.,/:-][0-9])"
)
_LAST_GROUP: Final = re.compile(r"[^0-9]*[0-9]+[^0-9]*\Z")
_WORD_AFTER: Final = re.compile(r"[ ]{0,2}[^\W\d_]")
_TAIL_DIGITS_MIN: Final = 3  # fewer may be the number of a list's next item
_HEAD_CHARS: Final = 24
_GROUPS_TOO_MANY: Final = 4  # groups of digits that may follow a number and do not belong to it
# A parse costs about 30 us a region; after this many different numbers in one text the form alone decides.
_LOOKUPS_MAX: Final = 2000


class _Plans:
    """Asks the numbering plans, with a limit for each text; after that the answer is None."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], bool] = {}

    def ask(self, question: str, number: str) -> bool | None:
        """Answers a question about a number.

        Questions: `valid`, `possible` (with a country code), `mobile`, `national` (without one).
        """
        known = self._known.get((question, number))
        if known is None and len(self._known) < _LOOKUPS_MAX:
            known = self._known[question, number] = _ask(question, number)
        return known


def find_phones(text: str, low: str, name: str) -> Iterator[Finding]:
    """Finds international numbers, common national forms, and digits next to a word like `phone`."""
    by_key, labels = named(_NAME, name), _Labels(low)
    plans = _Plans()
    for match in _CANDIDATE.finditer(text):
        if match.end() - match.start() < 7:
            continue
        start, end = match.span()
        raw = match.group()
        body = _EXTENSION.sub("", raw) if _EXTENDED.search(raw) else raw
        if raw[-1] == ")" and raw.count(")") > raw.count("("):  # `(see +44 20 7946 0958)`
            body, end = body.rstrip(") "), end - 1
        compact = _SIGNS.sub("", body)
        size = len(compact) - compact.count("+")
        if size < 7 or (body[0] != "+" and _DATE.match(body)):
            continue
        if size <= 15 and _is_phone(body, compact, size, plans):
            yield Finding(start, end, PHONE)
        elif body[0] == "+" and (valid := _prefix(body, plans)):
            yield Finding(start, start + valid, PHONE)
        elif size <= 15 and (by_key or labels.beside(start, end)):
            yield Finding(start, end, PHONE)
    yield from _broken(text, labels, by_key, plans)


class _Labels:
    """The words like `phone` of one text."""

    def __init__(self, low: str) -> None:
        self._low = low

    @cached_property
    def possible(self) -> bool:
        """False if the text has no such word."""
        return any(part in self._low for part in _PARTS)

    def beside(self, start: int, end: int) -> bool:
        """True if such a word is just before low[start:end], or just after it."""
        if not self.possible:
            return False
        before = _BEFORE.search(self._low, max(0, start - 44), start)
        if before is not None and _OTHER.search(before["between"] or "") is None:
            return True
        return _AFTER.match(self._low, end) is not None


def _is_phone(body: str, compact: str, size: int, plans: _Plans) -> bool:
    """True if the digits have the form of a number and the numbering plans agree."""
    grouped = len(compact) < len(body.strip())
    if body[0] == "+":
        return size >= 8 and plans.ask("possible" if grouped else "valid", compact) is not False
    if compact.startswith("00"):
        return size >= 11 and plans.ask("valid", "+" + compact[2:]) is not False
    if _ZIP.fullmatch(body):
        return False
    if _NANP.fullmatch(body) or _PARENTHESES.match(body):
        return True
    groups = _GROUP.findall(body)
    if compact[0] != "0" or not 9 <= size <= 12 or any(len(group) < 2 for group in groups) or _counts(groups):
        return False
    return plans.ask("national" if grouped else "mobile", compact) is not False


def _counts(groups: list[str]) -> bool:
    """True for `01 02 03 04 05`, which is a list of numbers unless a word such as `phone` is before it."""
    numbers = [int(group) for group in groups]
    return len(numbers) > 3 and all(b - a == 1 for a, b in itertools.pairwise(numbers))


def _prefix(body: str, plans: _Plans) -> int:
    """Returns the length of the valid number at the start of a longer row of groups, or 0.

    An example is `+44 20 7946 0958 12 times`.
    """
    for _ in range(_GROUPS_TOO_MANY):
        last = _LAST_GROUP.search(body)
        if last is None or last.start() == 0:
            return 0
        body = body[: last.start()]
        if plans.ask("valid", _SIGNS.sub("", body)):
            return len(body)
    return 0


def _broken(text: str, labels: _Labels, by_key: bool, plans: _Plans) -> Iterator[Finding]:
    """Finds numbers that a line break has cut in two, as in the text of PDF files."""
    for broken in breaks(text):
        if not (text[broken.end].isdigit() or text[broken.end] == "("):
            continue
        line = line_before(text, broken.start, _HEAD_CHARS)
        head = _HEAD.search(text, line, broken.start) if _TELLING.search(text, line, broken.start) else None
        said = False
        if head is None and (by_key or labels.possible):
            head = _ANY_HEAD.search(text, line, broken.start)
            said = head is not None and (by_key or labels.beside(head.start(), head.end()))
            head = head if said else None
        tail = _TAIL.match(text, broken.end) if head else None
        if head is None or tail is None:
            continue
        start, end = head.start(), tail.end()
        if text[end - 1] == ")" and text.count(")", start, end) > text.count("(", start, end):
            end -= 1
        for _ in range(_GROUPS_TOO_MANY):
            alone = _WORD_AFTER.match(text, end) is None
            if _is_broken_phone(head, text[broken.end : end], plans, said=said, alone=alone):
                yield Finding(start, end, PHONE)
                break
            last = _LAST_GROUP.search(text, broken.end, end)
            if last is None or last.start() <= broken.end:
                break
            end = last.start()


def _is_broken_phone(head: re.Match[str], tail: str, plans: _Plans, *, said: bool, alone: bool) -> bool:
    """True if head and tail are one number.

    said: a word like `phone` is before the head. alone: no noun follows the tail (as in `12
    boxes`).
    """
    first, rest = _SIGNS.sub("", head.group()), _SIGNS.sub("", tail)
    size = len(first) + len(rest) - first.count("+")
    if not 7 <= size <= 15:
        return False
    if said:
        return 2 <= len(first) <= 6 and 8 <= size <= 12
    if head["plain"]:
        first = "+" + first[2:] if first.startswith("00") else first
        whole = plans.ask("valid", first + rest)
        fits = whole or (whole is None and 10 <= size <= 13)
        # if numbers have no fixed length, both may be valid
        return fits and ((alone and len(rest) >= _TAIL_DIGITS_MIN) or not plans.ask("valid", first))
    joint = "" if head.group()[-1] in "-." else " "
    return _NANP.fullmatch(head.group() + joint + tail) is not None


@lru_cache(maxsize=4096)
def _ask(question: str, number: str) -> bool:
    """Asks libphonenumber.

    `possible` is for numbers in groups, as people write them. Without a country code the number has
    to be valid in a large country. Plain digits may be anything, so they have to be a mobile
    number.
    """
    import phonenumbers

    regions = (None,) if question in {"valid", "possible"} else _REGIONS
    for region in regions:
        try:
            parsed = phonenumbers.parse(number, region)
        except phonenumbers.NumberParseException:
            continue
        fits = phonenumbers.is_possible_number if question == "possible" else phonenumbers.is_valid_number
        if fits(parsed) and (
            question != "mobile" or phonenumbers.number_type(parsed) == phonenumbers.PhoneNumberType.MOBILE
        ):
            return True
    return False
