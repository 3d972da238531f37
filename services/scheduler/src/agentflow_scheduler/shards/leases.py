"""Which scheduler serves which shard: leases in a KV bucket whose entries age out.

Every scheduler announces itself there (`member.<token>`) and reads the others, so each knows its fair share
(`balance.assign`). It takes free shards up to that share; what it holds beyond it is `leaving`: the engine hands it
over at the end of a turn (`give`).

A lease is about liveness only. Safety is the fence on every append, so taking over too early does no harm: whoever
appends second is refused and steps back. That is why the lease of a process that is known to be dead (same host, pid
gone) is taken at once instead of after its time.
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
import nats.errors
from nats.js.errors import APIError, KeyWrongLastSequenceError
from nats.js.kv import KeyValue

from agentflow_common import subjects
from agentflow_common.errors import UNREADABLE, AgentFlowError
from agentflow_common.log.event_log import EventLog, Stored
from agentflow_scheduler.shards.balance import assign

log = logging.getLogger(__name__)
RELEASE_S_MAX: Final = 3.0  # a stop does not wait for servers that do not answer: the leases age out
_WEATHER: Final = (APIError, nats.errors.Error, AgentFlowError, TimeoutError)


class Holder(msgspec.Struct, frozen=True):
    host: str
    pid: int
    token: str


class Held(msgspec.Struct):
    """A lease that is held. epoch: which taking of a shard this is; renewed: by the loop's clock."""

    revision: int
    epoch: int
    renewed: float


def new_token() -> str:
    return os.urandom(6).hex()


class Leases:
    """Holds this scheduler's share of the shards. `changed` is set when one was taken or lost, or is to be given."""

    def __init__(self, bucket: KeyValue, event_log: EventLog, ttl_s: float) -> None:
        self._bucket = bucket
        self._log = event_log
        self._ttl_s = ttl_s
        self._me = Holder(socket.gethostname(), os.getpid(), new_token())
        self._mine: dict[int, Held] = {}
        self._given: dict[int, Held] = {}
        self._member = Held(0, 0, -ttl_s)
        self._epochs = itertools.count(1)
        self._trouble: Counter[str] = Counter()
        self._refreshing = asyncio.Lock()
        self._nudge = asyncio.Event()
        self.why_none = ""  # why there may be no shard to serve
        self.leaving: frozenset[int] = frozenset()
        self.changed = asyncio.Event()

    @property
    def shards(self) -> frozenset[int]:
        return frozenset(self._mine)

    def epoch(self, shard: int) -> int:
        """Which taking of the shard this is: a loss and a new taking change it. 0: it is not held."""
        held = self._mine.get(shard)
        return 0 if held is None else held.epoch

    async def refresh(self, older_than_s: float = 0.0) -> None:
        """Renews what was not renewed for so long, takes what is free and due to this scheduler."""
        async with self._refreshing:  # two at once would refuse each other's renewals
            before = self.shards
            now = asyncio.get_running_loop().time()
            due = [shard for shard, held in self._mine.items() if now - held.renewed >= older_than_s]
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
        except _WEATHER as error:
            log.warning("not announced: %s", _why(error))
            return
        self._member = Held(revision, 0, asyncio.get_running_loop().time())

    async def _renew(self, shard: int, held: Held) -> None:
        try:
            held.revision = await self._bucket.update(subjects.lease(shard), self._value(), held.revision)
        except KeyWrongLastSequenceError:
            if not await self._was_renewed(shard, held):
                await self.drop(shard, held)  # told at once: renewing the other shards may take long
                return
        except _WEATHER as error:
            self._trouble[f"not renewed: {_why(error)}"] += 1
            return
        held.renewed = asyncio.get_running_loop().time()

    async def _was_renewed(self, shard: int, held: Held) -> bool:
        """A renewal that was written and not acknowledged: the entry is newer, and this scheduler's own."""
        try:
            entry = await self._bucket.get(subjects.lease(shard))
        except _WEATHER:
            return False
        if (entry.revision or 0) <= held.revision or _holder(entry.value) != self._me:
            return False
        held.revision = entry.revision or 0
        return True

    async def _rebalance(self) -> None:
        try:
            read = await self._log.read(subjects.ALL_LEASES, stream=subjects.LEASE_STREAM)
        except _WEATHER as error:
            log.warning("leases not read: %s", error)
            return
        table = {stored.subject.removeprefix(subjects.LEASE_PREFIX): stored for stored in read if stored.data}
        holders = {key: _holder(stored.data) for key, stored in table.items()}
        members = {h.token for key, h in holders.items() if key == subjects.lease_member(h.token) and not _is_dead(h)}
        members.add(self._me.token)
        held_by: dict[int, str | None] = {}
        for shard in range(subjects.SHARDS):
            found = holders.get(subjects.lease(shard))
            held_by[shard] = found.token if found and found != self._me and not _is_dead(found) else None
            if shard in self._mine:
                held_by[shard] = self._me.token
        plan = assign(held_by, members)
        wanted = {shard for shard, member in plan.items() if member == self._me.token}
        free = [s for s in wanted if held_by[s] is None and s not in self._given]
        await asyncio.gather(*(self._take(shard, table.get(subjects.lease(shard))) for shard in free))
        self.leaving = self.shards - wanted
        if self.leaving:
            self.changed.set()

    async def _take(self, shard: int, entry: Stored | None) -> None:
        """entry: the lease of a holder that is dead, or whose taking was not acknowledged to it (this scheduler's)."""
        try:
            if entry is None:
                revision = await self._bucket.create(subjects.lease(shard), self._value())
            else:
                revision = await self._bucket.update(subjects.lease(shard), self._value(), entry.seq)
        except KeyWrongLastSequenceError:
            return  # another was first, or the read was old
        except _WEATHER as error:
            self._trouble[f"not taken: {_why(error)}"] += 1
            return
        self._mine[shard] = Held(revision, next(self._epochs), asyncio.get_running_loop().time())
        self.changed.set()

    def _value(self) -> bytes:
        return msgspec.json.encode(self._me)

    async def drop(self, shard: int, held: Held | None = None) -> None:
        """Another scheduler writes to this shard: stop serving it until its lease is free again."""
        if (held is None or self._mine.get(shard) is held) and self._mine.pop(shard, None) is not None:
            self.changed.set()

    def give(self, shard: int) -> None:
        """The engine serves this shard no more: its lease is deleted soon, for the next scheduler to take."""
        held = self._mine.pop(shard, None)
        if held is not None:
            self._given[shard] = held
            self.leaving -= {shard}
            self._nudge.set()

    async def _let_go(self, shard: int) -> None:
        held = self._given[shard]
        with contextlib.suppress(*_WEATHER):  # else it ages out
            await self._bucket.delete(subjects.lease(shard), held.revision)
        del self._given[shard]

    async def release(self) -> None:
        """A clean stop: the next scheduler need not wait."""
        self._given.update(self._mine)
        self._mine.clear()
        member = subjects.lease_member(self._me.token)
        with contextlib.suppress(*_WEATHER):
            async with asyncio.timeout(RELEASE_S_MAX):
                tasks = [self._let_go(shard) for shard in list(self._given)]
                if self._member.revision:
                    tasks.append(self._leave(member))
                await asyncio.gather(*tasks)

    async def _leave(self, member: str) -> None:
        with contextlib.suppress(*_WEATHER):
            await self._bucket.delete(member, self._member.revision)

    async def keep(self) -> None:
        """For ever: looks at the others ten times per ttl, renews its own four times."""
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
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
