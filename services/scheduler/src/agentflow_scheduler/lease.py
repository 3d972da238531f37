"""Which scheduler serves which shard: leases in a KV bucket whose entries age out.

A lease is about liveness only. Safety is the fence on every append, so taking over too early does no harm: whoever
appends second is refused and steps back. That is why the lease of a process that is known to be dead (same host, pid
gone) is taken at once instead of after its time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket

import msgspec
import nats.errors
from nats.js.errors import APIError, KeyNotFoundError, KeyWrongLastSequenceError
from nats.js.kv import KeyValue

from agentflow_common import subjects

log = logging.getLogger(__name__)


class Holder(msgspec.Struct, frozen=True):
    host: str
    pid: int
    token: str


class Leases:
    """Takes every free shard and keeps it. `lost` is set when one had to be given up."""

    def __init__(self, bucket: KeyValue, ttl_s: float) -> None:
        self._bucket = bucket
        self._ttl_s = ttl_s
        self._me = Holder(socket.gethostname(), os.getpid(), os.urandom(6).hex())
        self._mine: dict[int, int] = {}
        self._refreshing = asyncio.Lock()
        self.changed = asyncio.Event()

    @property
    def shards(self) -> frozenset[int]:
        return frozenset(self._mine)

    async def refresh(self) -> None:
        """Renews what is held and takes what is free. Call it about four times per ttl."""
        async with self._refreshing:  # two at once would refuse each other's renewals
            before = self.shards
            taken = [shard for shard in range(subjects.SHARDS) if await self._keep_or_take(shard)]
            if taken:  # also one that was lost and is back: the engine may have seen it go
                self.changed.set()
            if self.shards != before:
                log.info("shards held", extra={"shards": sorted(self.shards)})

    async def _keep_or_take(self, shard: int) -> bool:
        """Whether the shard was taken now."""
        try:
            if shard not in self._mine:
                await self._take(shard)
                return shard in self._mine
            self._mine[shard] = await self._bucket.update(_key(shard), self._value(), self._mine[shard])
        except KeyWrongLastSequenceError:
            await self.drop(shard)  # told at once: renewing the other shards may take long
        except (APIError, nats.errors.Error, TimeoutError) as error:
            log.warning("lease of shard %d not renewed: %s", shard, type(error).__name__)
        return False

    async def _take(self, shard: int) -> None:
        try:
            entry = await self._bucket.get(_key(shard))
        except KeyNotFoundError:
            with contextlib.suppress(KeyWrongLastSequenceError):
                self._mine[shard] = await self._bucket.create(_key(shard), self._value())
            return
        holder = msgspec.json.decode(entry.value or b"{}", type=Holder)
        if _is_dead(holder):
            self._mine[shard] = await self._bucket.update(_key(shard), self._value(), entry.revision)

    def _value(self) -> bytes:
        return msgspec.json.encode(self._me)

    async def drop(self, shard: int) -> None:
        """Another scheduler writes to this shard: stop serving it until its lease is free again."""
        if self._mine.pop(shard, None) is not None:
            self.changed.set()

    async def release(self) -> None:
        """A clean stop: the next scheduler need not wait."""
        for shard, revision in list(self._mine.items()):
            with contextlib.suppress(nats.errors.Error, APIError):
                await self._bucket.delete(_key(shard), revision)
        self._mine.clear()

    async def keep(self) -> None:
        """Refreshes for ever."""
        while True:
            await asyncio.sleep(self._ttl_s / 4)
            await self.refresh()


def _key(shard: int) -> str:
    return f"shard.{shard}"


def _is_dead(holder: Holder) -> bool:
    if holder.host != socket.gethostname():
        return False
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
