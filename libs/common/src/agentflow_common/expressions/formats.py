"""The formats of texts that a schema may name, each checked in linear time. Pure."""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
from collections.abc import Callable
from typing import Final, NamedTuple
from urllib.parse import urlsplit

_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.A)
_TIME: Final = re.compile(r"\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})", re.A | re.I)
_EMAIL: Final = re.compile(r"[^@\s]{1,64}@[^@\s.]{1,63}(\.[^@\s.]{1,63})*")
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.I)
_HOST: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*", re.I)
_SPACE: Final = re.compile(r"\s")


class Format(NamedTuple):
    fits: Callable[[str], bool]
    example: str


def _parses(parse: Callable[[str], object], text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True


def _is_date(text: str) -> bool:
    return _DATE.fullmatch(text) is not None and _parses(dt.date.fromisoformat, text)


def _is_time(text: str) -> bool:
    return _TIME.fullmatch(text) is not None and _parses(dt.time.fromisoformat, text.upper())


def _is_date_time(text: str) -> bool:
    return text[10:11] in {"T", "t"} and _is_date(text[:10]) and _is_time(text[11:])


def _is_uri(text: str) -> bool:
    if _SPACE.search(text):
        return False
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return bool(parts.scheme) and bool(parts.netloc or parts.path)


FORMATS: Final[dict[str, Format]] = {
    "date": Format(_is_date, "2026-01-31"),
    "time": Format(_is_time, "09:30:00Z"),
    "date-time": Format(_is_date_time, "2026-01-31T09:30:00Z"),
    "email": Format(lambda text: len(text) <= 320 and _EMAIL.fullmatch(text) is not None, "name@example.org"),
    "hostname": Format(lambda text: len(text) <= 253 and _HOST.fullmatch(text) is not None, "www.example.org"),
    "ipv4": Format(lambda text: _parses(ipaddress.IPv4Address, text), "192.0.2.1"),
    "ipv6": Format(lambda text: _parses(ipaddress.IPv6Address, text), "2001:db8::1"),
    "uri": Format(_is_uri, "https://example.org/a"),
    "uuid": Format(lambda text: _UUID.fullmatch(text) is not None, "123e4567-e89b-12d3-a456-426614174000"),
}
