"""Batches: what comes while a statement is on its way is one statement, in order; errors reach those who wait."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from agentflow_gateway.store import batches
from agentflow_gateway.store.batches import Batches


class Database:
    """Answers with ten times each number, when the gate is open; 13 is an error."""

    def __init__(self) -> None:
        self.statements: list[list[int]] = []
        self.gate = asyncio.Event()

    async def serve(self, items: Sequence[int]) -> Sequence[int]:
        self.statements.append(list(items))
        await self.gate.wait()
        if 13 in items:
            raise ValueError("unlucky")
        return [10 * item for item in items]


async def test_what_comes_meanwhile_is_one_statement() -> None:
    database = Database()
    calls = Batches(database.serve)
    first = [calls.add(1), calls.add(2)]
    await asyncio.sleep(0)
    later = [calls.add(number) for number in (3, 4, 5)]
    assert calls.waiting == 3
    database.gate.set()
    assert await asyncio.gather(*first, *later) == [10, 20, 30, 40, 50]
    assert database.statements == [[1, 2], [3, 4, 5]]
    assert await calls.add(6) == 60


async def test_an_error_is_that_of_its_batch_alone() -> None:
    database = Database()
    calls = Batches(database.serve)
    bad = [calls.add(12), calls.add(13)]
    await asyncio.sleep(0)
    good = calls.add(14)
    database.gate.set()
    assert await good == 140
    for future in bad:
        with pytest.raises(ValueError, match="unlucky"):
            await future


async def test_a_batch_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "BATCH_MAX", 2)
    database = Database()
    database.gate.set()
    calls = Batches(database.serve)
    assert await asyncio.gather(*(calls.add(number) for number in range(5))) == [0, 10, 20, 30, 40]
    assert database.statements == [[0, 1], [2, 3], [4]]


async def test_settled_waits_for_what_was_added_before_and_raises_nothing() -> None:
    database = Database()
    calls = Batches(database.serve)
    await calls.settled()
    calls.add(1)
    calls.add(13)
    waiting = asyncio.ensure_future(calls.settled())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    database.gate.set()
    await waiting
    waiting = asyncio.ensure_future(calls.settled())
    await waiting


async def test_a_caller_that_leaves_takes_nothing_from_the_others() -> None:
    database = Database()
    calls = Batches(database.serve)
    gone, stays = calls.add(1), calls.add(2)
    gone.cancel()
    database.gate.set()
    assert await stays == 20


async def test_a_batch_gathers_for_a_while_unless_somebody_waits_for_it() -> None:
    database = Database()
    database.gate.set()
    calls = Batches(database.serve, gather_s=0.2)
    first = calls.add(1)
    await asyncio.sleep(0.02)
    later = calls.add(2)
    assert database.statements == []
    assert await asyncio.gather(first, later) == [10, 20]
    assert database.statements == [[1, 2]]
    async with asyncio.timeout(0.1):
        calls.add(3)
        await calls.settled()
    assert database.statements[1:] == [[3]]
    hurried = calls.add(4)
    await asyncio.sleep(0.02)
    assert not hurried.done()  # the hurry was about what had come before
    assert await hurried == 40
