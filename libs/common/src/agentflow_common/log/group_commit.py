"""Appends that share the disk's time: while one group is on its way, the next one gathers.

Under fsync each single append costs the server a sync; an atomic batch costs one sync for all. A batch has a price of
its own (1 to 2 ms of the server; more where it is staged on disk, see embedded/batch_staging.py). So a few appends go
out as single publishes. The group waits for more as long as each pass of the loop brings more.

Entries need a message id (or a fence). A group that was refused, or whose outcome is unknown, fails for all that wait
in it. Each then repeats its own entry, which the id makes harmless.
"""

from __future__ import annotations

import asyncio
from typing import Final

from agentflow_common.log.event_log import ATOMIC_BATCH_MAX, Ack, Entry, EventLog

BATCH_MIN: Final = 4  # from here on a batch is cheaper than a sync for each (measured)
BATCH_BYTES_MAX: Final = 4 * 1024 * 1024  # what the server stages for one batch


class GroupCommit:
    """Groups the appends of one process. What waits is bounded by how many callers there are: one entry each."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._waiting: list[tuple[Entry, asyncio.Future[Ack]]] = []
        self._flushing: asyncio.Task[None] | None = None

    async def append(self, entry: Entry) -> Ack:
        """Appends one message durably. Raises what the log's `append` or `append_batch` raises."""
        future: asyncio.Future[Ack] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, future))
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())
        return await future

    async def _flush(self) -> None:
        try:
            while self._waiting:
                await self._gather()
                group = self._take()
                try:
                    await self._write(group)
                except Exception as error:
                    for _, future in group:
                        if not future.done():
                            future.set_exception(error)
        finally:
            self._flushing = None

    async def _gather(self) -> None:
        count = 0
        await asyncio.sleep(0)
        while count < len(self._waiting) < ATOMIC_BATCH_MAX:
            count = len(self._waiting)
            await asyncio.sleep(0)

    def _take(self) -> list[tuple[Entry, asyncio.Future[Ack]]]:
        count, size = 0, 0
        for entry, _ in self._waiting[:ATOMIC_BATCH_MAX]:
            size += len(entry.data)
            if count and size > BATCH_BYTES_MAX:
                break
            count += 1
        group, self._waiting = self._waiting[:count], self._waiting[count:]
        return group

    async def _write(self, group: list[tuple[Entry, asyncio.Future[Ack]]]) -> None:
        if len(group) >= BATCH_MIN:
            last = await self._log.append_batch([entry for entry, _ in group])
            for number, (_, future) in enumerate(group, last.seq - len(group) + 1):  # a batch is contiguous
                if not future.done():
                    future.set_result(Ack(last.stream, number))
            return
        sent = [(await self._log.publish(entry), future) for entry, future in group]
        for ack, future in sent:
            try:
                result = await ack
            except Exception as error:
                if not future.done():
                    future.set_exception(error)
            else:
                if not future.done():
                    future.set_result(result)
