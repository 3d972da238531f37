"""The question whether an update of a schedule keeps its times in a period. Pure.

If it does, a time that is late, or moved by jitter, still fires.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from agentflow_common.schedules.fire_times import from_ms, parse_holiday

_TIMES: Final = ("cron", "time_zone", "start_at", "end_at", "windows", "weekdays", "runs_max")
_DAY_MS: Final = 86_400_000
_DAYS_MAX: Final = 60  # of a period that is compared; the times of a longer one count as changed

Calendars = Mapping[str, Iterable[str]]


def keeps_times(
    old: Mapping[str, Any], old_calendars: Calendars, new: Mapping[str, Any], new_calendars: Calendars, stretch: range
) -> bool:
    """True if an update keeps all times in a period. Holidays outside of it may change.

    old, new: the canonical specs.
    stretch: the period, in ms.
    """
    if [old.get(name) for name in _TIMES] != [new.get(name) for name in _TIMES]:
        return False
    try:
        changed = _closed(old, old_calendars) ^ _closed(new, new_calendars)
    except ValueError:  # another version wrote the spec
        return False
    if not changed:
        return True
    if len(stretch) > _DAYS_MAX * _DAY_MS:
        return False
    days = [
        from_ms(at) for at in range(stretch.start - _DAY_MS, stretch.stop + 2 * _DAY_MS, _DAY_MS)
    ]  # a day more at each end, for every time zone
    return changed.isdisjoint((year, day.month, day.day) for day in days for year in (0, day.year))


def _closed(spec: Mapping[str, Any], calendars: Calendars) -> set[tuple[int, int, int]]:
    named = [text for name in spec.get("calendars", ()) for text in calendars.get(name, ())]
    return {parse_holiday(text) for text in (*spec.get("holidays", ()), *named)}
