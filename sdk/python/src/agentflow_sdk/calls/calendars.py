"""The calls about calendars: named days on which schedules do not fire."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from agentflow.v1 import schedule_pb2 as pb
from agentflow_sdk.convert.answers import page_reader
from agentflow_sdk.convert.requests import listed
from agentflow_sdk.models.records import Page
from agentflow_sdk.models.schedules import Calendar
from agentflow_sdk.transport.call import Call, service

_METHOD: Final = service("ScheduleService", pb)


def set_calendar(name: str, dates: str | Iterable[str], *, timeout: float | None = None) -> Call[int]:
    """Creates or replaces a calendar: days on which schedules that name it do not fire.

    Args:
        name: The name of the calendar.
        dates: The days: `2030-12-25`, or `12-25` for every year.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The number of schedules that name the calendar and follow the change.

    Raises:
        InvalidArgumentError: A date or the name is not valid.
        ResourceExhaustedError: The org has as many calendars as it may have.
        PermissionDeniedError: The API key lacks the permission `write`.
    """
    request = pb.SetCalendarRequest(name=name, dates=listed(dates))
    return Call(_METHOD("SetCalendar"), request, lambda reply: int(reply.schedules), timeout)


def calendars(*, limit: int = 1000, page_token: str = "", timeout: float | None = None) -> Call[Page[Calendar]]:
    """Returns a page of the org's calendars, by name.

    Args:
        limit: The most items of the page, from 1 to 1000.
        page_token: The `next_page_token` of the page before; empty for the first page.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The page.

    Raises:
        PermissionDeniedError: The API key lacks the permission `read`.
    """
    request = pb.ListCalendarsRequest(page_size=limit, page_token=page_token)
    return Call(_METHOD("ListCalendars"), request, page_reader(Calendar, "calendars"), timeout)


def delete_calendar(name: str, *, timeout: float | None = None) -> Call[None]:
    """Deletes a calendar.

    Args:
        name: The name of the calendar.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        None.

    Raises:
        NotFoundError: The org has no such calendar.
        FailedPreconditionError: A schedule names the calendar.
        PermissionDeniedError: The API key lacks the permission `write`.
    """
    request = pb.DeleteCalendarRequest(name=name)
    return Call(_METHOD("DeleteCalendar"), request, lambda _: None, timeout, repeatable=False)
