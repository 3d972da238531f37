"""Secrets that tell what they are: vendors' prefixes, private keys, password hashes, logins in URLs, headers. Pure.

A pattern runs only where its literal stands in the text, so a text without secrets costs one substring search each.
The formats are those that the vendors document (or publish for GitHub's secret scanning partners).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from agentflow_security.detect.findings import API_KEY, PASSWORD, PRIVATE_KEY, Finding
from agentflow_security.detect.randomness import is_filler, looks_random


class _Format(NamedTuple):
    literal: str
    pattern: re.Pattern[str]
    certain: bool  # False: the body must look random too, because ordinary words may share the prefix


def _formats(certain: bool, *lines: str) -> list[_Format]:
    """Each line: the literal, a blank, the regular expression of what follows it."""
    out = []
    for line in lines:
        literal, _, tail = line.partition(" ")
        out.append(_Format(literal, re.compile(re.escape(literal) + tail, re.ASCII), certain))
    return out


_W: Final = "[A-Za-z0-9_-]"
_FORMATS: Final = [
    *_formats(
        True,
        # cloud
        *(f"{p} [A-Z0-9]{{16}}(?![A-Z0-9])" for p in ("AKIA", "ASIA", "ABIA", "ACCA", "AROA", "AIDA", "AGPA", "ANPA")),
        "ABSK [A-Za-z0-9+/]{60,260}=?=?",
        "amzn.mws. [0-9a-f]{8}-[0-9a-f-]{27}",
        f"AIza {_W}{{35}}",
        f"GOCSPX- {_W}{{28}}",
        f"ya29. {_W}{{20,512}}",
        "LTAI [A-Za-z0-9]{12,26}(?![A-Za-z0-9])",
        "AKID [A-Za-z0-9]{13,40}(?![A-Za-z0-9])",
        "JQQJ99 [A-Za-z0-9]{20,60}",
        *(f"{p}_v1_ [0-9a-f]{{64}}" for p in ("dop", "doo", "dor")),
        "t1. [A-Z0-9a-z_-]{20,}=?=?\\.[A-Z0-9a-z_-]{60,}=?=?",
        "AQVN [A-Za-z0-9_-]{30,40}",
        "YCM [A-Za-z0-9_-]{30,40}",
        "HRKU-AA [A-Za-z0-9_-]{50,70}",
        # source and packages
        *(f"gh{c}_ [A-Za-z0-9]{{30,255}}" for c in "pousr"),
        "github_pat_ [A-Za-z0-9_]{22,255}",
        *(
            f"gl{p}- [A-Za-z0-9_.-]{{20,300}}"
            for p in ["pat", "ptt", "dt", "rt", "cbt", "soat", "ft", "imt", "agent", "oas", "ffct", "rtr"]
        ),
        f"GR1348941 {_W}{{20,50}}",
        "npm_ [A-Za-z0-9]{36}",
        f"pypi-AgE {_W}{{40,1000}}",
        "rubygems_ [0-9a-f]{48}",
        "CLOJARS_ [A-Za-z0-9]{60}",
        f"dckr_ (?:pat|oat)_{_W}{{20,64}}",
        "ATATT3 [A-Za-z0-9_=-]{30,300}",
        "ATCTT3 [A-Za-z0-9_=-]{30,300}",
        "ATBB [A-Za-z0-9]{32}",
        "AKCp [A-Za-z0-9]{60,80}",
        "bkua_ [0-9a-f]{40}",
        f"CCIPAT_ {_W}{{20,100}}",
        *(f"sq{c}_ [0-9a-f]{{40}}" for c in "pau"),
        "oy2 [a-z0-9]{43}(?![a-z0-9])",
        *(f"sgp_ {t}" for t in ("(?:[0-9a-f]{16}|local)_[0-9a-f]{40}", "[0-9a-f]{40}")),
        # chat and mail
        "xox [a-z](?:\\.xox[a-z])?-[A-Za-z0-9-]{10,400}",
        "xapp- [0-9]-[A-Za-z0-9-]{20,200}",
        "hooks.slack.com/ (?:services|workflows|triggers)/[A-Za-z0-9+/_-]{20,120}",
        "discord.com/api/webhooks/ [0-9]{17,20}/[A-Za-z0-9_-]{60,80}",
        "discordapp.com/api/webhooks/ [0-9]{17,20}/[A-Za-z0-9_-]{60,80}",
        "webhook.office.com/webhookb2/ [A-Za-z0-9@/-]{60,250}",
        "outlook.office.com/webhook/ [A-Za-z0-9@/-]{60,250}",
        f"SG. {_W}{{16,32}}\\.{_W}{{16,64}}",
        "xkeysib- [0-9a-f]{64}-[A-Za-z0-9]{16}",
        "xsmtpsib- [0-9a-f]{64}-[A-Za-z0-9]{16}",
        "SK [0-9a-f]{32}(?![0-9a-f])",
        # money
        *(f"{p}_{mode}_ [A-Za-z0-9]{{10,250}}" for p in ("sk", "rk", "pk") for mode in ("live", "test", "prod")),
        "whsec_ [A-Za-z0-9+/=_-]{24,128}",
        f"sq0 (?:atp|csp|idp|atb)-{_W}{{22,60}}",
        f"EAAAE {_W}{{55,70}}",
        "shp (?:at|ca|pa|ss|tka)_[0-9a-fA-F]{32}",
        "rzp_ (?:live|test)_[A-Za-z0-9]{14,40}",
        "EZ (?:AK|TK)[A-Za-z0-9]{54}",
        "FLW (?:PUBK|SECK)[A-Za-z_]{0,6}-[A-Za-z0-9]{12,40}(?:-X)?",
        "access_token$ (?:production|sandbox)\\$[0-9a-z]{16}\\$[0-9a-f]{32}",
        # models
        f"sk-ant- {_W}{{20,200}}",
        f"sk-proj- {_W}{{20,250}}",
        "gsk_ [A-Za-z0-9]{40,60}",
        f"xai- {_W}{{60,100}}",
        "pplx- [A-Za-z0-9]{40,60}",
        "r8_ [A-Za-z0-9]{37}",
        "tvly- [A-Za-z0-9-]{20,60}",
        f"pcsk_ {_W}{{40,80}}",
        f"nvapi- {_W}{{50,80}}",
        "lsv2_ (?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}",
        # operations
        *(f"dp.{p}. (?:[a-z0-9_-]{{2,35}}\\.)?[A-Za-z0-9]{{40,44}}" for p in ["pt", "st", "ct", "sa", "scim", "audit"]),
        "dt0c01. [A-Z2-7]{24}\\.[A-Z2-7]{64}",
        "dt0s [0-9]{2}\\.[A-Z2-7]{8}\\.[A-Z2-7]{64}",
        "NR (?:AK|JS|II|IQ|RA|SP|AA)-[A-Za-z0-9_-]{15,60}",
        f"sntrys_ {_W}{{40,300}}",
        "sntryu_ [0-9a-f]{64}",
        *(f"hv{c}. {_W}{{20,300}}" for c in "sbr"),
        f".atlasv1. {_W}{{60,80}}",
        "pul- [0-9a-f]{40}",
        "pscale_ (?:tkn|pw|oauth)_[A-Za-z0-9_.=-]{32,64}",
        "PMAK- [0-9a-f]{24}-[0-9a-f]{34}",
        "dapi [0-9a-f]{32}(?:-[0-9])?(?![0-9a-f])",
        "tskey- [a-z]{3,10}-[A-Za-z0-9-]{20,80}",
        f"ops_eyJ {_W}{{100,1200}}=?=?",
        "AGE-SECRET-KEY-1 [0-9A-Z]{58}",
        "lin_ (?:api|oauth)_[A-Za-z0-9]{32,64}",
        "secret_ [A-Za-z0-9]{43}(?![A-Za-z0-9])",
        "ntn_ [A-Za-z0-9]{40,60}",
        f"figd_ {_W}{{30,60}}",
        "sbp_ [0-9a-f]{40}",
        f"CFPAT- {_W}{{43}}",
        "sl. [A-Za-z0-9_-]{130,160}",
        "sha256~ [A-Za-z0-9_-]{43}",
        "v1.0- [0-9a-f]{24}-[0-9a-f]{146}",
        "shippo_ (?:live|test)_[0-9a-f]{40}",
        "duffel_ (?:live|test)_[A-Za-z0-9_=-]{43}",
        "EAACEdEose0cBA [A-Za-z0-9]{20,300}",
        "AAAAAAAAAAAAAAAAAAAAA [A-Za-z0-9%]{60,120}",
        "LS0tLS1CRUdJTi [A-Za-z0-9+/=]{100,20000}",
        *(f"$krb5{k}$ [A-Za-z0-9$*@:./_-]{{40,4000}}" for k in ("asrep", "tgs", "pa")),
    ),
    *_formats(
        False,
        f"sk- {_W}{{20,200}}",
        "hf_ [A-Za-z0-9]{34}(?![A-Za-z0-9])",
        "glc_ [A-Za-z0-9+/=_-]{32,400}",
        "glsa_ [A-Za-z0-9]{32}_[0-9A-Fa-f]{8}",
        "EAA [A-Za-z0-9]{60,300}",
        "key- [0-9a-f]{32}(?![0-9a-f])",
        "pat [A-Za-z0-9]{14}\\.[0-9a-f]{64}",
    ),
]

_PEM: Final = re.compile(r"-----BEGIN[ ]{1,3}(?:[A-Z0-9]{1,12}[ ]){0,4}PRIVATE KEY(?:[ ]BLOCK)?[ ]{0,3}-----")
_PEM_BODY: Final = re.compile(r"(?:[\s\\\"',;+|>A-Za-z0-9/=]|[A-Z][A-Za-z-]{1,20}:[ ]|[-.:()@<>])*+")
_PEM_CHARS_MAX: Final = 32_768
_JWT: Final = re.compile(r"eyJ[A-Za-z0-9_-]{8,8000}+\.[A-Za-z0-9_-]{4,16000}+(?:\.[A-Za-z0-9_-]{10,8000}+)?")
_URL_LOGIN: Final = re.compile(
    r"[^\s:/@\"'<>?#,]{0,128}:([^\s@\"'<>/\x00]{1,256})@(?=[\w\[$%{.-])|([A-Za-z0-9_.~-]{20,256})@(?=[\w\[])"
)
_HOST_LOGIN: Final = re.compile(r",[^\s:/@\"'<>,]{1,128}:([^\s@\"'<>/,]{1,256})@(?=[\w\[])")
_SCHEME: Final = re.compile(
    r"\b(?:bearer|ssws|(?<=authorization: )(?:basic|token|apikey|key)|(?<=authorization:)(?:basic|token|apikey|key)|"
    r"authorization[\"']?[ ]?[:=][ ]?[\"']?(?:basic|digest|token|apikey|key)?)"
    r"[\"']?[ ]{0,2}[: =][ ]{0,2}[\"']?([a-z0-9._~+/=$-]{12,4096})"
)
_BASIC_USER: Final = re.compile(r"(?:[ ]-u|--user)[ =]{1,2}[\"']?([^\s:\"']{1,128}):([^\s\"'\x00]{4,256})")
_NETRC: Final = re.compile(
    r"\bmachine[ \t]+\S{1,200}\s{1,8}login\s{1,8}\S{1,200}\s{1,8}password\s{1,8}([^\s\x00]{3,200})"
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


def find_secrets(text: str, low: str, name: str) -> Iterator[Finding]:  # noqa: ARG001
    """Everything in this file that stands in the text."""
    yield from _prefixed(text)
    if "-----BEGIN" in text:
        yield from _pem(text)
    if "eyJ" in text:
        yield from _jwt(text)
    if "://" in text:
        yield from _url_logins(text)
    yield from _headers(text, low)
    yield from _shapes(text)


def _prefixed(text: str) -> Iterator[Finding]:
    for literal, pattern, certain in _FORMATS:
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


def _word_start(text: str, start: int) -> int:
    limit = max(0, start - 64)
    while start > limit and (text[start - 1].isalnum() or text[start - 1] in "_-"):
        start -= 1
    return start


def _pem(text: str) -> Iterator[Finding]:
    """From BEGIN to END, or, cut off, as far as the base 64 goes."""
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
    """The password of `scheme://user:password@host`, of every host in a list; a bare token before the @ too."""
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
            if value[0] not in "$" and not is_filler(value) and any(c.isdigit() or c.isupper() for c in value):
                yield Finding(match.start(1), match.end(1), API_KEY)
    if "-u" in low and "curl" in low:
        for match in _BASIC_USER.finditer(text):
            if match[2][0] not in "$<{*%" and not is_filler(match[2]):
                yield Finding(match.start(2), match.end(2), PASSWORD)
    if "machine" in low and "password" in low:
        for match in _NETRC.finditer(low):
            yield Finding(match.start(1), match.end(1), PASSWORD)


def _shapes(text: str) -> Iterator[Finding]:
    if ":AA" in text:
        yield from (Finding(*m.span(), API_KEY) for m in _TELEGRAM.finditer(text))
    if "1000." in text:
        yield from (Finding(*m.span(), API_KEY) for m in _ZOHO.finditer(text))
    if "-us" in text:
        yield from (Finding(*m.span(), API_KEY) for m in _MAILCHIMP.finditer(text))
    if "Q~" in text:
        yield from (Finding(*m.span(), API_KEY) for m in _AZURE.finditer(text))
    if "00D" in text:
        yield from (Finding(*m.span(), API_KEY) for m in _SALESFORCE.finditer(text))
    if "$" in text:
        yield from (Finding(*m.span(), PASSWORD) for m in _HASH.finditer(text))
    if text.count(".") >= 2 and len(text) >= 58:
        for match in _DISCORD.finditer(text):
            if looks_random(match.group()):
                yield Finding(*match.span(), API_KEY)
