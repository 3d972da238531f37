"""The fair order of turns, and the window of steps that are offered to a worker pool.

Pure. A worker pool is a first-in first-out queue, so fairness must be decided before a step is in
it. The scheduler keeps the queue short: at most `steps_max` steps of each pool are offered and not
done. `Turns` orders the runs that may offer the next step:

1. the highest priority;
2. in it the org with the fewest steps under way, and of equal ones the org whose turn was the longest ago;
3. in it the oldest run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from heapq import heapify, heappop, heappush, heapreplace
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from agentflow_common.subjects import EntityKey

STEPS_MAX: Final = 4_000  # some tenths of a second of work for a fast pool
QUANTUM: Final = 16  # steps of one turn: small, so that turns come often
SERVED_MAX: Final = 1_000  # orgs whose turn is remembered

T = TypeVar("T")
Rank = tuple[int, int, str]  # how much an org has, when it was served, its name; the smallest rank is next


class _Bucket(msgspec.Struct, Generic[T]):
    """The waiters of one priority."""

    orgs: dict[str, list[tuple[Any, int, T]]] = {}
    ranks: list[Rank] = []  # a heap with the present rank of every org that waits, and stale ranks


class Turns(Generic[T]):
    """All waiters in their order, and how much each org has. Each operation costs O(log n)."""

    def __init__(self, served: Mapping[str, int], waits: Callable[[T], bool]) -> None:
        self._has: dict[str, int] = {}  # by org: steps or slots that it has
        self._served = served  # by org: the number of its latest turn; call `moved` when it changes
        self._waits = waits  # True while the item waits: one that leaves is not removed, but skipped
        self._buckets: dict[int, _Bucket[T]] = {}
        self._order: list[int] = []  # a heap of the negated priorities in _buckets
        self._priorities: dict[str, set[int]] = {}  # of each org that waits
        self._added = 0

    def _rank(self, org: str) -> Rank:
        return (self._has.get(org, 0), self._served.get(org, 0), org)

    def count(self, org: str, change: int) -> None:
        """Notes that the org has more or fewer steps or slots."""
        count = self._has.get(org, 0) + change
        if count > 0:
            self._has[org] = count
        else:
            self._has.pop(org, None)
        self.moved(org)

    def add(self, org: str, priority: int, item: T, place: Any = ()) -> None:
        """Adds a waiter. place: its order among those of its org. Waiters with equal places keep their order."""
        bucket = self._buckets.get(priority)
        if bucket is None:
            bucket = self._buckets[priority] = _Bucket()
            heappush(self._order, -priority)
        waiting = bucket.orgs.get(org)
        if waiting is None:
            waiting = bucket.orgs[org] = []
            self._priorities.setdefault(org, set()).add(priority)
            heappush(bucket.ranks, self._rank(org))
        self._added += 1
        heappush(waiting, (place, self._added, item))

    def moved(self, org: str) -> None:
        """Notes that the org's rank has changed: its entries in the heaps are stale."""
        for priority in self._priorities.get(org, ()):
            bucket = self._buckets[priority]
            if len(bucket.ranks) > 2 * len(bucket.orgs) + 16:
                bucket.ranks = [self._rank(name) for name in bucket.orgs]
                heapify(bucket.ranks)
            else:
                heappush(bucket.ranks, self._rank(org))

    def next(self) -> T | None:
        """Returns the waiter whose turn it is, or None.

        The same waiter is returned until it stops waiting or `moved` is called.
        """
        while self._order:
            priority = -self._order[0]
            bucket = self._buckets[priority]
            while bucket.ranks:
                org = bucket.ranks[0][2]
                waiting = bucket.orgs.get(org)
                if waiting is None:
                    heappop(bucket.ranks)
                elif bucket.ranks[0] != self._rank(org):
                    heapreplace(bucket.ranks, self._rank(org))
                else:
                    while waiting and not self._waits(waiting[0][2]):
                        heappop(waiting)
                    if waiting:
                        return waiting[0][2]
                    self._drop(org, priority)
            del self._buckets[priority]
            heappop(self._order)
        return None

    def _drop(self, org: str, priority: int) -> None:
        del self._buckets[priority].orgs[org]
        self._priorities[org].discard(priority)
        if not self._priorities[org]:
            del self._priorities[org]


class Budget:
    """The number of steps that a run may offer in one decision."""

    def __init__(self, room: Callable[[str], int]) -> None:
        self._room = room  # the number of steps that it may offer to a pool at first
        self._left: dict[str, int] = {}  # by pool
        self.denied: set[str] = set()  # the pools in which it could not offer all

    def take(self, pool: str) -> bool:
        """Counts one more step for the pool. Returns False if the pool has no room for it."""
        if pool not in self._left:
            self._left[pool] = self._room(pool)
        if self._left[pool] > 0:
            self._left[pool] -= 1
            return True
        self.denied.add(pool)
        return False


class Waiter(NamedTuple):
    """A run that has more to offer."""

    run: EntityKey
    priority: int
    since: int  # when it was submitted, ms since the epoch


class _Pool:
    """One worker pool: the steps under way in it, and the runs that wait for room."""

    def __init__(self) -> None:
        self.total = 0  # steps offered and not done, or promised
        self.promised: dict[EntityKey, int] = {}  # steps that runs may offer because they were given a turn
        self.waiting: dict[EntityKey, Waiter] = {}
        self.served: dict[str, int] = {}  # the number of the latest turn of each org, the longest ago first
        self.clock = 0  # counts turns
        self.turns: Turns[Waiter] = Turns(self.served, lambda waiter: self.waiting.get(waiter.run) is waiter)

    def add(self, org: str, steps: int) -> None:
        self.total += steps
        self.turns.count(org, steps)

    def had_turn(self, org: str) -> None:
        self.clock += 1
        self.served.pop(org, None)
        self.served[org] = self.clock
        self.turns.moved(org)
        if len(self.served) > SERVED_MAX:
            longest_ago = next(iter(self.served))
            del self.served[longest_ago]
            self.turns.moved(longest_ago)


class Window:
    """Counts the steps under way in each pool, and says which runs may offer more.

    A decision about a run calls `budget` first, then `opened` for each step that it offered, then
    `settle`. `closed` is called when a step is done, and `forget` when a run is over or served by
    another scheduler. When all runs of a turn are settled, `grants` returns the runs to decide
    next. It is called until it returns an empty list.
    """

    def __init__(self, steps_max: int = STEPS_MAX, quantum: int = QUANTUM) -> None:
        self._steps_max = steps_max
        self._quantum = quantum
        self._pools: defaultdict[str, _Pool] = defaultdict(_Pool)
        self._steps: dict[EntityKey, dict[str, str]] = {}  # run -> step key -> pool

    def waiting(self) -> list[EntityKey]:
        """Returns the runs that have more to offer."""
        return list(dict.fromkeys(run for pool in self._pools.values() for run in pool.waiting))

    def offered(self) -> dict[str, int]:
        """Returns how many steps are offered to each pool and not done."""
        steps = {name: pool.total - sum(pool.promised.values()) for name, pool in self._pools.items()}
        return {name: number for name, number in steps.items() if number > 0}

    def opened(self, run: EntityKey, step: str, pool: str) -> None:
        """Counts a step that was offered, perhaps by an earlier scheduler.

        A second call changes nothing.
        """
        steps = self._steps.setdefault(run, {})
        if step not in steps:
            steps[step] = pool
            self._pools[pool].add(run.org, 1)

    def closed(self, run: EntityKey, step: str) -> None:
        """Counts a step that is done. One that was never opened changes nothing."""
        steps = self._steps.get(run)
        pool = steps.pop(step, None) if steps else None
        if pool is not None:
            self._pools[pool].add(run.org, -1)
            if not steps:
                del self._steps[run]

    def forget(self, run: EntityKey) -> None:
        for step in list(self._steps.get(run, ())):
            self.closed(run, step)
        self.settle(Waiter(run, 0, 0), ())

    def budget(self, run: EntityKey) -> Budget:
        """Returns the steps that the run may offer now: those that it was promised.

        In a pool where no run waits it may use all the room.
        """

        def room(name: str) -> int:
            pool = self._pools.get(name)
            if pool is None:
                return self._steps_max
            promised = pool.promised.get(run, 0)
            return promised if pool.waiting else max(promised, self._steps_max - pool.total)

        return Budget(room)

    def settle(self, waiter: Waiter, denied: Iterable[str]) -> None:
        """Ends a decision. Unused promises are void, and the run waits in the pools of `denied`."""
        wants = set(denied)
        for name, pool in self._pools.items():
            if pool.promised and (promised := pool.promised.pop(waiter.run, 0)):
                pool.add(waiter.run.org, -promised)
            if pool.waiting and name not in wants:
                pool.waiting.pop(waiter.run, None)
        for name in wants:
            pool = self._pools[name]
            if pool.waiting.get(waiter.run) != waiter:
                pool.waiting[waiter.run] = waiter
                pool.turns.add(waiter.run.org, waiter.priority, waiter, (waiter.since, waiter.run.name))

    def grants(self) -> list[EntityKey]:
        """Promises the room that is left, turn by turn.

        Returns the runs that may go on, in the order of their turns.
        """
        granted: dict[EntityKey, None] = {}
        for pool in self._pools.values():
            while pool.total < self._steps_max:
                waiter = pool.turns.next()
                if waiter is None:
                    break
                steps = min(self._quantum, self._steps_max - pool.total)
                pool.promised[waiter.run] = pool.promised.get(waiter.run, 0) + steps
                pool.add(waiter.run.org, steps)
                pool.had_turn(waiter.run.org)
                granted[waiter.run] = None
        return list(granted)
