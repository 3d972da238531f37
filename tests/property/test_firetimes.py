"""Fire times against clocks that are watched minute by minute: changes of the clocks, leap years, windows, holidays."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from agentflow_common.schedules.fire_times import (
    Opening,
    Timetable,
    every,
    from_ms,
    parse_source,
    parse_time,
    timetable,
    to_ms,
    zone,
)

MINUTE = 60_000
# (zone, a UTC time shortly before its clocks change): an hour on, an hour back, half an hour, and a day that never was
CHANGES = [
    ("Europe/Berlin", datetime(2026, 3, 28, 20, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 24, 20, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 3, 8, 2, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 11, 1, 1, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 8, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 8, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 30, 4, tzinfo=UTC)),
    ("Asia/Kolkata", datetime(2026, 3, 28, 20, tzinfo=UTC)),
]
HOURS_WATCHED = 40


def local(ms: int, name: str) -> datetime:
    return from_ms(ms, ZoneInfo(name)).replace(tzinfo=None)


def minutes(start: datetime) -> range:
    first = to_ms(start)
    return range(first + MINUTE, first + HOURS_WATCHED * 60 * MINUTE + 1, MINUTE)


def fires(expression: str, name: str, start: datetime) -> list[int]:
    source = parse_source(expression, zone(name))
    found, at, end = [], to_ms(start), minutes(start)[-1]
    while (following := source(at)) is not None and following <= end:
        assert following > at
        found.append(following)
        at = following
    return found


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(CHANGES), st.integers(1, 59), st.sampled_from(["*", "*/2", "1-4", "0,2,3,22"]))
def test_a_job_of_every_few_minutes_runs_whenever_the_clock_shows_its_time(
    change: tuple[str, datetime], step: int, hours: str
) -> None:
    name, start = change
    shown = {"*": range(24), "*/2": range(0, 24, 2), "1-4": range(1, 5), "0,2,3,22": (0, 2, 3, 22)}[hours]
    seen = [m for m in minutes(start) if local(m, name).minute % step == 0 and local(m, name).hour in shown]
    assert fires(f"*/{step} {hours} * * *", name, start) == seen


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(CHANGES), st.integers(0, 59), st.sets(st.integers(0, 23), min_size=1, max_size=4))
def test_a_daily_job_runs_once_however_the_clocks_change(
    change: tuple[str, datetime], minute: int, hours: set[int]
) -> None:
    name, start = change
    watched = minutes(start)
    begin = local(watched[0] - MINUTE, name)
    wanted = sorted(
        moment
        for day, hour in itertools.product(range(4), hours)
        if (moment := begin.replace(hour=hour, minute=minute) + timedelta(days=day)) > begin
    )
    seen: list[int] = []
    for at in watched:
        while wanted and local(at, name) >= wanted[0]:  # reached, or jumped over
            wanted.pop(0)
            if not seen or seen[-1] != at:
                seen.append(at)
    text = ",".join(map(str, sorted(hours)))
    assert fires(f"{minute} {text} * * *", name, start) == seen
    assert fires(f"0 {minute} {text} * * *", name, start) == seen, "seconds change nothing"


@settings(max_examples=200, deadline=None)
@given(st.integers(1_000, 10**8), st.integers(0, 2 * 10**12), st.integers(0, 2 * 10**12))
def test_every_counts_real_time_from_its_anchor(interval: int, anchor: int, after: int) -> None:
    found = every(interval, anchor)(after)
    assert found is not None and found > max(after, anchor)
    assert (found - anchor) % interval == 0
    assert found - interval <= max(after, anchor)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 365 * 24 * 60),
    st.sampled_from([("09:00-17:00",), ("22:00-06:00",), ("08:30-09:00", "12:00-24:00")]),
    st.sets(st.sampled_from(["mon", "wed", "sun"]), max_size=2),
    st.sampled_from(["*/7 * * * *", "30 2,12,23 * * *", "@every 37m"]),
)
def test_windows_weekdays_and_holidays_leave_exactly_the_times_in_them(
    offset: int, windows: tuple[str, ...], weekdays: set[str], expression: str
) -> None:
    name, holidays = "Europe/Berlin", ("12-25", "2026-03-30", "2026-10-26")
    start = 1_767_225_600_000 + offset * MINUTE
    end = start + 9 * 86_400_000
    source = parse_source(expression, zone(name), start)
    wanted, at = [], start
    while (at := source(at) or end + 1) <= end:
        here = local(at, name)
        day = here.strftime("%a").lower()
        closed = here.strftime("%m-%d") in holidays or here.strftime("%Y-%m-%d") in holidays
        clock = here.strftime("%H:%M")
        inside = any(
            (a <= clock < b) if a < b else (clock >= a or clock < b) for a, b in (w.split("-") for w in windows)
        )
        if inside and not closed and (not weekdays or day in weekdays):
            wanted.append(at)
    table = timetable((expression,), name, start, windows, tuple(sorted(weekdays)), holidays)
    assert table.between(start + 1, end, 10**6) == wanted


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(CHANGES),
    st.lists(st.tuples(st.integers(0, 1439), st.integers(1, 90)), min_size=1, max_size=3),
    st.sampled_from(["* * * * *", "*/7 * * * *", "@every 5m"]),
)
def test_windows_open_whenever_the_clock_shows_their_time(
    change: tuple[str, datetime], spans: list[tuple[int, int]], expression: str
) -> None:
    """Twice if the clocks are set back, and not for what they jump over."""
    name, start = change
    spans = [(begin % 240 if expression != "@every 5m" else begin, length) for begin, length in spans]
    ends = [(begin, min(1440, begin + length)) for begin, length in spans]
    windows = tuple(f"{a // 60:02}:{a % 60:02}-{b // 60:02}:{b % 60:02}" for a, b in ends)
    watched = minutes(start)
    table = timetable((expression,), name, to_ms(start), windows)
    source = parse_source(expression, zone(name), to_ms(start))
    wanted, at = [], to_ms(start)
    while (at := source(at) or 0) <= watched[-1]:
        clock = local(at, name).hour * 60 + local(at, name).minute
        if any(a <= clock < b for a, b in ends):
            wanted.append(at)
    assert table.between(to_ms(start) + 1, watched[-1], 10**6) == wanted


_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]


@st.composite
def _field(draw: st.DrawFn, low: int, high: int, names: Sequence[str] = (), top: int = 0) -> tuple[str, set[int]]:
    """A field and what it stands for. top: where an open step ends."""
    parts: list[str] = []
    values: set[int] = set()
    for _ in range(draw(st.integers(1, 3))):
        first = draw(st.integers(low, high))
        last = draw(st.integers(first, high))
        step = draw(st.integers(1, high - low + 1))
        named = draw(st.booleans()) if names else False
        word = names[first - low] if named else str(first)
        text, found = draw(
            st.sampled_from(
                [
                    (word, range(first, first + 1)),
                    (f"{first}-{last}", range(first, last + 1)),
                    (f"{first}-{last}/{step}", range(first, last + 1, step)),
                    (f"{first}/{step}", range(first, (top or high) + 1, step)),
                ]
            )
        )
        parts.append(text)
        values.update(found)
    return ",".join(parts), values


@settings(max_examples=100, deadline=None)
@given(
    _field(0, 59), _field(0, 23), _field(1, 31), _field(1, 12, _MONTHS), _field(0, 6, _DAYS, 7),
    st.sampled_from(["both", "day", "weekday", "neither", "star"]), st.integers(0, 10**12),
)  # fmt: skip
def test_fields_stand_for_what_they_say(
    minute: Any, hour: Any, day: Any, month: Any, weekday: Any, days: str, after: int
) -> None:
    """Against a search of all minutes of all days."""
    if days in {"weekday", "neither"}:
        day = ("*", set(range(1, 32)))
    if days in {"day", "neither"}:
        weekday = ("*", set(range(7)))
    if days == "star":  # it begins with `*`: then the weekday must fit too
        day = ("*/2", set(range(1, 32, 2)))
    possible = any(d <= 29 + (m != 2) + (m in {1, 3, 5, 7, 8, 10, 12}) for d in day[1] for m in month[1])
    assume(possible)
    both = days == "both"
    begin = from_ms(after)
    wanted: list[datetime] = []
    date, last = begin.replace(hour=0, minute=0, second=0, microsecond=0), begin + timedelta(days=800)
    while date < last and len(wanted) < 5:
        fits = (date.day in day[1], bool({date.isoweekday(), date.isoweekday() % 7} & weekday[1]))
        if date.month in month[1] and (any(fits) if both else all(fits)):
            times = (date.replace(hour=h, minute=m) for h in sorted(hour[1]) for m in sorted(minute[1]))
            wanted += [moment for moment in times if moment > begin]
        date += timedelta(days=1)
    text = " ".join(part[0] for part in (minute, hour, day, month, weekday))
    found = timetable((text,), "UTC", 0).between(after + 1, to_ms(last) - 1, 5)
    assert [from_ms(ms) for ms in found] == wanted[:5]


def test_leap_days_last_days_and_nth_weekdays() -> None:
    def dates(expression: str, count: int) -> list[str]:
        source, at, found = parse_source(expression, UTC), to_ms(datetime(2026, 1, 31, tzinfo=UTC)), []
        for _ in range(count):
            at = source(at) or 0
            found.append(from_ms(at).strftime("%Y-%m-%d"))
        return found

    assert dates("0 0 29 2 *", 3) == ["2028-02-29", "2032-02-29", "2036-02-29"]
    assert dates("0 12 L * *", 3) == ["2026-01-31", "2026-02-28", "2026-03-31"]
    assert dates("0 12 * * 5L", 2) == ["2026-02-27", "2026-03-27"]
    assert dates("0 12 * * MON#1", 2) == ["2026-02-02", "2026-03-02"]
    assert dates("@yearly", 2) == ["2027-01-01", "2028-01-01"]


def test_seconds_come_first_of_six_fields() -> None:
    source = parse_source("*/20 59 23 * * *", UTC)
    at = parse_time("2026-12-31T23:59:30", UTC)
    found = [at := source(at) or 0 for _ in range(2)]
    assert [from_ms(ms).isoformat() for ms in found] == ["2026-12-31T23:59:40+00:00", "2027-01-01T23:59:00+00:00"]


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("61 * * * *", "bad minute"),
        ("* * *", "3 fields"),
        ("0 0 31 2 *", "bad day-of-month"),
        ("@sometimes", "@hourly"),
        ("@every soon", "write for example `@every 90s`"),
        ("@every 90", "write for example `@every 90s`"),
        ("0 12 ? * 2", "Quartz counts from 1 = sun"),
        ("0 0 15W * *", "there are L and LW"),
        ("H * * * *", "is `jitter` here"),
        ("0 0 * * fri-mon", "a list, for example fri,sat,sun,mon"),
        ("0 0 30 2 *", "in a month that has it"),
        ("CRON_TZ=Europe/Berlin 0 2 * * *", "set it as `time_zone`"),
        ("0 2 * * * Europe/Berlin", "set it as `time_zone`"),
        ("0 0 0 1 1 * 2030", "`start_at` and `end_at`"),
        ("@every 10ms", "between 1s and 366d"),
        ("@at tomorrow", "is not a time"),
        ("", "empty"),
        ("@daily x", "is not known"),
        ("² * * * *", "not a cron expression"),
    ],
)
def test_what_is_wrong_with_an_expression_is_told(expression: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_source(expression, UTC)


def test_what_takes_long_to_search_is_searched_once() -> None:
    """One source comes each day at a closed hour; another never comes, which takes it long to find out."""
    asked: list[int] = []

    def never(after_ms: int) -> int | None:
        asked.append(after_ms)
        return None

    daily = parse_source("0 8 * * *", UTC)
    table = Timetable([daily, never], Opening(UTC, ["09:00-17:00"], [], []))
    assert table.next(to_ms(datetime(2026, 1, 1, tzinfo=UTC))) is None
    assert len(asked) == 1


def test_one_that_can_never_come_ends_the_search() -> None:
    assert parse_source("* * */20 * 1L", UTC)(to_ms(datetime(2020, 1, 1, tzinfo=UTC))) is None
    never = timetable(("59 23 * * *",), "Europe/Berlin", 0, ("09:00-17:00",))
    assert never.next(to_ms(datetime(2026, 1, 1, tzinfo=UTC))) is None
