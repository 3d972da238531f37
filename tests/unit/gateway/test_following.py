"""What is kept for one follower of a run until it is taken: its bound, its order, and when it is handed on."""

from __future__ import annotations

import asyncio

from agentflow_common import subjects
from agentflow_common.log.consumers import Delivery
from agentflow_gateway.run_tails import Following

KEY = subjects.key_of("default", "run_1")


def delivery(seq: int, subject: str = subjects.run_in(KEY)) -> Delivery:
    return Delivery(subject, b"{}", seq, 0, 1, 0, "", None)


async def test_what_came_is_taken_in_order_and_once() -> None:
    following = Following(4)
    following.put(delivery(1))
    following.put_passing("token")
    following.put(delivery(2))
    assert await following.take() == [delivery(1), "token", delivery(2)]
    assert await following.take(timeout_s=0) == []
    waiting = asyncio.create_task(following.take())
    await asyncio.sleep(0)
    following.put(delivery(3))
    assert await waiting == [delivery(3)]


async def test_more_than_there_is_room_for_is_lost_until_it_begins_again() -> None:
    following = Following(2)
    for seq in (1, 2):
        following.put(delivery(seq))
    following.put_passing("a token that finds no room")
    assert not following.lost
    following.put(delivery(3))
    assert following.lost
    following.put(delivery(4))
    assert await following.take() == []
    following.begin_again()
    following.put(delivery(5))
    assert not following.lost
    assert await following.take() == [delivery(5)]


async def test_what_comes_soon_after_is_gathered_unless_the_run_itself_changes() -> None:
    following = Following(10)
    following.put(delivery(1))
    assert await following.take(gather_s=60) == [delivery(1)]
    following.put(delivery(2))
    taking = asyncio.create_task(following.take(gather_s=60))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not taking.done()
    following.put(delivery(3))
    following.put(delivery(4, subjects.out_run(KEY)))
    assert [item.seq for item in await taking] == [2, 3, 4]
