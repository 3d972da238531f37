"""Fire times against clocks that are watched minute by minute: changes of the clocks, leap years, windows, holidays."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentflow_common.firetimes import Every, from_ms, parse_source, parse_time, timetable, to_ms, zone

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
    while (following := source.next(at)) is not None and following <= end:
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
    found = Every(interval, anchor).next(after)
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
    while (at := source.next(at) or end + 1) <= end:
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


def test_leap_days_last_days_and_nth_weekdays() -> None:
    def dates(expression: str, count: int) -> list[str]:
        source, at, found = parse_source(expression, UTC), to_ms(datetime(2026, 1, 31, tzinfo=UTC)), []
        for _ in range(count):
            at = source.next(at) or 0
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
    found = [at := source.next(at) or 0 for _ in range(2)]
    assert [from_ms(ms).isoformat() for ms in found] == ["2026-12-31T23:59:40+00:00", "2027-01-01T23:59:00+00:00"]


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("61 * * * *", "bad minute"),
        ("* * *", "3 fields"),
        ("0 0 31 2 *", "bad day-of-month"),
        ("@sometimes", "@hourly"),
        ("@every soon", "is not a duration"),
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


def test_one_that_can_never_come_ends_the_search() -> None:
    assert parse_source("* * */20 * 1L", UTC).next(to_ms(datetime(2020, 1, 1, tzinfo=UTC))) is None
    never = timetable(("59 23 * * *",), "Europe/Berlin", 0, ("09:00-17:00",))
    assert never.next(to_ms(datetime(2026, 1, 1, tzinfo=UTC))) is None
