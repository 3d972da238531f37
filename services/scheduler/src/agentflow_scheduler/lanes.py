"""Who is given the next slot of a keyed lane (ADR 0004). No I/O, no clock, no randomness in here.

`decide_lane(lane, now_ms)` folds each decision into the state as it takes it, like machine.decide: after a crash,
deciding again on the refolded log adds exactly what is missing.

The order of grants: the highest priority first; in it the org that has the fewest slots, of equals the one that was
served the longest ago; in it who asked first. So an org with a long backlog delays nobody else by more than one grant,
and a priority that is always busy holds back the lower ones for as long as it is: that is what it is for.
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush, heapreplace
from typing import Any, Final

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.lanefold import RATE_TIMER, LaneConfig, LaneState, Slot, checkpoint_parts, evolve, rate_wait_us
from agentflow_common.subjects import RunKey

QUEUE_MAX: Final = 100_000  # attempts that wait; who comes then is refused, and its retry policy says what follows
REFUSED_RETRY_MS: Final = 5_000  # the least that a refused attempt waits before its next
GRANTS_MAX: Final = 300  # of one turn: with what they send, well below an atomic batch
CHECKPOINT_EVENTS: Final = 3_000  # between two checkpoints: about 1,000 attempts, and never less than what is in it
SKEW_MS_MAX: Final = 5_000  # how far the clock of the timers may be ahead of this machine's and still be believed


class Lane:
    """A lane in memory: its state, and an index of who waits that makes a grant cost O(log n).

    wanted: what operators have configured; until the log says the same, nothing is granted. None: what the log says.
    """

    __slots__ = ("asked", "index", "state", "wanted")

    def __init__(self, state: LaneState, wanted: LaneConfig | None = None) -> None:
        self.state = state
        self.wanted = wanted
        self.asked: LaneConfig | None = None
        self.index = _Index(state)

    def apply(self, event: ev.Event, seq: int) -> None:
        """Folds a fact from the log."""
        state = self.state
        if isinstance(event, ev.LaneRequested):
            before = len(state.queue)
            evolve(state, event, seq)
            if len(state.queue) > before:
                self.index.add(state.queue[next(reversed(state.queue))])
        elif isinstance(event, ev.LaneReleased):
            before = len(state.holders)
            evolve(state, event, seq)
            if len(state.holders) < before:
                self.index.gave_back(event.holder_org)
        else:
            evolve(state, event, seq)

    @property
    def forgettable(self) -> bool:
        """Whether the lane may leave memory: who comes next is refused by the fence, and reads it from the log."""
        return self.state.idle and self.state.out_seq > 0 and not self.state.timers


class Decision:
    """decisions: in order, already folded into the state. sends: facts for others, to be appended with them, all or
    nothing. more: the turn was cut short, and the lane is to be decided again when this is written."""

    __slots__ = ("_lane", "decisions", "more", "now_ms", "sends")

    def __init__(self, lane: Lane, now_ms: int) -> None:
        self._lane = lane
        self.decisions: list[ev.Decision] = []
        self.sends: list[tuple[RunKey, ev.Event]] = []
        self.now_ms = now_ms
        self.more = False

    def emit(self, event_type: type[ev.Decision], /, **fields: Any) -> None:
        state = self._lane.state
        event = event_type(org=state.org, run=state.run, ts=self.now_ms, seen=state.facts_seq, **fields)
        evolve(state, event, 0)
        self.decisions.append(event)

    def tell(self, slot: Slot, event_type: Any, **fields: Any) -> None:
        """A fact for the run that holds or wants the slot."""
        event = event_type(
            org=slot.org, run=slot.run, ts=self.now_ms, step=slot.step, attempt=slot.attempt,
            lane=self._lane.state.lane, **fields,
        )  # fmt: skip
        self.sends.append((subjects.key_of(slot.org, slot.run), event))


def decide_lane(lane: Lane, now_ms: int) -> Decision:
    """Everything that can be decided now, at most about GRANTS_MAX grants."""
    state = lane.state
    # the server's clock, which fires the timers, may be ahead of this machine's: what it says has come, has come
    ahead = 0 < state.clock - now_ms <= SKEW_MS_MAX
    out = Decision(lane, state.clock if ahead else now_ms)
    if state.since_checkpoint >= max(CHECKPOINT_EVENTS, 2 * (len(state.queue) + len(state.holders))):
        for body in list(checkpoint_parts(state)):
            out.emit(ev.LaneCheckpointed, state=body)
        lane.index = _Index(state)
        out.more = True
        return out
    if lane.wanted is not None and lane.wanted != state.config:
        _configure(lane, out, lane.wanted)
    else:
        _grant(lane, out)
    if not out.more:
        _refuse(lane, out)
    return out


def _configure(lane: Lane, out: Decision, wanted: LaneConfig) -> None:
    """Asks for what operators have set to be put into the lane's log, once."""
    state = lane.state
    if lane.asked != wanted and state.lane:
        lane.asked = wanted
        event = ev.LaneConfigured(
            org=state.org, run=state.run, ts=out.now_ms, lane=state.lane, limit=wanted.limit,
            rate_per_s=wanted.rate_per_s, paused=wanted.paused,
        )  # fmt: skip
        out.sends.append((subjects.key_of(state.org, state.run), event))


def _refuse(lane: Lane, out: Decision) -> None:
    state = lane.state
    while len(state.queue) > QUEUE_MAX:
        if len(out.decisions) >= GRANTS_MAX:
            out.more = True
            return
        slot = state.queue[next(reversed(state.queue))]
        _decide_slot(out, slot, ev.LaneRefused)
        text = f"{QUEUE_MAX} attempts wait for the lane {state.lane!r} already; raise its limit, or submit less"
        error = ev.StepError("lane_full", text, retry_after_ms=REFUSED_RETRY_MS)
        out.tell(slot, ev.SlotRefused, error=error)


def _grant(lane: Lane, out: Decision) -> None:
    state = lane.state
    while state.queue and not state.paused and len(state.holders) < state.limit:
        if len(out.decisions) >= GRANTS_MAX:
            out.more = True
            return
        wait_us = rate_wait_us(state, out.now_ms)
        if wait_us:
            _wake(state, out, out.now_ms - (-wait_us // 1000))
            return
        slot = lane.index.pick()
        if slot is None:
            return
        longest_ago = next(iter(state.served), "")
        _decide_slot(out, slot, ev.LaneGranted)
        out.tell(slot, ev.SlotGranted)
        lane.index.given(slot.org)
        if longest_ago not in state.served:  # it was forgotten, and ranks as one that was never served
            lane.index.moved(longest_ago)


def _wake(state: LaneState, out: Decision, at_ms: int) -> None:
    timer = state.timers.get(RATE_TIMER)
    if timer is None or timer.fire_at > at_ms:
        out.emit(ev.TimerSet, timer=RATE_TIMER, kind="rate", fire_at=at_ms)


def _decide_slot(out: Decision, slot: Slot, event_type: type[ev.Decision]) -> None:
    out.emit(event_type, holder_org=slot.org, holder_run=slot.run, step=slot.step, attempt=slot.attempt)


# --- the index of who waits ---

Rank = tuple[int, int, str]  # slots held, number of the latest grant, org: the least is served next


class _Bucket:
    """Those of one priority. ranks: a heap with the present rank of every org that waits, and stale ones."""

    __slots__ = ("orgs", "ranks")

    def __init__(self) -> None:
        self.orgs: dict[str, deque[Slot]] = {}
        self.ranks: list[Rank] = []


class _Index:
    """Removal is lazy: a slot that is not in the queue any more is dropped when its turn comes."""

    __slots__ = ("_buckets", "_held", "_order", "_priorities", "_state")

    def __init__(self, state: LaneState) -> None:
        self._state = state
        self._buckets: dict[int, _Bucket] = {}
        self._order: list[int] = []  # a heap of the negated priorities in _buckets
        self._priorities: dict[str, set[int]] = {}  # of each org that waits
        self._held: dict[str, int] = {}
        for slot in state.holders.values():
            self._held[slot.org] = self._held.get(slot.org, 0) + 1
        for slot in state.queue.values():
            self.add(slot)

    def _rank(self, org: str) -> Rank:
        return (self._held.get(org, 0), self._state.served.get(org, 0), org)

    def add(self, slot: Slot) -> None:
        bucket = self._buckets.get(slot.priority)
        if bucket is None:
            bucket = self._buckets[slot.priority] = _Bucket()
            heappush(self._order, -slot.priority)
        waiting = bucket.orgs.get(slot.org)
        if waiting is None:
            waiting = bucket.orgs[slot.org] = deque()
            self._priorities.setdefault(slot.org, set()).add(slot.priority)
            heappush(bucket.ranks, self._rank(slot.org))
        waiting.append(slot)

    def given(self, org: str) -> None:
        self._held[org] = self._held.get(org, 0) + 1
        self.moved(org)

    def gave_back(self, org: str) -> None:
        left = self._held.get(org, 0) - 1
        if left > 0:
            self._held[org] = left
        else:
            self._held.pop(org, None)
        self.moved(org)

    def moved(self, org: str) -> None:
        """The org's rank has changed: its entries in the heaps are stale."""
        rank = self._rank(org)
        for priority in self._priorities.get(org, ()):
            bucket = self._buckets[priority]
            if len(bucket.ranks) > 2 * len(bucket.orgs) + 16:
                bucket.ranks = [self._rank(name) for name in bucket.orgs]
                heapify(bucket.ranks)
            else:
                heappush(bucket.ranks, rank)

    def pick(self) -> Slot | None:
        """Who is next; None if nobody waits."""
        while self._order:
            priority = -self._order[0]
            bucket = self._buckets[priority]
            while bucket.ranks:
                org = bucket.ranks[0][2]
                waiting = bucket.orgs.get(org)
                if waiting is None:
                    heappop(bucket.ranks)
                    continue
                if bucket.ranks[0] != self._rank(org):
                    heapreplace(bucket.ranks, self._rank(org))
                    continue
                while waiting and self._state.queue.get(waiting[0].key) is not waiting[0]:
                    waiting.popleft()
                if waiting:
                    return waiting[0]
                self._drop(org, priority)
                heappop(bucket.ranks)
            del self._buckets[priority]
            heappop(self._order)
        return None

    def _drop(self, org: str, priority: int) -> None:
        del self._buckets[priority].orgs[org]
        self._priorities[org].discard(priority)
        if not self._priorities[org]:
            del self._priorities[org]
