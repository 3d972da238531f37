"""How far the durable consumers of the event log are, asked of a server that lists them in pages."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

from nats.js import api

from agentflow_common import subjects
from agentflow_common.log.durables import LISTED_MAX, durable_consumers, seen_by_all


def consumer(durable: str | None, acked: int, pending: int = 0) -> api.ConsumerInfo:
    return api.ConsumerInfo(
        name=durable or "ephemeral",
        stream_name=subjects.EVENTS_STREAM,
        config=api.ConsumerConfig(durable_name=durable),
        created=None,  # type: ignore[arg-type]
        num_pending=pending,
        num_ack_pending=0,
        ack_floor=api.SequenceInfo(consumer_seq=acked, stream_seq=acked),
    )


def server(*consumers: api.ConsumerInfo) -> Any:
    """A client of a server with these consumers, which it lists as NATS does: one page from an offset on."""

    async def consumers_info(_stream: str, offset: int = 0) -> list[api.ConsumerInfo]:
        return list(consumers[offset : offset + LISTED_MAX])

    return SimpleNamespace(jsm=lambda: SimpleNamespace(consumers_info=consumers_info))


async def test_every_page_of_consumers_is_read() -> None:
    listed = [consumer(f"c{number}", 1) for number in range(2 * LISTED_MAX + 3)]
    assert await durable_consumers(server(*listed), subjects.EVENTS_STREAM) == listed
    full = listed[:LISTED_MAX]
    assert await durable_consumers(server(*full), subjects.EVENTS_STREAM) == full, "the last page is full"


async def test_the_slowest_durable_consumer_says_how_far_all_have_read() -> None:
    others = [consumer(f"c{number}", 900, pending=1) for number in range(LISTED_MAX)]
    ahead = [*others, consumer("done", 3)]
    assert await seen_by_all(server(*ahead, consumer("late", 40, pending=2))) == 40
    assert await seen_by_all(server(*ahead)) == 900, "a consumer that waits for nothing does not count"


async def test_consumers_of_pools_and_those_that_do_not_last_do_not_count() -> None:
    pool = consumer(subjects.pool_durable("default"), 5, pending=9)
    assert await seen_by_all(server(pool, consumer(None, 7, pending=9))) == math.inf
