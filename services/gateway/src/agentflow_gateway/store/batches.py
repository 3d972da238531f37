"""Groups what many calls want from the database: while one statement is on its way, the next batch gathers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")
BATCH_MAX: Final = 500  # items of one statement


class Batches(Generic[Item, Answer]):
    """Serves items in the order in which they came.

    serve: executes a batch, and returns an answer for each item. Its error is the error of every item in the batch.
    gather_s: how long a batch gathers before it is served, if nobody waits for it.
    """

    def __init__(self, serve: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]], gather_s: float = 0.0) -> None:
        self._serve = serve
        self._gather_s = gather_s
        self._hurry = asyncio.Event()  # somebody waits until everything is served
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._last: asyncio.Future[Any] | None = None
        self._serving: asyncio.Task[None] | None = None

    def add(self, item: Item) -> asyncio.Future[Answer]:
        """Returns the future answer. It goes on if nobody waits for it."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        self._last = future
        if self._serving is None:
            self._serving = asyncio.create_task(self._run())
        return future

    @property
    def waiting(self) -> int:
        """The number of items whose batch has not begun."""
        return len(self._waiting)

    async def settled(self) -> None:
        """Waits until everything that was added before is done, or has failed."""
        if self._last is not None and not self._last.done():
            self._hurry.set()
            await asyncio.wait([self._last])

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._gather()
                batch, self._waiting = self._waiting[:BATCH_MAX], self._waiting[BATCH_MAX:]
                try:
                    answers = await self._serve([item for item, _ in batch])
                except Exception as error:
                    for _, future in batch:
                        if not future.done():
                            future.set_exception(error)
                            future.exception()  # its caller may be gone, and asyncio would log it
                else:
                    for (_, future), answer in zip(batch, answers, strict=True):
                        if not future.done():
                            future.set_result(answer)
        finally:
            self._hurry.clear()
            self._serving = None

    async def _gather(self) -> None:
        if self._gather_s and len(self._waiting) < BATCH_MAX:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._gather_s):
                    await self._hurry.wait()
