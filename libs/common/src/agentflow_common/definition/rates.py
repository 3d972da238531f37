"""The rate of a keyed lane as an author writes it: attempts in a second, a minute or an hour."""

from __future__ import annotations

from typing import Final

RATE_MIN: Final = 1 / 86_400  # once a day
RATE_MAX: Final = 100_000.0
_UNIT_S: Final = {"s": 1, "m": 60, "h": 3600}


def per_second(rate: str) -> float:
    """Returns how many a second a rate allows: 1.667 for `100/m`."""
    number, unit = rate.split("/")
    return float(number) / _UNIT_S[unit]
