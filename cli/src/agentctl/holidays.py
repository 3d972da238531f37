"""Dates of holidays from a file: the all-day events of an iCalendar file (RFC 5545), or one date a line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Final

from agentctl.failures import BAD_INPUT, CliError

DAYS_MAX: Final = 366  # of one event
_FOLDED: Final = re.compile(r"\r?\n[ \t]")
_LINE: Final = re.compile(r"([A-Z-]+)((?:;[^:\"]*(?:\"[^\"]*\"[^:\"]*)*)?):(.*)")


def read(text: str, source: str) -> list[str]:
    """Returns the dates, `2030-12-25` or `12-25` for every year, each once and in order.

    Raises CliError that names what is wrong.
    """
    found = _events(text, source) if "BEGIN:VCALENDAR" in text[:1000] else _lines(text)
    dates = sorted(set(found))
    if not dates:
        fix = "write one date a line, 2030-12-25 or 12-25, or give an iCalendar file with all-day events"
        raise CliError(f"{source} contains no dates", fix=fix, exit_code=BAD_INPUT)
    return dates


def _lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if word := line.partition("#")[0].strip():
            yield word


def _events(text: str, source: str) -> Iterator[str]:
    """Yields the dates of events. Cancelled events and events that begin at an hour are left out."""
    event: dict[str, str] | None = None
    for line in _FOLDED.sub("", text).splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        name, options, value = match.groups()
        if (name, value) == ("BEGIN", "VEVENT"):
            event = {}
        elif (name, value) == ("END", "VEVENT") and event is not None:
            yield from _days(event, source)
            event = None
        elif event is not None:
            event[name] = value.strip()
            if name in {"DTSTART", "DTEND"} and "VALUE=DATE" not in options.split(";") and "T" in value:
                event["TIMED"] = "yes"


def _days(event: dict[str, str], source: str) -> Iterator[str]:
    if "TIMED" in event or event.get("STATUS") == "CANCELLED":
        return
    what = event.get("SUMMARY", "an event")[:60]
    try:
        first = date.fromisoformat(event["DTSTART"])
        end = date.fromisoformat(event["DTEND"]) if "DTEND" in event else first + timedelta(days=1)
    except (KeyError, ValueError):
        raise CliError(f"{source}: {what!r} has no date that can be read", exit_code=BAD_INPUT) from None
    if (end - first).days > DAYS_MAX:
        raise CliError(f"{source}: {what!r} is longer than {DAYS_MAX} days", exit_code=BAD_INPUT)
    rule = set(event.get("RRULE", "").upper().split(";")) - {"", "INTERVAL=1"}
    if rule - {"FREQ=YEARLY"}:
        fix = "give each date as an event of its own; an event on the same day of every year may use FREQ=YEARLY"
        raise CliError(f"{source}: {what!r} repeats by {event['RRULE']}", fix=fix, exit_code=BAD_INPUT)
    form = "%m-%d" if rule else "%Y-%m-%d"
    for number in range(max(1, (end - first).days)):
        yield (first + timedelta(days=number)).strftime(form)
