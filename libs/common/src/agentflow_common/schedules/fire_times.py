"""When a schedule fires: cron expressions (five fields, or six with seconds), `@daily`, `@every 90s`, `@at <time>`.

Pure, in milliseconds since the epoch. `cronsim` matches cron fields by Debian's rules, on local time without a zone.
This module decides what happens when the clocks of a zone change:

- A job at a set hour and minute (neither field starts with `*`) runs once a day. If its time is skipped, it runs at the
  first moment after the gap. If its time comes twice, it runs the first time.
- Any other job runs whenever a wall clock shows a matching time: never in the gap, and twice in the repeated hour.
- `@every` counts real time from the schedule's anchor; changes of the clocks do not affect it.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError

from agentflow_common import hints
from agentflow_common.definition.durations import duration_ms

NICKNAMES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
EVERY_MS_MIN: Final = 1_000
EVERY_MS_MAX: Final = 366 * 86_400_000
LAST_MS: Final = 7_258_118_400_000  # the year 2200: no times are computed beyond it
_JUMPS_MAX: Final = 2_000  # closed windows that one search passes over: five years of days
_CLOSED_DAYS_MAX: Final = 3_660
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = timedelta(seconds=1)
_WINDOW: Final = re.compile(r"([01]\d|2[0-4]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)\Z")
_SINGLE: Final = re.compile(r"\b(\w+)-\1/\d+")  # `1-1/2` is 1; cronsim reads it as `1/2`
_HOLIDAY: Final = re.compile(r"(?:(\d{4})-)?(\d\d)-(\d\d)\Z")
WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


Source = Callable[[int], int | None]  # returns its first time after a moment; None if it has no more


def zone(name: str) -> tzinfo:
    """Returns the time zone of an IANA name. Raises ValueError if the name is unknown."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        known = {zone.lower(): zone for zone in available_timezones()}
        close = hints.near(name.strip().lower(), sorted(known), cutoff=0.8)
        hint = f"did you mean {known[close[0]]}?" if close else "use an IANA name, for example Europe/Berlin, or UTC"
        raise ValueError(f"{name!r} is not a time zone: {hint}") from None


def to_ms(moment: datetime) -> int:
    return (moment.astimezone(UTC) - _EPOCH) // timedelta(milliseconds=1)


def from_ms(ms: int, tz: tzinfo = UTC) -> datetime:
    return (_EPOCH + timedelta(milliseconds=ms)).astimezone(tz)


def parse_time(text: str, tz: tzinfo) -> int:
    """Returns an ISO 8601 time in ms. It is in `tz` unless it has an offset; a date means its midnight.

    Raises ValueError if it is not a time, or not between 1970 and 2200.
    """
    try:
        moment = datetime.fromisoformat(text.strip().replace(" ", "T", 1))
    except ValueError:
        raise ValueError(f"{text!r} is not a time: write for example 2030-12-24T18:30:00 (or with an offset)") from None
    ms = to_ms(moment) if moment.tzinfo is not None else _first_instant(moment, tz)
    if not 0 <= ms <= LAST_MS:
        raise ValueError(f"{text!r} is out of range: use a time between 1970 and 2200")
    return ms


def _first_instant(local: datetime, tz: tzinfo) -> int:
    """Returns when the clocks of `tz` first show `local`; if they skip it, the first moment after the gap."""
    moment = local.replace(tzinfo=tz, fold=0)
    back = moment.astimezone(UTC).astimezone(tz).replace(tzinfo=None)
    if back == local:
        return to_ms(moment)
    # skipped: a time in the gap, read with the offset before it, lies after the change by less than the gap
    after = to_ms(moment)
    before = to_ms(local.replace(tzinfo=tz, fold=1))
    return _change(before, after, from_ms(before, tz).utcoffset(), tz)


def _instants(local: datetime, tz: tzinfo) -> Sequence[int]:
    """Returns the one or two moments at which the clocks of `tz` show `local`; if they skip it, the end of the gap."""
    first = _first_instant(local, tz)
    again = to_ms(local.replace(tzinfo=tz, fold=1))
    return (first, again) if again > first else (first,)


def _change(before_ms: int, after_ms: int, offset: timedelta | None, tz: tzinfo) -> int:
    """Returns the first moment after `before_ms` whose offset is not `offset`, to the second.

    after_ms: a later moment whose offset is not `offset` either.
    """
    low, high = before_ms // 1000, -(-after_ms // 1000)
    while high - low > 1:
        middle = (low + high) // 2
        if from_ms(middle * 1000, tz).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return high * 1000


def every(interval_ms: int, anchor_ms: int) -> Source:
    """Returns a source of times, one each `interval_ms` after the anchor. The anchor itself is not one of them."""
    return lambda after_ms: anchor_ms + (max(0, (after_ms - anchor_ms) // interval_ms) + 1) * interval_ms


_FIELDS: Final = {  # in the order of an expression with seconds: the number of values, and the allowed ones
    "second": (60, "0-59"),
    "minute": (60, "0-59"),
    "hour": (24, "0-23"),
    "day-of-month": (31, "1-31, L (the last) or LW (the last weekday), in a month that has it"),
    "month": (12, "1-12 or jan-dec"),
    "day-of-week": (7, "0-7 or sun-sat (0 and 7 are sun), 5L (the last friday) or mon#1 (the first monday)"),
}


def _explain(fields: Sequence[str], what: str) -> str:
    """Returns the wrong field and what to write instead. what: cronsim's text, such as `bad minute`."""
    name = what.removeprefix("bad ")
    if name not in _FIELDS:
        return "use digits, names, `*`, `,`, `-` and `/`"
    field = fields[list(_FIELDS).index(name) - 6]
    down = re.fullmatch(r"(\w+)-(\w+)(/\d+)?", field)
    if "?" in field:
        fix = "write `*` for Quartz's `?`, and weekdays by name, since Quartz counts from 1 = sun and cron from 0 = sun"
    elif "h" in field.lower().split("(")[0] and name in {"second", "minute", "hour"}:
        fix = "Jenkins's `H` is `jitter` here"
    elif re.search(r"\dW|L-\d", field, re.IGNORECASE):
        fix = "of Quartz's letters there are L and LW, 5L and mon#1"
    elif down and down[1].isalnum() and down[2].isalnum():
        fix = "a range goes up, as in 1-5; what goes over the end is a list, for example fri,sat,sun,mon"
    else:
        fix = f"use {_FIELDS[name][1]}, lists 1,2, ranges 1-3 and steps */2"
    return f"{what} {field!r}: {fix}"


def check_steps(text: str) -> None:
    """Raises ValueError for a step that is longer than its field, because cron would match only its first value."""
    fields = text.split()
    for (name, (size, _)), field in zip(list(_FIELDS.items())[-len(fields) :], fields, strict=False):
        for part in field.split(","):
            _, _, step = part.partition("/")
            if step.isdecimal() and int(step) > size:
                raise ValueError(
                    f"{text!r} has a step of {step} in the {name}, which has {size} values: count real time with "
                    f"`@every`, for example `@every 90m`"
                )


class Cron:
    """A cron expression in a time zone. Raises ValueError with the field that is wrong."""

    def __init__(self, text: str, tz: tzinfo) -> None:
        fields = text.split()
        if "=" in fields[0] or re.search(r"[A-Za-z]{3}/[A-Za-z]", fields[-1]):
            raise ValueError(f"{text!r} names a time zone: set it as `time_zone`, for example Europe/Berlin")
        if len(fields) not in {5, 6}:
            raise ValueError(
                f"{text!r} has {len(fields)} fields: write five (minute hour day month weekday), or six with the "
                "second first; for a year use `start_at` and `end_at`"
            )
        try:
            CronSim(text, datetime(2000, 1, 1))  # noqa: DTZ001  (local time by design)
        except (CronSimError, ValueError) as error:
            what = str(error).lower() if isinstance(error, CronSimError) else ""
            raise ValueError(f"{text!r} is not a cron expression: {_explain(fields, what)}") from None
        minute, hour = fields[-5], fields[-4]
        self._text = _SINGLE.sub(r"\1", text)
        self._tz = tz
        self._fixed = not minute.startswith("*") and not hour.startswith("*")

    def next(self, after_ms: int) -> int | None:
        try:
            return self._next_fixed(after_ms) if self._fixed else self._next_shown(after_ms)
        except (StopIteration, OverflowError):
            return None

    def _next_fixed(self, after_ms: int) -> int:
        times = CronSim(self._text, from_ms(after_ms, self._tz).replace(tzinfo=None))
        while True:
            found = _first_instant(next(times), self._tz)
            if found > after_ms:
                return found

    def _next_shown(self, after_ms: int) -> int:
        """Searches each period with one offset by itself, because local time and real time run alike in it."""
        start_ms = after_ms
        here = from_ms(start_ms, self._tz)
        base = here.replace(tzinfo=None)
        while True:
            offset = here.utcoffset() or timedelta()
            local = next(CronSim(self._text, base))
            found = to_ms((local - offset).replace(tzinfo=UTC))
            change = self._first_change(start_ms, found, offset)
            if change is None:
                return found
            start_ms = change
            here = from_ms(change, self._tz)
            base = here.replace(tzinfo=None) - _SECOND

    def _first_change(self, start_ms: int, end_ms: int, offset: timedelta) -> int | None:
        if self._tz is UTC:
            return None
        before = start_ms
        while before < end_ms:
            probe = min(before + 86_400_000, end_ms)
            if from_ms(probe, self._tz).utcoffset() != offset:
                return _change(before, probe, offset, self._tz)
            before = probe
        return None


def parse_source(text: str, tz: tzinfo, anchor_ms: int = 0) -> Source:
    """Returns the times of `0 30 2 * * *`, `@daily`, `@every 90s` or `@at 2030-12-24T18:30`.

    Raises ValueError that says what to write instead.
    """
    words = text.split()
    if not words:
        raise ValueError("the expression is empty: write for example `30 2 * * *`, `@daily` or `@every 90s`")
    head, rest = words[0].lower(), " ".join(words[1:])
    if head == "@every":
        try:
            interval_ms = duration_ms(rest.replace(" ", ""))
        except ValueError:
            raise ValueError(f"{text!r} has no interval: write for example `@every 90s` or `@every 1h30m`") from None
        if not EVERY_MS_MIN <= interval_ms <= EVERY_MS_MAX:
            raise ValueError(f"{text!r} is out of range: the interval must be between 1s and 366d")
        return every(interval_ms, anchor_ms)
    if head == "@at":
        at_ms = parse_time(rest, tz)
        return lambda after_ms: at_ms if at_ms > after_ms else None
    if head.startswith("@"):
        if rest or head not in NICKNAMES:
            raise ValueError(f"{text!r} is not known: use {', '.join(NICKNAMES)}, `@every 90s` or `@at <time>`")
        return Cron(NICKNAMES[head], tz).next
    return Cron(text, tz).next


def parse_window(text: str) -> tuple[tuple[int, int], ...]:
    """Returns `09:00-17:00` as minutes of the day, the end excluded. A window over midnight has two parts.

    Raises ValueError if it is not a window.
    """
    match = _WINDOW.match(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a window: write for example 09:00-17:00")
    start, end = int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])
    if start >= 1440 or end > 1440 or start == end:
        raise ValueError(f"{text!r} is not a window: it must begin before 24:00 and not end where it begins")
    return ((start, end),) if start < end else ((0, end), (start, 1440)) if end else ((start, 1440),)


def parse_holiday(text: str) -> tuple[int, int, int]:
    """Returns `2030-12-25` as (year, month, day), and `12-25`, a day of every year, with the year 0.

    Raises ValueError if it is not a date.
    """
    match = _HOLIDAY.match(text.strip())
    try:
        if match is None:
            raise ValueError
        year = int(match[1] or 0)
        date(year or 2000, int(match[2]), int(match[3]))
    except ValueError:
        raise ValueError(f"{text!r} is not a date: write 2030-12-25, or 12-25 for every year") from None
    return year, int(match[2]), int(match[3])


class Opening:
    """The days and hours in which a schedule may fire."""

    def __init__(self, tz: tzinfo, windows: Sequence[str], weekdays: Sequence[str], holidays: Sequence[str]) -> None:
        self._tz = tz
        self._windows = sorted(part for text in windows for part in parse_window(text)) or [(0, 1440)]
        self._weekdays = frozenset(WEEKDAYS.index(day) for day in weekdays) or frozenset(range(7))
        self._holidays = frozenset(map(parse_holiday, holidays))
        self._always = not (windows or weekdays or holidays)

    def _open_day(self, day: date) -> bool:
        if day.weekday() not in self._weekdays:
            return False
        return (day.year, day.month, day.day) not in self._holidays and (0, day.month, day.day) not in self._holidays

    def open_from(self, at_ms: int) -> int | None:
        """Returns `at_ms` if it is open then, or else when it opens next; None if it stays closed for ten years."""
        if self._always:
            return at_ms
        local = from_ms(at_ms, self._tz)
        day = local.date()
        if self._open_day(day) and self._open_time(local):
            return at_ms
        for _ in range(_CLOSED_DAYS_MAX):
            if self._open_day(day):
                opens = [at for at in self._openings(day) if at > at_ms]
                if opens:
                    return min(opens)
            day += timedelta(days=1)
        return None

    def _open_time(self, local: datetime) -> bool:
        minute = local.hour * 60 + local.minute
        return any(start <= minute < end for start, end in self._windows)

    def _openings(self, day: date) -> Iterator[int]:
        """Yields the moments of a day at which a window begins, or the clocks change to a time inside one."""
        for start, _end in self._windows:
            yield from _instants(datetime.combine(day, time(start // 60, start % 60)), self._tz)
        if self._tz is UTC:
            return
        first = _first_instant(datetime.combine(day, time()), self._tz)
        last = _first_instant(datetime.combine(day + timedelta(days=1), time()), self._tz)
        offset = from_ms(first, self._tz).utcoffset()
        if from_ms(last, self._tz).utcoffset() != offset:
            change = _change(first, last, offset, self._tz)
            if self._open_time(from_ms(change, self._tz)):
                yield change


class Timetable:
    """All times of a schedule: the times of its sources within its opening hours, between start and end."""

    def __init__(self, sources: Sequence[Source], opening: Opening, start_ms: int = 0, end_ms: int = LAST_MS) -> None:
        self._sources = sources
        self._opening = opening
        self._start_ms = start_ms
        self._end_ms = min(end_ms, LAST_MS)

    def next(self, after_ms: int) -> int | None:
        """Returns the first time after `after_ms`, or None."""
        return next(self.times(after_ms), None)

    def times(self, after_ms: int) -> Iterator[int]:
        """Yields all times after `after_ms`. Each source is asked once for each time, as some are slow."""
        after_ms = max(after_ms, self._start_ms - 1)
        waiting = [source(after_ms) for source in self._sources]
        jumps = 0
        while jumps < _JUMPS_MAX:
            for index, source in enumerate(self._sources):
                found = waiting[index]
                if found is not None and found <= after_ms:
                    waiting[index] = source(after_ms)
            first = min((found for found in waiting if found is not None), default=None)
            if first is None or first > self._end_ms:
                return
            opens = self._opening.open_from(first)
            if opens is None:
                return
            if opens == first:
                yield first
            jumps = 0 if opens == first else jumps + 1
            after_ms = first if opens == first else opens - 1

    def between(self, start_ms: int, end_ms: int, limit: int) -> list[int]:
        """Returns the times in [start_ms, end_ms], at most `limit`."""
        return list(itertools.islice(itertools.takewhile(end_ms.__ge__, self.times(start_ms - 1)), limit))


@functools.lru_cache(maxsize=2048)
def timetable(
    sources: tuple[str, ...],
    time_zone: str,
    anchor_ms: int,
    windows: tuple[str, ...] = (),
    weekdays: tuple[str, ...] = (),
    holidays: tuple[str, ...] = (),
    start_at: str = "",
    end_at: str = "",
) -> Timetable:
    """Returns the times of a schedule. Raises ValueError if a text can't be read; spec.py finds its place."""
    tz = zone(time_zone)
    return Timetable(
        [parse_source(text, tz, anchor_ms) for text in sources],
        Opening(tz, windows, weekdays, holidays),
        parse_time(start_at, tz) if start_at else 0,
        parse_time(end_at, tz) if end_at else LAST_MS,
    )
