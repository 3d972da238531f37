"""Holidays that agentctl reads from a file."""

from __future__ import annotations

import pytest

from agentctl import holidays
from agentctl.failures import CliError

ICS = """\
BEGIN:VCALENDAR\r
VERSION:2.0\r
BEGIN:VEVENT\r
SUMMARY;LANGUAGE=en:A long name\r
 , folded\r
DTSTART;VALUE=DATE:20301225\r
DTEND;VALUE=DATE:20301227\r
END:VEVENT\r
BEGIN:VEVENT\r
DTSTART;VALUE=DATE:20300101\r
RRULE:FREQ=YEARLY;INTERVAL=1\r
END:VEVENT\r
BEGIN:VEVENT\r
DTSTART;TZID="Europe/Berlin":20300301T090000\r
END:VEVENT\r
BEGIN:VEVENT\r
DTSTART;VALUE=DATE:20300401\r
STATUS:CANCELLED\r
END:VEVENT\r
BEGIN:VEVENT\r
DTSTART:20300501\r
BEGIN:VALARM\r
TRIGGER:-PT15M\r
END:VALARM\r
END:VEVENT\r
END:VCALENDAR\r
"""


def test_all_day_events_of_an_icalendar_file() -> None:
    assert holidays.read(ICS, "x.ics") == ["01-01", "2030-05-01", "2030-12-25", "2030-12-26"]


def test_a_date_a_line() -> None:
    assert holidays.read("# bank\n12-25\n\n2030-01-01  # new year\n12-25\n", "x") == ["12-25", "2030-01-01"]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("RRULE:FREQ=YEARLY;INTERVAL=1", "RRULE:FREQ=WEEKLY", "repeats by FREQ=WEEKLY"),
        ("DTEND;VALUE=DATE:20301227", "DTEND;VALUE=DATE:20991227", "longer than 366 days"),
        ("DTSTART;VALUE=DATE:20301225", "DTSTART;VALUE=DATE:soon", "'A long name, folded' has no date"),
    ],
)
def test_what_is_no_date_is_told(old: str, new: str, told: str) -> None:
    with pytest.raises(CliError, match=told):
        holidays.read(ICS.replace(old, new), "x.ics")


@pytest.mark.parametrize("text", ["", "# nothing\n", "BEGIN:VCALENDAR\nEND:VCALENDAR\n"])
def test_a_file_without_dates_is_told(text: str) -> None:
    with pytest.raises(CliError, match="contains no dates"):
        holidays.read(text, "x")
