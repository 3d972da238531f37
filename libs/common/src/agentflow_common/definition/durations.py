"""How long a wait takes, and until when: what an author writes, in ms."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from agentflow_common.definition.nodes import DURATION_MS_MAX, duration_ms
from agentflow_common.expressions.language import kind_of

TIME_MS_MAX: Final = 9_000_000_000_000  # the server counts timers in ns, in 63 bits: to the year 2262


def _shown(value: Any) -> str:
    return repr(value[:80]) if isinstance(value, str) else str(value) if _is_number(value) else kind_of(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def wait_ms(value: Any) -> int:
    """Of `90s`, or of a number of ms. ValueError says what is wrong."""
    found = duration_ms(value)
    if not _is_number(found) or not 0 <= found <= DURATION_MS_MAX:
        raise ValueError(
            f"a duration is a text like 90s, 1h30m, 2d or a number of ms, of 366 days at most; got {_shown(value)}"
        )
    return int(found)


def time_ms(value: Any) -> int:
    """Of an RFC 3339 time (UTC, if it names no offset) or of ms since the epoch. ValueError says what is wrong."""
    ms: float
    if _is_number(value):
        ms = value
    else:
        try:
            at = datetime.fromisoformat(value if isinstance(value, str) else "")
        except ValueError:
            text = (
                f"a time is RFC 3339, as 2030-01-31T09:00:00+01:00, or a number of ms since 1970; got {_shown(value)}"
            )
            raise ValueError(text) from None
        ms = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000
    if not abs(ms) <= TIME_MS_MAX:
        raise ValueError(f"a time must lie before the year 2255, got {_shown(value)}")
    return int(ms)
