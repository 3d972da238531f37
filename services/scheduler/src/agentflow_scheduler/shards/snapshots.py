"""Snapshots of shards: their contents, and when each is saved.

A snapshot is encoded between two turns, when the states equal the fold of the log up to one
position. It is stored in the background, so no run waits for the store. A snapshot that can't be
stored costs the next recovery time, and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from nats.js.errors import NotFoundError, ObjectNotFoundError
from nats.js.object_store import ObjectStore

from agentflow_common import tasks
from agentflow_common.lanes.fold import LaneState
from agentflow_common.log import object_reads
from agentflow_common.log.transient import AWAY
from agentflow_common.runs.state import RunState
from agentflow_common.schedules.state import ScheduleState
from agentflow_scheduler.entities import State

log = logging.getLogger(__name__)
SNAPSHOT_VERSION: Final = 2
IDLE_PART: Final = 10  # this part of the events is enough to save while nothing waits for the scheduler
AGE_S_MAX: Final = 600.0  # of events that no snapshot has: finished runs leave the log when no snapshot names them


class Snapshot(msgspec.Struct):
    """The entities of a shard that are not over."""

    version: int
    seq: int  # every event up to it is folded
    runs: list[RunState]
    lanes: list[LaneState] = []
    schedules: list[ScheduleState] = []
    definitions: list[dict[str, Any]] = []  # each once, and not in the runs; empty in version 1
    of: list[int] = []  # for each run, the index of its definition; empty in version 1

    def states(self) -> list[State]:
        return [*self.runs, *self.lanes, *self.schedules]


async def load_snapshot(store: ObjectStore, shard: int) -> Snapshot:
    """Returns the shard's snapshot; an empty one (sequence 0) if there is none that this version can read."""
    try:
        snapshot = decode_snapshot(await object_reads.read(store, _name(shard)))
    except (NotFoundError, ObjectNotFoundError):
        return Snapshot(SNAPSHOT_VERSION, 0, [])
    if snapshot is None:
        log.warning("snapshot of shard %d is not readable, the log is read instead", shard)
    return snapshot or Snapshot(SNAPSHOT_VERSION, 0, [])


def decode_snapshot(data: bytes) -> Snapshot | None:
    """Returns None for a snapshot that is damaged, or of a version that this one does not know."""
    try:
        snapshot = msgspec.msgpack.decode(data, type=Snapshot)
        if snapshot.version == 1:
            return snapshot
        if snapshot.version == SNAPSHOT_VERSION:
            for run, number in zip(snapshot.runs, snapshot.of, strict=True):
                run.definition = snapshot.definitions[number]
            return snapshot
    except (msgspec.MsgspecError, IndexError, ValueError):
        pass
    return None


async def save_snapshot(store: ObjectStore, shard: int, seq: int, states: Iterable[State]) -> None:
    await store.put(_name(shard), encode_snapshot(seq, states))


def encode_snapshot(seq: int, states: Iterable[State]) -> bytes:
    snapshot = Snapshot(SNAPSHOT_VERSION, seq, [])
    numbers: dict[int, int] = {}  # of definitions, by identity: runs of one definition share the object
    for state in states:
        if isinstance(state, RunState):
            number = numbers.setdefault(id(state.definition), len(numbers))
            if number == len(snapshot.definitions):
                snapshot.definitions.append(state.definition)
            snapshot.of.append(number)
            snapshot.runs.append(msgspec.structs.replace(state, definition={}))
        elif isinstance(state, LaneState):
            snapshot.lanes.append(state)
        else:
            snapshot.schedules.append(state)
    return msgspec.msgpack.encode(snapshot)


def _name(shard: int) -> str:
    return f"shard-{shard}"


class Saver:
    """Says which shard is due, and saves it.

    Counts facts and decisions since the last snapshot, including those that the last recovery had
    to read. Otherwise a scheduler that is killed repeatedly would have more to read after every
    restart.
    """

    def __init__(self, store: ObjectStore, events_max: int) -> None:
        self._store = store
        self._events_max = events_max  # that a recovery of all shards should have to read
        self._events: dict[int, int] = {}  # by shard, after its snapshot
        self._total = 0
        self._since: dict[int, float] = {}  # when the first of them came, by the loop's clock, the oldest first
        self._round: list[int] = []  # shards that are saved one after the other
        self._putting: asyncio.Task[None] | None = None

    @property
    def saving(self) -> bool:
        return self._putting is not None

    def count(self, shard: int, events: int) -> None:
        if events:
            if shard not in self._events:
                self._since[shard] = asyncio.get_running_loop().time()
            self._events[shard] = self._events.get(shard, 0) + events
            self._total += events

    def forget(self, shard: int) -> int:
        """Forgets a shard that is given away, or is being saved.

        Returns how many events of it were not saved.
        """
        self._since.pop(shard, None)
        events = self._events.pop(shard, 0)
        self._total -= events
        return events

    def due(self, entities: int, *, idle: bool) -> int | None:
        """Returns the shard to save now, if any.

        Shards are saved one after the other, once there are too many events; earlier if the
        scheduler is idle. There must be as many events as entities in memory, because saving must
        not cost more than it saves. After AGE_S_MAX a shard with new events is saved in any case.
        """
        if self._putting is not None or not self._events:
            return None
        if not self._round:
            events_max = self._events_max // IDLE_PART if idle else self._events_max
            if self._total >= max(events_max, entities):
                self._round = sorted(self._events, key=self._events.__getitem__)
        while self._round:
            shard = self._round.pop()
            if shard in self._events:
                return shard
        shard, since = next(iter(self._since.items()))
        return shard if asyncio.get_running_loop().time() - since > AGE_S_MAX else None

    def begin(self, shard: int, seq: int, states: Iterable[State]) -> None:
        """Encodes a snapshot of the states as they are now, and stores it in the background."""
        data = encode_snapshot(seq, states)
        self._putting = asyncio.ensure_future(self._put(shard, data, self.forget(shard)))

    async def _put(self, shard: int, data: bytes, events: int) -> None:
        try:
            await self._store.put(_name(shard), data)
        except AWAY as error:
            log.warning("no snapshot of shard %d: %s; it is tried again", shard, error or type(error).__name__)
            self.count(shard, events)
        finally:
            self._putting = None

    async def last(self, shard: int, seq: int, states: Iterable[State]) -> None:
        """Stores the snapshot that the next owner finds.

        It is written when this returns, after any older one.
        """
        if self._putting is not None:
            await asyncio.wait([self._putting])
        await save_snapshot(self._store, shard, seq, states)
        self.forget(shard)

    async def stop(self) -> None:
        if self._putting is not None:
            await tasks.stop([self._putting])
