"""The durable consumers of a stream, and how far they are."""

from __future__ import annotations

import math
from typing import Final

from nats.aio.client import Client
from nats.js import api

from agentflow_common import subjects

LISTED_MAX: Final = 256  # consumers that the server lists in one answer


async def durable_consumers(nc: Client, stream: str) -> list[api.ConsumerInfo]:
    """Returns the state of every durable consumer of the stream."""
    found: list[api.ConsumerInfo] = []
    offset = 0
    while True:
        listed = await nc.jsm().consumers_info(stream, offset)
        found += [info for info in listed if info.config.durable_name]
        offset += len(listed)
        if len(listed) < LISTED_MAX:
            return found


async def seen_by_all(nc: Client) -> float:
    """Returns the sequence of the event log up to which every durable consumer is done, infinity if none lags.

    Consumers of worker pools do not count: the tasks of a finished run are void.
    """
    seen = math.inf
    for info in await durable_consumers(nc, subjects.EVENTS_STREAM):
        of_pool = str(info.config.durable_name).startswith(subjects.pool_durable(""))
        if (info.num_pending or info.num_ack_pending) and not of_pool:
            seen = min(seen, info.ack_floor.stream_seq if info.ack_floor is not None else 0)
    return seen
