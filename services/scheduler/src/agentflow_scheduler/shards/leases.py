"""Leases of shards, in a KV bucket whose entries expire: each shard is served by the scheduler with
its lease.

Every scheduler announces itself in the bucket (`member.<token>`) and reads the others, so each
knows its fair share (`balance.assign`). It takes free shards up to that share. Shards beyond its
share are `leaving`: the engine hands them over at the end of a turn (`give`).

A lease is about liveness only. Safety is the fence on every append, so taking over too early does
no harm: the scheduler that appends second is refused and steps back. The lease of a process that is
known to be dead (same host, pid gone) is therefore taken at once instead of after its time.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import socket
from collections import Counter
from typing import Final

import msgspec
from nats.js.errors import KeyWrongLastSequenceError
from nats.js.kv import KeyValue

from agentflow_common import subjects
from agentflow_common.errors import UNREADABLE
from agentflow_common.log.event_log import EventLog, Stored
from agentflow_common.log.transient import SURVIVED
from agentflow_common.metrics.workflow import LEASES
from agentflow_scheduler.shards.balance import assign

log = logging.getLogger(__name__)
RELEASE_S_MAX: Final = 3.0  # a stop does not wait for servers that do not answer: the leases expire


class Holder(msgspec.Struct, frozen=True):
    """The scheduler that a lease names."""

    host: str
    pid: int
    token: str


class Lease(msgspec.Struct):
    """A lease of this scheduler."""

    revision: int  # of the bucket's entry
    epoch: int  # counts the times that shards were taken, so that a loss and a new taking show
    renewed: float  # when, by the loop's clock


def new_token() -> str:
    return os.urandom(6).hex()


class Leases:
    """Takes and keeps this scheduler's share of the shards."""

    def __init__(self, bucket: KeyValue, event_log: EventLog, ttl_s: float) -> None:
        self._bucket = bucket
        self._log = event_log
        self._ttl_s = ttl_s
        self._me = Holder(socket.gethostname(), os.getpid(), new_token())
        self._mine: dict[int, Lease] = {}
        self._given: dict[int, Lease] = {}
        self._member = Lease(0, 0, -ttl_s)
        self._epochs = itertools.count(1)
        self._trouble: Counter[str] = Counter()
        self._refreshing = asyncio.Lock()
        self._nudge = asyncio.Event()
        self.why_none = ""  # why there may be no shard to serve
        self.leaving: frozenset[int] = frozenset()  # shards that another scheduler should serve
        self.changed = asyncio.Event()  # a shard was taken or lost, or is leaving

    @property
    def shards(self) -> frozenset[int]:
        return frozenset(self._mine)

    def epoch(self, shard: int) -> int:
        """Returns the epoch of the shard's lease, which a loss and a new taking change; 0 without a lease."""
        lease = self._mine.get(shard)
        return 0 if lease is None else lease.epoch

    async def refresh(self, older_than_s: float = 0.0) -> None:
        """Renews the leases that are older, and takes free shards that are due to this scheduler."""
        async with self._refreshing:  # two at once would refuse each other's renewals
            before = self.shards
            now = asyncio.get_running_loop().time()
            due = [shard for shard, lease in self._mine.items() if now - lease.renewed >= older_than_s]
            tasks = [self._renew(shard, self._mine[shard]) for shard in due]
            tasks += [self._let_go(shard) for shard in list(self._given)]
            if now - self._member.renewed >= older_than_s:
                tasks.append(self._announce())
            await asyncio.gather(*tasks)
            await self._rebalance()
            trouble = "; ".join(f"{count} leases {what}" for what, count in self._trouble.items())
            self._trouble.clear()
            self.why_none = trouble or "no shard is free yet"
            if trouble:
                log.warning(trouble)
            if self.shards != before:
                log.info("shards held", extra={"shards": sorted(self.shards)})

    async def _announce(self) -> None:
        try:
            revision = await self._bucket.put(subjects.lease_member(self._me.token), self._value())
        except SURVIVED as error:
            log.warning("not announced: %s", _why(error))
            return
        self._member = Lease(revision, 0, asyncio.get_running_loop().time())

    async def _renew(self, shard: int, lease: Lease) -> None:
        try:
            lease.revision = await self._bucket.update(subjects.lease(shard), self._value(), lease.revision)
        except KeyWrongLastSequenceError:
            if not await self._was_renewed(shard, lease):
                await self.drop(shard, lease)  # at once: renewing the other shards may take long
                return
        except SURVIVED as error:
            self._trouble[f"not renewed: {_why(error)}"] += 1
            return
        lease.renewed = asyncio.get_running_loop().time()

    async def _was_renewed(self, shard: int, lease: Lease) -> bool:
        """True if the renewal was written and not acknowledged: the entry is newer, and this
        scheduler's own.
        """
        try:
            entry = await self._bucket.get(subjects.lease(shard))
        except SURVIVED:
            return False
        if (entry.revision or 0) <= lease.revision or _holder(entry.value) != self._me:
            return False
        lease.revision = entry.revision or 0
        return True

    async def _rebalance(self) -> None:
        try:
            read = await self._log.read(subjects.ALL_LEASES, stream=subjects.LEASE_STREAM)
        except SURVIVED as error:
            log.warning("leases not read: %s", error)
            return
        table = {stored.subject.removeprefix(subjects.LEASE_PREFIX): stored for stored in read if stored.data}
        holders = {key: _holder(stored.data) for key, stored in table.items()}
        members = {h.token for key, h in holders.items() if key == subjects.lease_member(h.token) and not _is_dead(h)}
        members.add(self._me.token)
        served_by: dict[int, str | None] = {}
        for shard in range(subjects.SHARDS):
            holder = holders.get(subjects.lease(shard))
            served_by[shard] = holder.token if holder and holder != self._me and not _is_dead(holder) else None
            if shard in self._mine:
                served_by[shard] = self._me.token
        plan = assign(served_by, members)
        wanted = {shard for shard, member in plan.items() if member == self._me.token}
        free = [s for s in wanted if served_by[s] is None and s not in self._given]
        await asyncio.gather(*(self._take(shard, table.get(subjects.lease(shard))) for shard in free))
        self.leaving = self.shards - wanted
        if self.leaving:
            self.changed.set()

    async def _take(self, shard: int, entry: Stored | None) -> None:
        """Takes a free shard.

        entry: its lease, if the holder is dead or is this scheduler itself, whose taking was not
        acknowledged.
        """
        try:
            if entry is None:
                revision = await self._bucket.create(subjects.lease(shard), self._value())
            else:
                revision = await self._bucket.update(subjects.lease(shard), self._value(), entry.seq)
        except KeyWrongLastSequenceError:
            return  # another was first, or the read was old
        except SURVIVED as error:
            self._trouble[f"not taken: {_why(error)}"] += 1
            return
        self._mine[shard] = Lease(revision, next(self._epochs), asyncio.get_running_loop().time())
        LEASES.labels("taken").inc()
        self.changed.set()

    def _value(self) -> bytes:
        return msgspec.json.encode(self._me)

    async def drop(self, shard: int, lease: Lease | None = None) -> None:
        """Stops serving the shard until its lease is free again: another scheduler writes to it."""
        if (lease is None or self._mine.get(shard) is lease) and self._mine.pop(shard, None) is not None:
            LEASES.labels("lost").inc()
            self.changed.set()

    def give(self, shard: int) -> None:
        """Gives a shard away that the engine has stopped to serve.

        Its lease is deleted soon, for the next scheduler.
        """
        lease = self._mine.pop(shard, None)
        if lease is not None:
            LEASES.labels("given").inc()
            self._given[shard] = lease
            self.leaving -= {shard}
            self._nudge.set()

    async def _let_go(self, shard: int) -> None:
        lease = self._given[shard]
        with contextlib.suppress(*SURVIVED):  # else it expires
            await self._bucket.delete(subjects.lease(shard), lease.revision)
        del self._given[shard]

    async def release(self) -> None:
        """Deletes all leases at a clean stop, so that the next scheduler need not wait."""
        self._given.update(self._mine)
        self._mine.clear()
        member = subjects.lease_member(self._me.token)
        with contextlib.suppress(*SURVIVED):
            async with asyncio.timeout(RELEASE_S_MAX):
                tasks = [self._let_go(shard) for shard in list(self._given)]
                if self._member.revision:
                    tasks.append(self._leave(member))
                await asyncio.gather(*tasks)

    async def _leave(self, member: str) -> None:
        with contextlib.suppress(*SURVIVED):
            await self._bucket.delete(member, self._member.revision)

    async def keep(self) -> None:
        """Looks at the others ten times per ttl and renews its own leases four times, forever."""
        while True:
            self._nudge.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._ttl_s / 10):
                    await self._nudge.wait()
            await self.refresh(self._ttl_s / 4)


def _holder(value: bytes | None) -> Holder:
    try:
        return msgspec.json.decode(value or b"{}", type=Holder)
    except UNREADABLE:
        return Holder("", 0, "")


def _why(error: Exception) -> str:
    return getattr(error, "description", "") or type(error).__name__


def _is_dead(holder: Holder) -> bool:
    if holder.host != socket.gethostname():
        return False
    try:
        os.kill(holder.pid, 0)
    except OSError as error:
        return isinstance(error, ProcessLookupError)
    return False
