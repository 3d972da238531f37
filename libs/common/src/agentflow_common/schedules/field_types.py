"""The types of a schedule's fields, and the forms in which an author may write them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, WithJsonSchema

from agentflow_common.definition.durations import duration_ms, duration_schema
from agentflow_common.schedules import fire_times

DAY_MS: Final = 86_400_000
SOURCES_MAX: Final = 20
HOLIDAYS_MAX: Final = 1_000
CALENDARS_MAX: Final = 10
WINDOWS_MAX: Final = 24
_DAY_NAMES: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DAY: Final = r"^[A-Za-z]{3,9}( *- *[A-Za-z]{3,9})?$"
_WINDOW: Final = r"^([01][0-9]|2[0-4]):[0-5][0-9]-([01][0-9]|2[0-4]):[0-5][0-9]$"
_DATE: Final = r"^([0-9]{4}-)?[0-9]{2}-[0-9]{2}$"


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _weekdays(value: Any) -> Any:
    """Returns the short names of days such as `mon`, `Monday`, and each day of `fri-mon`."""
    value = _listed(value)
    if not isinstance(value, list | tuple):
        return value
    found: list[str] = []
    for item in value:
        first, dash, last = (part.strip() for part in str(item).lower().partition("-"))
        ends = [n for name in (first, last or first) for n, day in enumerate(_DAY_NAMES) if name in {day, day[:3]}]
        if len(ends) < 2 or (dash and not last):
            found.append(str(item))
        else:
            found += [_DAY_NAMES[(ends[0] + n) % 7][:3] for n in range((ends[1] - ends[0]) % 7 + 1)]
    return list(dict.fromkeys(found))


def _texts(value: Any) -> Any:
    """Returns the items as texts, because YAML reads 2030-12-25 as a date."""
    value = _listed(value)
    return [str(item) for item in value] if isinstance(value, list | tuple) else value


def _moment(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value


def _checked(check: Callable[[str], Any]) -> BeforeValidator:
    def each(value: Any) -> Any:
        if isinstance(value, list | tuple):
            for item in value:
                check(str(item))
        return value

    return BeforeValidator(each)


def _one_or_more(items_max: int, pattern: str = "", example: str = "") -> WithJsonSchema:
    """Returns the schema of a list of texts, for which the author may also write a single text."""
    form = {"pattern": pattern, "patternErrorMessage": f"write for example {example}"} if pattern else {}
    item = {"type": "string"} | form
    return WithJsonSchema({"anyOf": [item, {"type": "array", "items": item, "maxItems": items_max}]})


_Texts = tuple[str, ...]
_WeekDay = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]

Sources = Annotated[_Texts, BeforeValidator(_listed), _one_or_more(SOURCES_MAX)]
Calendars = Annotated[_Texts, BeforeValidator(_listed), _one_or_more(CALENDARS_MAX)]
Days = Annotated[tuple[_WeekDay, ...], BeforeValidator(_weekdays), _one_or_more(7, _DAY, "mon or mon-fri")]
Windows = Annotated[
    _Texts,
    _checked(fire_times.parse_window),
    BeforeValidator(_listed),
    _one_or_more(WINDOWS_MAX, _WINDOW, "09:00-17:00"),
]
Dates = Annotated[
    _Texts,
    _checked(fire_times.parse_holiday),
    BeforeValidator(_texts),
    _one_or_more(HOLIDAYS_MAX, _DATE, "2030-12-24 or 12-25"),
]
Moment = Annotated[str, BeforeValidator(_moment), WithJsonSchema({"type": "string"})]
Jitter = Annotated[int, BeforeValidator(duration_ms), duration_schema(0, DAY_MS)]
CatchUp = Annotated[int, BeforeValidator(duration_ms), duration_schema(1_000, 366 * DAY_MS)]
