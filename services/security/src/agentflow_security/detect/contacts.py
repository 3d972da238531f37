"""E-mail addresses and IP addresses. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Final

from agentflow_security.detect.findings import EMAIL, IP, Finding, words

_LOCAL: Final = re.compile(r"[\w.!#$&'*+/?^`{|}~=%-]")
_LOCAL_CHARS_MAX: Final = 64  # RFC 5321
_DOMAIN: Final = re.compile(
    r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}(?:xn--[a-z0-9-]{2,40}|[^\W\d_]{2,24})(?![\w])", re.I
)
_DOMAIN_CHARS_MAX: Final = 253
# `icon@2x.png`, `chunk@hash.js`: file names, and none of these is a top-level domain
_NOT_DOMAINS: Final = words(
    """
    png jpg jpeg gif svg webp js mjs cjs ts tsx jsx css scss json yaml yml html htm php txt csv xml lock tgz gz tar exe
    dll jar whl
    """
)
_URL_LOGIN: Final = re.compile(r"://[^\s/@\"'<>]{0,128}:\Z")


def find_emails(text: str, low: str, name: str) -> Iterator[Finding]:  # noqa: ARG001
    """Finds every `@` between a plausible local part and a domain with an alphabetic top level."""
    at = text.find("@")
    floor = 0
    while at >= 0:
        domain = _DOMAIN.match(text, at + 1, min(len(text), at + 1 + _DOMAIN_CHARS_MAX))
        if domain is not None and low[domain.start() : domain.end()].rsplit(".", 1)[1] not in _NOT_DOMAINS:
            start = _local_start(text, at, floor)
            end = domain.end()
            if start < at and not _is_login(text, low, start, at, end):
                yield Finding(start, end, EMAIL)
                floor = end
        at = text.find("@", at + 1)


def _local_start(text: str, at: int, floor: int) -> int:
    """Returns the start of the local part before text[at]; `at` if there is none."""
    start = at
    limit = max(floor, at - _LOCAL_CHARS_MAX)
    if at - 1 > floor and text[at - 1] == '"':  # "john doe"@example.com
        opening = text.rfind('"', limit, at - 1)
        return opening if 0 <= opening < at - 2 else at
    while start > limit and _LOCAL.match(text[start - 1]):
        start -= 1
    # signs before an address in URLs, parameters, quotes and Markdown do not belong to it
    piece = text[start:at]
    for sign in ("=", "&", "?", "/", "'", "`", "|", "*", "{", "}", "^", "$", "!", "#"):
        cut = piece.rfind(sign)
        if cut >= 0 and not (sign == "'" and 0 < cut < len(piece) - 1 and piece[cut - 1].isalpha()):
            start += cut + 1
            piece = text[start:at]
    stripped = piece.lstrip(".-~%+_" if piece[:1] != "_" else ".-~%+")
    if piece.startswith("_") and stripped.count("_") % 2:  # _jane@example.com_ in Markdown
        stripped = stripped[1:]
    start += len(piece) - len(stripped)
    return start if stripped and not stripped.endswith(".") else at


def _is_login(text: str, low: str, start: int, at: int, end: int) -> bool:
    """True for `scheme://user:password@host` and `git@host:path`, which are not addresses.

    Another detector finds the password.
    """
    if start and text[start - 1] == ":" and _URL_LOGIN.search(text, max(0, start - 140), start):
        return True
    if low.startswith("://", start - 3) and end < len(text) and text[end] in "/:":
        return False
    return low[start:at] == "git" and text[end : end + 1] in {":", "/"}


_V4: Final = re.compile(
    r"(?<![\w.])(?<![\w]-)(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(?:\.(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])){3}"
    r"(?:/(?:3[0-2]|[12]?[0-9])(?![\w.]))?(?![\w]|\.[0-9]|-[0-9])"
)
_VERSION: Final = re.compile(
    r"(?:\bv(?:er(?:sion)?)?|version|release|build|firmware|revision|assembly|upgrade[ds]? (?:to|from)|driver|patch|"
    r"section|chapter|clause|figure|table|rfc)s?[\"']?[ \t]{0,2}[:=#]?[ \t\"']{0,3}v?\Z"
)
_V6: Final = re.compile(
    r"(?<![\w:.])(?:[0-9A-Fa-f]{1,4}:|:){2,8}+(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f]{1,4})?(?:%[A-Za-z0-9]{1,15})?"
    r"(?:/(?:12[0-8]|1[01][0-9]|[1-9]?[0-9])(?![\w.]))?(?![\w:]|\.[0-9A-Za-z])"
)


def find_ips(text: str, low: str, name: str) -> Iterator[Finding]:
    """Finds IPv4 and IPv6 with their prefix length.

    Four-part version numbers, C++ scopes and slices are left alone.
    """
    if text.count(".") >= 3:
        for match in _V4.finditer(text):
            if not _is_version(low, match, name):
                yield Finding(match.start(), match.end(), IP)
    if text.count(":") >= 2:
        for match in _V6.finditer(text):
            if _is_v6(text, match):
                yield Finding(match.start(), match.end(), IP)


def _is_version(low: str, match: re.Match[str], name: str) -> bool:
    start = match.start()
    if "version" in name.lower():
        return True
    if start >= 2 and low[start - 1] == "/" and low[start - 2].isalpha() and match.group().endswith(".0"):
        return True  # Chrome/120.0.0.0
    return _VERSION.search(low, max(0, start - 24), start) is not None


def _is_v6(text: str, match: re.Match[str]) -> bool:
    value = match.group()
    bare = value.split("/", 1)[0].split("%", 1)[0]
    if not any(c.isdigit() for c in value):
        return False  # `::`, `Face::Add`
    if len(bare) < 6 and bare != "::1" and "/" not in value:
        return False  # `items[::2]`, `[1::3]`
    if (
        text[max(0, match.start() - 2) : match.start()][1:] == "["
        and text[match.start() - 2 : match.start() - 1].isalnum()
    ):
        return False
    try:
        ipaddress.IPv6Address(bare)
    except ValueError:
        return False
    return True
