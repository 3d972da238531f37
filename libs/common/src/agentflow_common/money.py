"""Money is an integer number of nano-USD (1 USD = 10^9), so sums are exact and a token's price is not rounded away."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal
from typing import Final

NANO_PER_USD: Final = 1_000_000_000
NANO_PER_CENT: Final = 10_000_000


def from_usd(amount: Decimal | str | int) -> int:
    """Returns nano-USD for an exact decimal amount, rounded up: a cost is never understated."""
    return int((Decimal(amount) * NANO_PER_USD).to_integral_value(rounding=ROUND_CEILING))


def from_cents(cents: int) -> int:
    return cents * NANO_PER_CENT


def display(nano: int) -> str:
    """Returns a text such as `$0.0012`, with two digits for dollars, and up to nine for fractions of a cent.

    >>> display(1_230_000_000), display(1_200_000), display(0)
    ('$1.23', '$0.0012', '$0.00')
    """
    sign = "-" if nano < 0 else ""
    whole, frac = divmod(abs(nano), NANO_PER_USD)
    digits = f"{frac:09d}".rstrip("0").ljust(2, "0")
    return f"{sign}${whole:,}.{digits}"
