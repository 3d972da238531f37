"""The shards that this scheduler serves: their recovery, and the tail of their facts.

Shards join and leave one by one. A shard that was taken is recovered in the background while the
others are served. Then one tail is made for all, from the position of the least advanced shard.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from nats.js.object_store import ObjectStore

from agentflow_common import subjects, tasks
from agentflow_common.log.consumers import Delivery, Tail
from agentflow_common.log.event_log import EventLog
from agentflow_common.log.transient import SURVIVED
from agentflow_common.subjects import EntityKey
from agentflow_scheduler.entities import State
from agentflow_scheduler.settings import SchedulerSettings
from agentflow_scheduler.shards.leases import Leases
from agentflow_scheduler.shards.recovery import Recovered, recover
from agentflow_scheduler.shards.snapshots import Saver

log = logging.getLogger(__name__)
GATHER_S: Final = 0.0003  # under fsync so much silence ends the facts of a turn: a turn is one sync for all
GATHER_MAX: Final = 1000  # facts; then the turn begins
CHANGING_WAIT_S: Final = 0.02  # while shards come, go or are saved, the engine looks at them soon
_NEVER: Final = 1 << 63


class Shards:
    """Follows the leases.

    A shard is served after `follow` has returned its entities, until its lease is lost or given.

    Under fsync it waits a moment for facts that come right behind the first ones.
    """

    def __init__(
        self, event_log: EventLog, snapshots: ObjectStore, leases: Leases, settings: SchedulerSettings
    ) -> None:
        self._log = event_log
        self._snapshots = snapshots
        self._leases = leases
        self._snapshot_every = settings.snapshot_every
        self._fsync = settings.durability == "fsync"
        self._leftovers: set[asyncio.Task[None]] = set()
        self._forget()

    def _forget(self) -> None:
        self.saver = Saver(self._snapshots, self._snapshot_every)
        self._epochs: dict[int, int] = {}  # of the shards served
        self._folded: dict[int, int] = {}  # up to where each was folded when the tail was made
        self._position = 0  # of the tail
        self._tail: Tail | None = None
        self._recovery: asyncio.Task[tuple[dict[int, int], Recovered]] | None = None

    @property
    def served(self) -> frozenset[int]:
        """The shards whose entities are all in memory, and whose lease was not lost since."""
        return frozenset(shard for shard in self._epochs if self.serves(shard))

    def serves(self, shard: int) -> bool:
        return self._epochs.get(shard, -1) == self._leases.epoch(shard)

    def is_new(self, shard: int, seq: int) -> bool:
        """True if a fact of the tail belongs to a served shard and is not folded yet."""
        return seq > self._folded.get(shard, _NEVER)

    async def follow(self) -> tuple[set[int], dict[EntityKey, State]]:
        """Returns the shards that are gone, whose entities must be forgotten, and the entities of
        new shards.

        Call it between turns.
        """
        self._leases.changed.clear()
        lost = set(self._epochs) - self.served
        for shard in lost:
            del self._epochs[shard]
            self.saver.forget(shard)
        came, states = await self._recovered()
        if lost or came:
            self._make_tail(came, lost)
        waiting = {shard: self._leases.epoch(shard) for shard in self._leases.shards if shard not in self._epochs}
        if waiting and self._recovery is None:
            self._recovery = asyncio.ensure_future(self._recover(waiting))
        return lost, states

    async def _recover(self, wanted: dict[int, int]) -> tuple[dict[int, int], Recovered]:
        return wanted, await recover(self._log, self._snapshots, wanted)

    async def _recovered(self) -> tuple[dict[int, int], dict[EntityKey, State]]:
        """Returns (the last sequence, by shard, the entities) of shards that were recovered and
        whose lease still holds.
        """
        if self._recovery is None or not self._recovery.done():
            return {}, {}
        done, self._recovery = self._recovery, None
        try:
            wanted, (states, last, read) = done.result()
        except SURVIVED as error:
            log.warning("shards not recovered yet: %s", error)
            await asyncio.sleep(0.5)
            return {}, {}
        came = {shard: epoch for shard, epoch in wanted.items() if self._leases.epoch(shard) == epoch}
        self._epochs |= came
        for shard in came:
            self.saver.count(shard, read.get(shard, 0))
        return dict.fromkeys(came, last), {key: state for key, state in states.items() if key.shard in came}

    def _make_tail(self, came: dict[int, int], lost: set[int]) -> None:
        kept = {s: max(seq, self._position) for s, seq in self._folded.items() if s not in lost}
        self._folded = kept | came
        if self._tail is not None:
            ended = asyncio.ensure_future(self._tail.stop())
            self._leftovers.add(ended)
            ended.add_done_callback(self._leftovers.discard)
        self._tail = None
        if self._folded:
            self._position = min(self._folded.values())
            all_shards = len(self._folded) == subjects.SHARDS  # one filter costs the server least (recovery._read)
            filters = [subjects.ALL_INS] if all_shards else [subjects.shard_ins(s) for s in sorted(self._folded)]
            self._tail = self._log.tail(filters, self._position + 1)  # made by its first batch

    async def batch(self, wait_s: float) -> list[Delivery]:
        """Returns facts in order. Some may be folded already: ask `is_new`."""
        if self._recovery is not None or self._leases.leaving or self.saver.saving:
            wait_s = min(wait_s, CHANGING_WAIT_S)
        if self._tail is not None:
            taken = await self._tail.batch(wait_s)
            while self._fsync and 0 < len(taken) < GATHER_MAX:
                await asyncio.sleep(GATHER_S)
                if not self._tail.buffered:
                    break
                taken += await self._tail.batch(0.0)
            if taken:
                self._position = taken[-1].seq
            return taken
        if self._recovery is not None:
            await asyncio.wait([self._recovery], timeout=wait_s)
        else:
            await self._leases.changed.wait()
        return []

    def position(self, shard: int) -> int:
        """Returns the sequence up to which the shard is folded."""
        return max(self._position, self._folded[shard])

    async def stop(self) -> None:
        """Stops reading. The next `follow` begins anew, with no shard."""
        if self._recovery is not None:
            await tasks.stop([self._recovery])
        await self.saver.stop()
        if self._tail is not None:
            await self._tail.stop()
        self._forget()
