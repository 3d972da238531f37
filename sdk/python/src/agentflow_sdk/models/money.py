"""Exact money. An amount is a whole number of nano-USD: 1 US dollar is 10^9 of them."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

NANO_PER_USD: Final = 1_000_000_000
NANO_MAX: Final = 9 * 10**18  # the largest amount that the API takes
_AMOUNT: Final = re.compile(r"(?:\$|USD )?([0-9]{1,30}(?:\.[0-9]+)?)\Z")


def usd(nano: int) -> Decimal:
    """Returns an amount of nano-USD as exact US dollars."""
    return Decimal(nano) / NANO_PER_USD


def to_nano(amount: Decimal | str | int) -> int:
    """Returns an exact amount of US dollars as nano-USD. Raises ValueError that says how to write the amount.

    A text is digits with at most one decimal point, such as `12.50`. `$` or `USD ` may stand before it. Floats are
    refused, because 0.1 is not exactly a tenth in binary.
    """
    if isinstance(amount, bool) or not isinstance(amount, Decimal | str | int):
        raise ValueError(  # noqa: TRY004  (callers ask for one kind of error)
            f"a {type(amount).__name__} is not an exact amount; pass a str, a Decimal or an int"
        )
    nano = _exact(amount) * NANO_PER_USD
    if nano != nano.to_integral_value():
        raise ValueError(f"{amount} has more than nine decimals; the smallest amount is 0.000000001")
    if abs(nano) > NANO_MAX:
        raise ValueError(f"{amount} is too large; use at most {NANO_MAX // NANO_PER_USD:,} US dollars")
    return int(nano)


def _exact(amount: Decimal | str | int) -> Decimal:
    if not isinstance(amount, str):
        value = Decimal(amount)
        if not value.is_finite():
            raise ValueError(f"{amount} is not an amount")
        return value
    text = amount.strip()
    match = _AMOUNT.match(text)
    if match is not None:
        return Decimal(match[1])
    shown = repr(text[:40])
    if re.fullmatch(r"[$0-9.,' _]*[0-9],[0-9.,' _]*", text):
        plain = text.lstrip("$ ").replace(",", "")
        point = text.lstrip("$ ").replace(",", ".")
        either = f"{point} or {plain}" if _AMOUNT.match(point) and point.count(".") == 1 else plain
        raise ValueError(f"{shown} has a comma, which can mean decimals or thousands; write {either}")
    if re.search(r"[A-Za-z\u00a3\u20ac\u00a5]", text):
        raise ValueError(f"{shown} is not an amount in US dollars; write digits alone, for example 12.50")
    raise ValueError(f"{shown} is not an amount; write digits with at most one decimal point, for example 12.50")
