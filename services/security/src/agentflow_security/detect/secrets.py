"""Secrets with an unmistakable form: prefixes, private keys, password hashes, logins, headers.

Pure. A pattern runs only if the text contains its literal. A text without secrets therefore costs
one substring search for each pattern.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from agentflow_security.detect.findings import API_KEY, PASSWORD, PRIVATE_KEY, Finding
from agentflow_security.detect.formats import FORMATS, Format
from agentflow_security.detect.randomness import is_filler, looks_random
from agentflow_security.detect.wraps import breaks, goes_on, rest_of_key

_PEM: Final = re.compile(r"-----BEGIN\s{1,3}(?:[A-Z0-9]{1,12}\s{1,3}){0,4}PRIVATE\s{1,3}KEY(?:\sBLOCK)?[ ]{0,3}-----")
_PEM_BODY: Final = re.compile(r"(?:[\s\\\"',;+|>A-Za-z0-9/=]|[A-Z][A-Za-z-]{1,20}:[ ]|[-.:()@<>])*+")
_PEM_CHARS_MAX: Final = 32_768
_HEAD_CHARS_MIN, _HEAD_CHARS_MAX = 4, 200  # of a key before the line break
_BY_BEGINNING: Final[dict[str, list[Format]]] = {}
for _item in FORMATS:
    if _item.certain and _item.literal[0] != ".":
        _BY_BEGINNING.setdefault(_item.literal[:2], []).append(_item)
_JWT: Final = re.compile(r"eyJ[A-Za-z0-9_-]{8,8000}+\.[A-Za-z0-9_-]{4,16000}+(?:\.[A-Za-z0-9_-]{10,8000}+)?")
_URL_LOGIN: Final = re.compile(
    r"[^\s:/@\"'<>?#,]{0,128}:([^\s@\"'<>/\x00]{1,256}(?:@[^\s@\"'<>/?#,;\x00]{0,64}){0,3})@(?=[\w\[$%{.-])|([A-Za-z0-9_.~-]{20,256})@(?=[\w\[])"
)
_HOST_LOGIN: Final = re.compile(
    r",[^\s:/@\"'<>,]{1,128}:([^\s@\"'<>/,]{1,256}(?:@[^\s@\"'<>/?#,;\x00]{0,64}){0,3})@(?=[\w\[])"
)
_SCHEME: Final = re.compile(
    r"\b(?:bearer|ssws|(?<=authorization: )(?:basic|token|apikey|key)|(?<=authorization:)(?:basic|token|apikey|key)|"
    r"authorization[\"']?[ ]?[:=][ ]?[\"']?(?:basic|digest|token|apikey|key)?)"
    r"[\"']?[ ]{0,2}[: =][ ]{0,2}[\"']?([a-z0-9._~+/=$-]{12,4096})"
)
_BASIC_USER: Final = re.compile(r"(?:[ ]-u|--user)[ =]{1,2}[\"']?[^\s:\"']{1,128}:([^\s\"'\x00]{4,256})")
_NETRC: Final = re.compile(
    r"\bmachine[ \t]+\S{1,200}\s{1,8}login\s{1,8}\S{1,200}\s{1,8}password\s{1,8}([^\s\x00]{3,200})"
)
# psexec, mysql and similar commands: the password follows the user
_CLI_LOGIN: Final = re.compile(r"[ ]-u[ =]?[^\s-]\S{0,127}[ ]{1,3}-p[ =]?[\"']?([^\s\"'\x00]{4,128})")
_K8S_SECRET: Final = re.compile(r"\bkind[\"']?:[ \t]*[\"']?secret\b")
_K8S_DATA: Final = re.compile(
    r"(?:^|\n)[ \t]*(?:string)?data:[ \t]*(?:\r?\n[ \t]+(?:[\w.-]{1,128}:[^\n]*|[A-Za-z0-9+/=]+)){1,500}+"
)
_K8S_ITEM: Final = re.compile(
    r"\n[ \t]+[\w.-]{1,128}:[ \t]*(?:[|>][-+]?\s{1,20}|[\"'])?([A-Za-z0-9+/]{8,8000}={0,3})(?![^\s\"'])"
)
_TELEGRAM: Final = re.compile(r"(?<![0-9A-Za-z])[0-9]{8,10}:AA[A-Za-z0-9_-]{30,36}(?![A-Za-z0-9_-])")
_DISCORD: Final = re.compile(r"(?<![\w])[MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,42}")
_HASH: Final = re.compile(
    r"\$(?:1|5|6|7|8|9|y|gy|2[abxy]|apr1|argon2(?:id?|d))\$(?:[A-Za-z0-9=,.]{1,40}\$)?[A-Za-z0-9./+]{1,64}\$?[A-Za-z0-9./+=$]{20,180}"
)
_SALESFORCE: Final = re.compile(r"(?<![A-Za-z0-9])00D[A-Za-z0-9]{12,15}![A-Za-z0-9_.]{80,120}")
_ZOHO: Final = re.compile(r"(?<![0-9.])1000\.[0-9a-f]{32}\.[0-9a-f]{32}(?![0-9a-f])")
_MAILCHIMP: Final = re.compile(r"(?<![0-9A-Za-z])[0-9a-f]{32}-us[0-9]{1,2}(?![0-9A-Za-z])")
_AZURE: Final = re.compile(r"(?<![A-Za-z0-9_~.-])[A-Za-z0-9_~.-]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}(?![A-Za-z0-9_~.-])")
_SHAPES: Final = (  # what must stand in the text before its pattern is tried
    (":AA", _TELEGRAM, API_KEY),
    ("1000.", _ZOHO, API_KEY),
    ("-us", _MAILCHIMP, API_KEY),
    ("Q~", _AZURE, API_KEY),
    ("00D", _SALESFORCE, API_KEY),
    ("$", _HASH, PASSWORD),
)


def find_secrets(text: str, low: str, name: str) -> Iterator[Finding]:  # noqa: ARG001
    """Finds the secrets of this module in the text."""
    yield from _prefixed(text)
    if "\n" in text:
        yield from _broken(text)
    if "-----BEGIN" in text:
        yield from _pem(text)
    if "eyJ" in text:
        yield from _jwt(text)
    if "://" in text:
        yield from _url_logins(text)
    yield from _headers(text, low)
    yield from _manifests(text, low)
    yield from _shapes(text)


def _prefixed(text: str) -> Iterator[Finding]:
    for literal, pattern, certain in FORMATS:
        if literal not in text:
            continue
        for match in pattern.finditer(text):
            start, end = match.span()
            if (
                literal[0] != "."
                and start
                and (text[start - 1].isalnum() or (text[start - 1] == "_" and literal[0] != "_"))
            ):
                continue
            body = text[start + len(literal) : end]
            if is_filler(body) or (not certain and not looks_random(body, letters_only=True)):
                continue
            if literal[0] == ".":
                start = _word_start(text, start)
            yield Finding(start, end, API_KEY)


def _broken(text: str) -> Iterator[Finding]:
    """Finds keys with a prefix that a line break has cut in two, as in the text of PDF files."""
    for broken in breaks(text):
        start = _key_start(text, broken.start)
        formats = _BY_BEGINNING.get(text[start : start + 2])
        rest = rest_of_key(text, broken.end) if formats and broken.start - start >= _HEAD_CHARS_MIN else ""
        head = text[start : broken.start]
        for literal, pattern, _ in formats or () if rest else ():
            match = pattern.match(head + rest)
            if match is None or match.end() != len(head + rest) or is_filler(match.group()[len(literal) :]):
                continue
            whole = pattern.match(head)  # long enough without the next line
            if whole is None or (whole.end() == len(head) and goes_on(text, broken.start, rest)):
                yield Finding(start, broken.end + len(rest), API_KEY)


def _key_start(text: str, end: int) -> int:
    """Returns the start of the run of key characters that ends at text[end]."""
    start = end
    floor = max(0, end - _HEAD_CHARS_MAX)
    while start > floor and (text[start - 1].isalnum() or text[start - 1] in "_-.+/"):
        start -= 1
    return start


def _word_start(text: str, start: int) -> int:
    limit = max(0, start - 64)
    while start > limit and (text[start - 1].isalnum() or text[start - 1] in "_-"):
        start -= 1
    return start


def _pem(text: str) -> Iterator[Finding]:
    """Finds blocks from BEGIN to END. A block that is cut off reaches to the end of its base 64."""
    floor = 0
    for match in _PEM.finditer(text):
        if match.start() < floor:
            continue
        end = text.find("-----END", match.end(), match.end() + _PEM_CHARS_MAX)
        if end >= 0:
            tail = text.find("-----", end + 8, end + 80)
            floor = tail + 5 if tail >= 0 else end + 8
        else:
            body = _PEM_BODY.match(text, match.end(), min(len(text), match.end() + _PEM_CHARS_MAX))
            floor = max(match.end(), body.end() if body else 0)
        yield Finding(match.start(), floor, PRIVATE_KEY)


def _jwt(text: str) -> Iterator[Finding]:
    for match in _JWT.finditer(text):
        start = match.start()
        if start and (text[start - 1].isalnum() or text[start - 1] == "_"):
            continue
        yield Finding(start, match.end(), API_KEY)


def _url_logins(text: str) -> Iterator[Finding]:
    """Finds passwords in `scheme://user:password@host`, for every host of a list, and a bare token
    before the @.
    """
    at = text.find("://")
    while at >= 0:
        match = _URL_LOGIN.match(text, at + 3, min(len(text), at + 400))
        while match is not None:
            group = 1 if match[1] is not None else (match.lastindex or 1)
            value = match[group]
            if value[0] not in "$<{*%#[" and not is_filler(value) and (group == 1 or looks_random(value)):
                yield Finding(match.start(group), match.end(group), PASSWORD)
            comma = text.find(",", match.end(), match.end() + 100)
            match = _HOST_LOGIN.match(text, comma, comma + 400) if comma >= 0 else None
        at = text.find("://", at + 3)


def _headers(text: str, low: str) -> Iterator[Finding]:
    if "bearer" in low or "authorization" in low or "ssws" in low:
        for match in _SCHEME.finditer(low):
            value = text[match.start(1) : match.end(1)]
            if value[0] != "$" and not is_filler(value) and any(c.isdigit() or c.isupper() for c in value):
                yield Finding(match.start(1), match.end(1), API_KEY)
    if "-u" in low:
        for pattern, needed in ((_CLI_LOGIN, "-p"), (_BASIC_USER, "curl")):
            for match in pattern.finditer(text) if needed in low else ():
                if match[1][0] not in "$<{*%" and not is_filler(match[1]):
                    yield Finding(match.start(1), match.end(1), PASSWORD)
    if "machine" in low and "password" in low:
        yield from (Finding(*match.span(1), PASSWORD) for match in _NETRC.finditer(low))


def _manifests(text: str, low: str) -> Iterator[Finding]:
    """Finds the base 64 values of a Kubernetes Secret."""
    if "kind" not in low or _K8S_SECRET.search(low) is None:
        return
    for block in _K8S_DATA.finditer(text):
        for match in _K8S_ITEM.finditer(text, block.start(), block.end()):
            if len(match[1]) % 4 == 0:
                yield Finding(*match.span(1), API_KEY)


def _shapes(text: str) -> Iterator[Finding]:
    for needed, pattern, category in _SHAPES:
        if needed in text:
            yield from (Finding(*match.span(), category) for match in pattern.finditer(text))
    if text.count(".") >= 2 and len(text) >= 58:
        for match in _DISCORD.finditer(text):
            if looks_random(match.group()):
                yield Finding(*match.span(), API_KEY)
