"""Tails of the log for all who follow runs: a message is read once, and goes to those who follow its run.

A tail reads from its first follower on, and ends some seconds after the last one has left, so a gateway that nobody
watches reads nothing. There is one tail for each shard, which has all events of its runs, and one for the decisions
about whole runs, which say how a run ended. A follower first reads what the log has, and takes what has come then:
the tail had begun before that read. Sequences tell what it has seen.

Reading one run costs the server as much as the run itself, because it looks through all that lies between. So from
MANY followers on there is one tail of everything, which keeps the runs that begin while it reads (recent_runs.py).
Nothing is read from the log for those who follow such a run. Who comes shortly after many have followed gets that tail,
too: where runs come in bursts, no other tail begins between two of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

from agentflow_common import subjects, tasks
from agentflow_common.connections import transient
from agentflow_common.events import TERMINAL_RUN, event_type
from agentflow_common.log.consumers import Delivery, PullError, Tail
from agentflow_common.log.event_log import EventLog
from agentflow_common.runtime.probes import Probes
from agentflow_gateway.recent_runs import RecentRuns

log = logging.getLogger(__name__)

LINGER_S: Final = 5.0  # a tail goes on so long without a follower: the next one comes soon where runs are watched
BEHIND_MAX: Final = 20_000  # messages that a tail may lag before readiness says so
MANY: Final = 8  # followers from which on one tail of everything costs less
STILL_MANY_S: Final = 5.0  # after many have followed, who comes gets that tail as well
GATHER_S: Final = 0.01  # between two looks of that tail while much comes
CROWD_GATHER_S: Final = 0.1  # between two answers to one of many who follow runs and are in no hurry
GATHER_FULL: Final = 32  # messages in one look from which on it makes the whole pause
_WAIT_S: Final = 5.0
_TYPE: Final = b'{"type":"'  # every event that this version writes begins so
_ENDS: Final = tuple(_TYPE + event_type(kind).encode() for kind in TERMINAL_RUN)
_AGAIN_S: Final = 0.5


class Following:
    """The items that have come for one follower and were not taken yet, at most `items_max` items."""

    def __init__(
        self,
        items_max: int,
        only: Callable[[Delivery], bool] | None = None,
        whole: Callable[[], Sequence[Delivery] | None] = lambda: None,
    ) -> None:
        self.lost = False  # more came than was kept: the follower has to read the log again
        # Returns all that the follower's own tail has brought of its run, from the first event on, and also puts here;
        # None if the log must be read for that. What another tail has brought says nothing about what comes here.
        self.whole = whole
        self._only = only  # the messages that it wants; None: all of its run
        self._items: list[Any] = []
        self._items_max = items_max
        self._arrived = asyncio.Event()
        self._urgent = asyncio.Event()  # what has come should not be waited upon
        self._taken_at = 0.0

    def put(self, delivery: Delivery) -> None:
        """Keeps a message of the log. One that finds no room is not lost: the log has it."""
        if self.lost or (self._only is not None and not self._only(delivery)):
            return
        if len(self._items) >= self._items_max:
            self.lost = True
            self._items.clear()
        else:
            self._items.append(delivery)
        if self.lost or delivery.subject.endswith(subjects.OUT_RUN):
            self._urgent.set()
        self._arrived.set()

    def put_passing(self, item: object) -> None:
        """Keeps something that no log has, if there is room."""
        if not self.lost and len(self._items) < self._items_max:
            self._items.append(item)
            self._arrived.set()

    def begin_again(self) -> None:
        """Forgets that something was lost. What comes from now on is kept; the follower then reads the log."""
        self.lost = False
        self._items.clear()
        self._arrived.clear()
        self._urgent.clear()

    async def take(self, timeout_s: float | None = None, gather_s: float = 0.0) -> list[Any]:
        """Returns what has come, in order; nothing after `timeout_s`, or if something was lost.

        gather_s: the least time from one answer to the next, so that a busy run is answered in fewer pieces. A
            decision about the whole run does not wait for it.
        """
        now = asyncio.get_running_loop().time
        if gather_s and (left_s := self._taken_at + gather_s - now()) > 0:
            await _within(left_s, self._urgent)
        if not self._arrived.is_set():
            await _within(timeout_s, self._arrived)
        self._arrived.clear()
        self._urgent.clear()
        taken, self._items = self._items, []
        self._taken_at = now()
        return taken


async def _within(timeout_s: float | None, event: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()


class RunTail:
    """One tail and its followers. recent: keeps the runs that begin while the tail reads."""

    def __init__(
        self, events: EventLog, subject: str, linger_s: float = LINGER_S, recent: RecentRuns | None = None
    ) -> None:
        self._log = events
        self._subject = subject
        self._linger_s = linger_s
        self._recent = recent
        self._followers: dict[subjects.EntityKey, set[Following]] = {}  # by run
        self._starting = asyncio.Lock()
        self._tail: Tail | None = None
        self._task: asyncio.Task[None] | None = None
        self._end: asyncio.TimerHandle | None = None
        self._behind = 0

    @contextlib.asynccontextmanager
    async def following(
        self, key: subjects.EntityKey, items_max: int, only: Callable[[Delivery], bool] | None = None
    ) -> AsyncIterator[Following]:
        """Gives what comes for a run from now on. Read the log inside: what it has then is older than what comes.

        only: the messages that the follower wants; None: all.
        """
        recent = self._recent
        follower = Following(items_max, only, lambda: None if recent is None else recent.of(key))
        self._followers.setdefault(key, set()).add(follower)
        try:
            await self._begin()
            yield follower
        finally:
            others = self._followers[key]
            others.discard(follower)
            if not others:
                del self._followers[key]
            if not self._followers and self._task is not None:
                self._end = asyncio.get_running_loop().call_later(self._linger_s, self._end_if_idle)

    async def _begin(self) -> None:
        if self._end is not None:
            self._end.cancel()
            self._end = None
        if self._task is not None:
            return
        async with self._starting:
            if self._task is None:
                last_seq = await self._log.last_seq()
                gather_s = GATHER_S if self._recent is not None else 0.0
                tail = self._log.tail([self._subject], last_seq + 1, gather_s=gather_s, gather_full=GATHER_FULL)
                if self._recent is not None:
                    self._recent.begin(last_seq)
                self._tail, self._behind = tail, 0
                self._task = asyncio.create_task(self._read(tail), name=f"tail-{self._subject}")

    def _end_if_idle(self) -> None:
        if not self._followers and self._task is not None:
            self._task.cancel()
            self._task = self._tail = None
            if self._recent is not None:
                self._recent.end()

    async def _read(self, tail: Tail) -> None:
        try:
            while True:
                try:
                    for delivery in await tail.batch(wait_s=_WAIT_S):
                        self._hand_out(delivery)
                except transient.SURVIVED as error:  # it goes on behind the last message that it had
                    log.warning("the tail is interrupted", extra={"error": type(error).__name__})
                    await asyncio.sleep(_AGAIN_S)
        finally:
            await asyncio.shield(tail.stop())

    def _hand_out(self, delivery: Delivery) -> None:
        self._behind = delivery.pending
        key = subjects.parse(delivery.subject)
        if key is None:
            return
        if self._recent is not None:
            self._recent.add(key, delivery)
        for follower in self._followers.get(key, ()):
            follower.put(delivery)

    def check(self) -> None:
        """Raises PullError if somebody follows and the tail is away, or far behind."""
        if self._tail is None:
            return
        if self._tail.away:
            raise PullError(f"the log does not deliver: {self._tail.away}")
        if self._behind > BEHIND_MAX:
            raise PullError(f"{self._behind} messages behind")

    async def stop(self) -> None:
        if self._end is not None:
            self._end.cancel()
        if self._task is not None:
            await tasks.stop([self._task])


class Tails:
    """All tails of a gateway."""

    def __init__(self, events: EventLog, linger_s: float = LINGER_S) -> None:
        self._recent = RecentRuns()
        self._all = RunTail(events, subjects.ALL_EVENTS, linger_s, self._recent)
        self._ends = RunTail(events, subjects.ALL_RUN_DECISIONS, linger_s)
        self._shards = [RunTail(events, subjects.shard_all(shard), linger_s) for shard in range(subjects.SHARDS)]
        self._followers = 0
        self._many_until = 0.0  # by the loop's clock

    @contextlib.asynccontextmanager
    async def following(self, key: subjects.EntityKey, items_max: int) -> AsyncIterator[Following]:
        """Gives all that comes for a run from now on."""
        async with self._counted() as many:
            tail = self._all if many else self._shards[key.shard]
            async with tail.following(key, items_max) as following:
                yield following

    @contextlib.asynccontextmanager
    async def following_end(self, key: subjects.EntityKey, items_max: int) -> AsyncIterator[Following]:
        """Gives what comes from now on and may be the end of a run."""
        async with self._counted() as many:
            tail = self._all if many else self._ends
            async with tail.following(key, items_max, may_be_end) as following:
                yield following

    @contextlib.asynccontextmanager
    async def _counted(self) -> AsyncIterator[bool]:
        """Counts a follower. Gives True if there are many, or were a short while ago."""
        self._followers += 1
        now = asyncio.get_running_loop().time()
        if self._followers >= MANY:
            self._many_until = now + STILL_MANY_S
        try:
            yield now <= self._many_until
        finally:
            self._followers -= 1

    def gather_s(self, least_s: float) -> float:
        """Returns the time to leave between two answers to a follower that asks for `least_s`; 0 stays 0."""
        return max(least_s, CROWD_GATHER_S) if least_s and self._followers >= MANY else least_s

    def appended(self, key: subjects.EntityKey, seq: int) -> None:
        """Notes that this gateway has begun a run. seq: of its first event."""
        self._recent.expect(key, seq)

    def watched(self, probes: Probes) -> None:
        """Lets readiness report when those who follow runs get nothing, or get it late."""
        probes.add("run_tails", self._check, "those who watch runs, or wait for them, get nothing new for now")

    async def _check(self) -> None:
        for tail in (self._all, self._ends, *self._shards):
            tail.check()

    async def stop(self) -> None:
        for tail in (self._all, self._ends, *self._shards):
            await tail.stop()


def may_be_end(delivery: Delivery) -> bool:
    """True if a message may be the end of its run. Pure."""
    data = delivery.data
    return delivery.subject.endswith(subjects.OUT_RUN) and (data.startswith(_ENDS) or not data.startswith(_TYPE))
