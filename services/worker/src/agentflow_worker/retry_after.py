"""The wait that an HTTP server asks for, by the headers of its answer."""

from __future__ import annotations

import math
import time
from email.utils import parsedate_to_datetime
from typing import Any, Final

WAIT_MS_MAX: Final = 3_600_000


def retry_after_ms(headers: Any) -> int | None:
    """Returns the wait that the headers ask for, at most one hour; None if they ask for none.

    It stands in `retry-after-ms`, or in `Retry-After` in seconds or as a date.
    """
    if headers is None:
        return None
    lowered = {str(k).lower(): str(v) for k, v in dict(headers).items()}
    for name, unit_ms in (("retry-after-ms", 1), ("retry-after", 1000)):
        if name in lowered:
            value = _number(lowered[name]) if unit_ms == 1 else _seconds(lowered[name])
            if value is not None:
                return int(min(max(value * unit_ms, 0), WAIT_MS_MAX))
    return None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return None if math.isnan(value) else value


def _seconds(text: str) -> float | None:
    value = _number(text)
    if value is not None:
        return value
    try:
        return parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None
