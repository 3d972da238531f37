"""Numbers as an author writes them, and durations and times in milliseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticKnownError

from agentflow_common.json_values import kind_of

DURATION_MS_MAX: Final = 366 * 86_400_000
TIME_MS_MAX: Final = 9_000_000_000_000  # the server counts timers in ns, in 63 bits: to the year 2262
DURATION_TEXT: Final = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$"
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def whole(value: Any) -> Any:
    """Returns the value as it is. Raises for a boolean, which pydantic would take as 0 or 1."""
    return refuse_boolean(value, "int_type")


def number(value: Any) -> Any:
    """Does what `whole` does, for a field that takes fractions."""
    return refuse_boolean(value, "float_type")


def refuse_boolean(value: Any, error: Literal["int_type", "float_type"]) -> Any:
    """Returns the value as it is. Raises pydantic's error of that type for a boolean."""
    if isinstance(value, bool):
        raise PydanticKnownError(error)
    return value


def duration_ms(value: Any) -> Any:
    """Returns a text such as `1h30m`, `90s` or `500ms` in milliseconds, and a value of another type as it is.

    Raises ValueError if a text is not a duration, and for a boolean. The schema checks values of other types.
    """
    if not isinstance(value, str):
        return whole(value)
    parts = _DURATION.findall(value)
    if not parts or "".join(n + u for n, u in parts) != value:
        raise ValueError(f"{value!r} is not a duration: write for example 90s, 1h30m, 2d or a number of ms")
    return int(sum(float(number) * _UNIT_MS[unit] for number, unit in parts))


def duration_schema(ms_min: int, ms_max: int | None) -> WithJsonSchema:
    """Returns what an editor may accept for a duration: a number of ms in these bounds, or a text such as `90s`."""
    number = {"type": "integer", "minimum": ms_min} | ({} if ms_max is None else {"maximum": ms_max})
    text = {"type": "string", "pattern": DURATION_TEXT, "patternErrorMessage": "write for example 90s, 1h30m or 2d"}
    return WithJsonSchema({"anyOf": [number, text]})


Duration = Annotated[
    int, BeforeValidator(duration_ms), Field(ge=1, le=DURATION_MS_MAX), duration_schema(1, DURATION_MS_MAX)
]


def _shown(value: Any) -> str:
    return repr(value[:80]) if isinstance(value, str) else str(value) if _is_number(value) else kind_of(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def wait_ms(value: Any) -> int:
    """Returns a duration in ms, from a text such as `90s` or a number of ms. Raises ValueError if it is not valid."""
    found = duration_ms(value) if isinstance(value, str) else value
    if not _is_number(found) or not 0 <= found <= DURATION_MS_MAX:
        raise ValueError(
            f"a duration is a text like 90s, 1h30m, 2d or a number of ms, of 366 days at most; got {_shown(value)}"
        )
    return int(found)


def time_ms(value: Any) -> int:
    """Returns a time in ms since the epoch, from RFC 3339 (UTC without an offset) or a number of ms.

    Raises ValueError if it is neither, or not before the year 2255.
    """
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
