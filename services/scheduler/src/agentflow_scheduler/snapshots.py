"""Snapshots of shards: what is in them, and when each is saved.

A snapshot is encoded between two turns, when the states are what one position of the log says, and stored in the
background: no run waits for the store. One that can't be stored costs the next recovery time, and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Final

import msgspec
import nats.errors
from nats.js.errors import APIError, NotFoundError, ObjectNotFoundError
from nats.js.object_store import ObjectStore

from agentflow_common import objects, tasks
from agentflow_common.lanefold import LaneState
from agentflow_common.runstate import RunState
from agentflow_common.schedulefold import ScheduleState
from agentflow_scheduler.entities import State

log = logging.getLogger(__name__)
SNAPSHOT_VERSION: Final = 1
AGE_S_MAX: Final = 600.0  # of what is not in a snapshot: finished runs leave the log when no snapshot names them


class Snapshot(msgspec.Struct):
    """The unfinished runs, the lanes and the schedules of a shard once every event up to `seq` is folded."""

    version: int
    seq: int
    runs: list[RunState]
    lanes: list[LaneState] = []
    schedules: list[ScheduleState] = []

    def states(self) -> list[State]:
        return [*self.runs, *self.lanes, *self.schedules]


async def load_snapshot(store: ObjectStore, shard: int) -> Snapshot:
    """The shard's snapshot; an empty one (sequence 0) if there is none, or none that this version reads."""
    try:
        snapshot = msgspec.msgpack.decode(await objects.read(store, _name(shard)), type=Snapshot)
        if snapshot.version == SNAPSHOT_VERSION:
            return snapshot
    except (NotFoundError, ObjectNotFoundError):
        pass
    except msgspec.MsgspecError as error:
        log.warning("snapshot of shard %d is not readable, the log is read instead: %s", shard, error)
    return Snapshot(SNAPSHOT_VERSION, 0, [])


async def save_snapshot(store: ObjectStore, shard: int, seq: int, states: Iterable[State]) -> None:
    await store.put(_name(shard), encode_snapshot(seq, states))


def encode_snapshot(seq: int, states: Iterable[State]) -> bytes:
    snapshot = Snapshot(SNAPSHOT_VERSION, seq, [])
    for state in states:
        if isinstance(state, RunState):
            snapshot.runs.append(state)
        elif isinstance(state, LaneState):
            snapshot.lanes.append(state)
        else:
            snapshot.schedules.append(state)
    return msgspec.msgpack.encode(snapshot)


def _name(shard: int) -> str:
    return f"shard-{shard}"


class Saver:
    """Says which shard is to be saved, and saves it. events_max: that a recovery of all shards should have to read.

    Facts and decisions count, and what the newest recovery had to read itself: or a scheduler that is killed again and
    again would read more each time.
    """

    def __init__(self, store: ObjectStore, events_max: int) -> None:
        self._store = store
        self._events_max = events_max
        self._events: dict[int, int] = {}  # by shard, after its snapshot
        self._total = 0
        self._since: dict[int, float] = {}  # when the first of them came, by the loop's clock, the oldest first
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
        """The shard is served no more, or is being saved. Returns how many events of it were not saved."""
        self._since.pop(shard, None)
        events = self._events.pop(shard, 0)
        self._total -= events
        return events

    def due(self, entities: int) -> int | None:
        """The shard to save now, if any. Not before there are as many events as entities in memory: saving must not
        cost more than what it saves; but what has changed is saved in the end."""
        if self._putting is not None or not self._events:
            return None
        if self._total >= max(self._events_max, entities):
            return max(self._events, key=self._events.__getitem__)
        shard, since = next(iter(self._since.items()))
        return shard if asyncio.get_running_loop().time() - since > AGE_S_MAX else None

    def begin(self, shard: int, seq: int, states: Iterable[State]) -> None:
        """states: as they are now."""
        data = encode_snapshot(seq, states)
        self._putting = asyncio.ensure_future(self._put(shard, data, self.forget(shard)))

    async def _put(self, shard: int, data: bytes, events: int) -> None:
        try:
            await self._store.put(_name(shard), data)
        except (nats.errors.Error, APIError, TimeoutError) as error:
            log.warning("no snapshot of shard %d: %s; it is tried again", shard, error or type(error).__name__)
            self.count(shard, events)
        finally:
            self._putting = None

    async def last(self, shard: int, seq: int, states: Iterable[State]) -> None:
        """The snapshot that the next owner finds: written when it returns, and after any older one."""
        if self._putting is not None:
            await asyncio.wait([self._putting])
        await save_snapshot(self._store, shard, seq, states)
        self.forget(shard)

    async def stop(self) -> None:
        if self._putting is not None:
            await tasks.stop([self._putting])
