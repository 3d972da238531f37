"""Recovery: the entities of shards, from the newest snapshot of each shard and the log after it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from nats.js.object_store import ObjectStore

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.errors import ConflictError, RetryableError
from agentflow_common.events import Payload, StepError
from agentflow_common.log.consumers import Delivery
from agentflow_common.log.event_log import ATOMIC_BATCH_MAX, Entry, EventLog, Fence
from agentflow_common.log.fold import LogFold
from agentflow_common.runs.fold import evolve, readable
from agentflow_common.runs.state import RunState
from agentflow_common.subjects import EntityKey
from agentflow_scheduler.entities import State, folding, is_over, may_begin_with
from agentflow_scheduler.runs import run_slots
from agentflow_scheduler.runs.steps import lane_slots, locks, subworkflows
from agentflow_scheduler.shards.overtaken import overtaken
from agentflow_scheduler.shards.snapshots import load_snapshot

log = logging.getLogger(__name__)

LAG_S_MAX: Final = 5.0  # how long a replica may bring nothing new while the leader has more


class Recovered(NamedTuple):
    """The result of a recovery."""

    states: dict[EntityKey, State]  # entities that are not over
    last: int  # the sequence up to which the log is folded
    read: dict[int, int]  # how many events were read, by shard


async def recover(event_log: EventLog, store: ObjectStore, shards: Iterable[int]) -> Recovered:
    """Folds the shards up to the end of the log."""
    wanted = sorted(shards)
    reading = _Reading()
    last = await event_log.last_seq()
    first = last + 1
    read: dict[int, int] = {}
    for shard in wanted:
        snapshot = await load_snapshot(store, shard)
        for state in snapshot.states():
            key = EntityKey(shard, state.org, state.run)
            reading.begin(key, state)
        first = min(first, snapshot.seq + 1)
        if snapshot.seq < last:
            reading.snapshot_seq = snapshot.seq
            read[shard] = await _read(event_log, shard, reading, last)
    for key in [key for key in reading.late if key not in reading.folds]:
        await reload(event_log, key, reading.late[key])
    states: dict[EntityKey, State] = {}
    for key, fold in reading.folds.items():
        folded = await reload(event_log, key, reading.torn[key]) if key in reading.torn else fold.finish()
        if folded is not None and not is_over(key, folded):
            states[key] = folded
    found = {"shards": len(wanted), "from_seq": first, "to_seq": last, "runs": len(states), "read": sum(read.values())}
    log.info("recovered", extra=found)
    return Recovered(states, last, read)


class _Reading:
    """The entities of the shards while their events are read."""

    def __init__(self) -> None:
        self.folds: dict[EntityKey, LogFold[Any]] = {}
        # the newest cancel or signal of runs whose end is not known to have seen it
        self.late: dict[EntityKey, int] = {}
        # entities whose previous owner made a decision from an older state than the snapshot's. Replaying it on top of
        # the snapshot would apply it in the wrong order, so these are folded from their start.
        self.torn: dict[EntityKey, int] = {}
        self.snapshot_seq = 0  # of the shard that is read
        self._bases: dict[EntityKey, tuple[int, int]] = {}  # newest fact and newest decision that are folded already

    def begin(self, key: EntityKey, state: State) -> None:
        """Begins with an entity of the snapshot."""
        self.folds[key] = folding(key, state)
        self._bases[key] = (state.facts_seq, state.out_seq)

    def feed(self, key: EntityKey, delivery: Delivery) -> bool:
        """Folds an event. Returns False if it can't be read."""
        event = readable(delivery.subject, delivery.data)
        if event is None:
            if key in self.folds and subjects.is_decision(delivery.subject):
                self.folds[key].pass_over(delivery.seq)
            return False
        if isinstance(event, ev.RunCancelRequested | ev.SignalReceived):
            self.late[key] = delivery.seq
        elif isinstance(event, ev.TERMINAL_RUN) and self.late.get(key, 0) <= event.seen:
            self.late.pop(key, None)
        fold = self.folds.get(key)
        if fold is None:
            if not may_begin_with(key, event):
                return True  # a late event of an entity that is over
            fold = self.folds[key] = folding(key)
            self._bases[key] = (self.snapshot_seq + 1, 0)  # a lane that the snapshot had left out, or a new entity
        if isinstance(event, ev.Decision):
            facts, decisions = self._bases[key]
            if event.seen < facts and delivery.seq > decisions:
                self.torn[key] = delivery.seq
        fold.add(event, delivery.seq)
        if isinstance(event, ev.TERMINAL_RUN):
            del self.folds[key]
        return True


async def _read(event_log: EventLog, shard: int, reading: _Reading, last: int) -> int:
    """Folds a shard's events and returns how many there were.

    There is one consumer with one filter for each shard. With many filters the server's work for a
    read grows with the subjects in the stream. Measured: 23,000 events by 32 filters take 11 s,
    46,000 by 16 readers 0.9 s.

    Raises RetryableError if the replica that serves the read lags too long behind the leader.
    """
    position, newest = reading.snapshot_seq, await event_log.newest(subjects.shard_all(shard))
    if newest <= position:
        return 0
    count = 0
    tail = event_log.tail([subjects.shard_all(shard)], position + 1)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + LAG_S_MAX
    await tail.start()
    try:
        while position < newest:
            if loop.time() > deadline:
                raise RetryableError(f"a replica of the log lags: {position} of {newest}", kind="log_lags")
            for delivery in await tail.batch(0.2):
                if delivery.seq > last:
                    return count
                count += 1
                position, deadline = delivery.seq, loop.time() + LAG_S_MAX
                key = subjects.parse(delivery.subject)
                if key is not None and not reading.feed(key, delivery):
                    await bury(event_log, key, delivery)
        return count
    finally:
        await tail.stop()


async def bury(event_log: EventLog, key: EntityKey, delivery: Delivery) -> None:
    """Puts a fact with the dead letters that came while no scheduler served the shard and can't be used."""
    if delivery.subject == subjects.run_in(key):
        log.error("an event was put with the dead letters", extra={"seq": delivery.seq})
        await event_log.bury("scheduler", delivery, "unreadable")


async def reload(event_log: EventLog, key: EntityKey, known: int = 0) -> State | None:
    """Returns the state of one entity from its own events.

    If it is a run that went on as a new one, the new run gets the facts that came too late. known:
    a sequence of the entity that was seen. Raises RetryableError if the replica that serves the
    read lags too long behind it.
    """
    fold = folding(key)
    deadline = asyncio.get_running_loop().time() + LAG_S_MAX
    while True:
        stored = await event_log.read(subjects.run_all(key))
        if known <= (stored[-1].seq if stored else 0):
            break
        if await event_log.newest(subjects.run_all(key)) < known:  # it left the log meanwhile
            break
        if asyncio.get_running_loop().time() > deadline:
            raise RetryableError(f"a replica of the log lags: {known} is not there", kind="log_lags")
        await asyncio.sleep(0.1)
    events: list[tuple[int, ev.Event]] = []
    for item in stored:
        event = readable(item.subject, item.data)
        if event is not None:
            events.append((item.seq, event))
            fold.add(event, item.seq)
        elif subjects.is_decision(item.subject):
            fold.pass_over(item.seq)
    state: State | None = fold.finish()
    if isinstance(state, RunState) and state.continued_as:
        await _pass_on(event_log, key, events)
    if state is None:
        await _report_lost(event_log, key, [event for _, event in events])
    return state


async def _report_lost(event_log: EventLog, key: EntityKey, events: Sequence[ev.Event]) -> None:
    """Reports to a parent that the subworkflow which it cancels has left the log.

    The parent would wait forever for its end.
    """
    for event in events:
        if isinstance(event, ev.RunCancelRequested) and event.child_of is not None:
            parent = event.child_of
            error = StepError("child_lost", f"the log no longer holds the run {key.name}", retryable=False)
            ended = ev.ChildEnded(
                org=key.org,
                run=parent.run,
                ts=event.ts,
                step=parent.step,
                attempt=parent.attempt,
                child=key.name,
                status="failed",
                error=error,
            )
            to = subjects.key_of(key.org, parent.run)
            msg_id = f"lost:{key.name}:{parent.step}:{parent.attempt}"
            await event_log.append(Entry(subjects.run_in(to), ev.encode(ended), msg_id=msg_id))


async def end_unplannable(event_log: EventLog, key: EntityKey, state: RunState, error: Exception, now_ms: int) -> None:
    """Ends a run whose definition can't be planned, and reports that to its parent: both would wait
    forever.
    """
    cause = StepError("undecidable", f"the definition can't be planned: {type(error).__name__}", retryable=False)
    end = ev.RunFailed(org=key.org, run=key.name, ts=now_ms, seen=state.facts_seq, trace=state.trace, error=cause)
    fence = Fence(state.out_seq, subjects.run_out_all(key))
    entries = [Entry(subjects.out_run(key), ev.encode(end), fence=fence)]
    slots: list[Entry] = []
    for lane, own in (*run_slots.messages(state), *locks.messages(state), *lane_slots.messages(state)):
        released = ev.LaneReleased(org=lane.org, run=lane.name, ts=now_ms, trace=state.trace, **own)
        slots.append(Entry(subjects.run_in(lane), ev.encode(released)))
    if state.parent is not None:
        evolve(state, end, 0)
        to = subjects.key_of(key.org, state.parent.run)
        fields = subworkflows.end_of(state, state.parent, Payload(), cause)
        ended = ev.ChildEnded(org=to.org, run=to.name, ts=now_ms, trace=state.trace, **fields)
        entries.append(Entry(subjects.run_in(to), ev.encode(ended)))
    room = ATOMIC_BATCH_MAX - len(entries)
    with contextlib.suppress(ConflictError):  # another scheduler was first
        await event_log.append_batch([*entries, *slots[:room]])
        for start in range(room, len(slots), ATOMIC_BATCH_MAX):
            await event_log.append_batch(slots[start : start + ATOMIC_BATCH_MAX])


async def _pass_on(event_log: EventLog, key: EntityKey, events: Sequence[tuple[int, ev.Event]]) -> None:
    """Sends late facts to the run's successor. Sent again after a crash they do no harm."""
    for seq, to, fact in overtaken(key, events):
        await event_log.append(Entry(subjects.run_in(to), ev.encode(fact), msg_id=f"overtaken:{key.name}:{seq}"))
