"""The shards that are served: what was recovered of them, and the tail of their facts.

A shard joins and leaves by itself. One that was taken is recovered in the background while the others are served; then
one tail is made that serves all, from where the least advanced of them stands.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import nats.errors
from nats.js.errors import APIError
from nats.js.object_store import ObjectStore

from agentflow_common import subjects, tasks
from agentflow_common.errors import AgentFlowError
from agentflow_common.log.consumers import Delivery, Tail
from agentflow_common.log.event_log import EventLog
from agentflow_common.subjects import EntityKey
from agentflow_scheduler.entities import State
from agentflow_scheduler.settings import SchedulerSettings
from agentflow_scheduler.shards.leases import Leases
from agentflow_scheduler.shards.recovery import Recovered, recover
from agentflow_scheduler.shards.snapshots import Saver

log = logging.getLogger(__name__)
GATHER_S: Final = 0.0003  # of silence end the facts of a turn under fsync: a turn is one sync, however many it serves
GATHER_MAX: Final = 1000  # facts; then the turn begins
CHANGING_WAIT_S: Final = 0.02  # while shards come, go or are saved, a look at them is not put off for long
_NEVER: Final = 1 << 63


class Shards:
    """Follows the leases. A shard is served from when its runs were handed out until its lease is lost or given.

    Under fsync it waits a moment for what comes right behind the first facts.
    """

    def __init__(
        self, event_log: EventLog, snapshots: ObjectStore, leases: Leases, settings: SchedulerSettings
    ) -> None:
        self._log = event_log
        self._snapshots = snapshots
        self.saver = Saver(snapshots, settings.snapshot_every)
        self._leases = leases
        self._fsync = settings.durability == "fsync"
        self._epochs: dict[int, int] = {}  # of the shards served
        self._folded: dict[int, int] = {}  # up to where each was folded when the tail was made
        self._position = 0  # of the tail
        self._tail: Tail | None = None
        self._recovery: asyncio.Task[tuple[dict[int, int], Recovered]] | None = None
        self._leftovers: set[asyncio.Task[None]] = set()

    @property
    def served(self) -> frozenset[int]:
        """The shards whose runs in memory are whole, and whose lease was never lost meanwhile."""
        return frozenset(shard for shard in self._epochs if self.serves(shard))

    def serves(self, shard: int) -> bool:
        return self._epochs.get(shard, -1) == self._leases.epoch(shard)

    def is_new(self, shard: int, seq: int) -> bool:
        """Whether a fact of the tail is of a shard that is served, and not folded yet."""
        return seq > self._folded.get(shard, _NEVER)

    async def follow(self) -> tuple[set[int], dict[EntityKey, State]]:
        """Call it between turns. The shards that are gone, whose runs are to be forgotten, and the runs that came."""
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
        """What the recovery in the background has brought of shards that are still held."""
        if self._recovery is None or not self._recovery.done():
            return {}, {}
        done, self._recovery = self._recovery, None
        try:
            wanted, (states, last, read) = done.result()
        except (AgentFlowError, nats.errors.Error, APIError, TimeoutError) as error:
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
            all_held = len(self._folded) == subjects.SHARDS  # one filter costs the server least (recovery._read)
            filters = [subjects.ALL_INS] if all_held else [subjects.shard_ins(s) for s in sorted(self._folded)]
            self._tail = self._log.tail(filters, self._position + 1)  # made by its first batch

    async def batch(self, wait_s: float) -> list[Delivery]:
        """Facts in order. Some may be folded already: ask `is_new`."""
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
        """The sequence up to which the shard is folded."""
        return max(self._position, self._folded[shard])

    async def stop(self) -> None:
        if self._recovery is not None:
            await tasks.stop([self._recovery])
        await self.saver.stop()
        if self._tail is not None:
            await self._tail.stop()
