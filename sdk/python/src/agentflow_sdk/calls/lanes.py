"""The calls that show and change lanes."""

from __future__ import annotations

from typing import Final

from agentflow.v1 import control_pb2 as pb
from agentflow_sdk.convert.answers import page_reader, reader
from agentflow_sdk.models.lanes import Lane
from agentflow_sdk.models.records import Page
from agentflow_sdk.transport.call import Call, service

_METHOD: Final = service("LaneService", pb)


def list_lanes(*, limit: int = 200, page_token: str = "", timeout: float | None = None) -> Call[Page[Lane]]:
    """Returns a page of the worker pools and keyed lanes, by name.

    Args:
        limit: The most items of the page, from 1 to 1000.
        page_token: The `next_page_token` of the page before; empty for the first page.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The page.

    Raises:
        PermissionDeniedError: The API key lacks the permission `read`.
    """
    request = pb.ListLanesRequest(page_size=limit, page_token=page_token)
    return Call(_METHOD("ListLanes"), request, page_reader(Lane, "lanes"), timeout)


def get_lane(name: str, *, timeout: float | None = None) -> Call[Lane]:
    """Returns a lane.

    Args:
        name: The name of a worker pool, or the key of a lane.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The lane.

    Raises:
        NotFoundError: No lane of this name was ever used or set.
        PermissionDeniedError: The API key lacks the permission `read`.
    """
    return Call(_METHOD("GetLane"), pb.GetLaneRequest(name=name), reader(Lane, "lane"), timeout)


def set_lane(
    name: str,
    *,
    limit: int | None = None,
    rate_per_s: float | None = None,
    paused: bool | None = None,
    reason: str = "",
    until: int = 0,
    timeout: float | None = None,
) -> Call[Lane]:
    """Changes a lane, at once and for all orgs. What is None stays as it is.

    Args:
        name: The name of a worker pool, or the key of a lane.
        limit: The most attempts at a time; 0 removes the limit that was set here.
        rate_per_s: The most attempts that may begin in a second; 0 removes the bound. Only keyed lanes have a rate.
        paused: True to let no further attempt begin, False to let them begin again.
        reason: Why; it is shown with the lane.
        until: With `paused=True`: when the lane goes on by itself, ms since the epoch; 0 until it is resumed.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The lane after the change.

    Raises:
        InvalidArgumentError: The limit, the rate or the time is out of range, or a worker pool was given a rate.
        AbortedError: Others change the lane at the same time. Try again.
        PermissionDeniedError: The API key lacks the permissions `admin` and `operator`.
    """
    request = pb.SetLaneRequest(
        name=name, limit=limit, rate_per_s=rate_per_s, paused=paused, reason=reason, until=until
    )
    return Call(_METHOD("SetLane"), request, reader(Lane, "lane"), timeout)
