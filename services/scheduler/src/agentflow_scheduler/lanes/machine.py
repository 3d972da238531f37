"""Who is given the next slot of a keyed lane (ADR 0004). No I/O, no clock, no randomness in here.

`decide_lane(lane, now_ms)` folds each decision into the state as it takes it, like machine.decide: after a crash,
deciding again on the refolded log adds exactly what is missing.

The order of grants: the highest priority first; in it the org that has the fewest slots, of equals the one that was
served the longest ago; in it who asked first. So an org with a long backlog delays nobody else by more than one grant,
and a priority that is always busy holds back the lower ones for as long as it is: that is what it is for.
"""

from __future__ import annotations

from typing import Any, Final

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.lanes.fold import (
    RATE_TIMER,
    LaneConfig,
    LaneState,
    Slot,
    checkpoint_parts,
    evolve,
    rate_wait_us,
    slot_key,
)
from agentflow_scheduler.decisions import Decisions
from agentflow_scheduler.fairness import Rank, Turns

QUEUE_MAX: Final = 100_000  # attempts that wait; who comes then is refused, and its retry policy says what follows
REFUSED_RETRY_MS: Final = 5_000  # the least that a refused attempt waits before its next
GRANTS_MAX: Final = 450  # of one turn: with what they send, they fit one atomic batch
CHECKPOINT_EVENTS: Final = 3_000  # between two checkpoints: about 1,000 attempts, and never less than what is in it
SKEW_MS_MAX: Final = 5_000  # how far the clock of the timers may be ahead of this machine's and still be believed


class Lane:
    """A lane in memory: its state, and an index of who waits that makes a grant cost O(log n).

    wanted: what operators have configured; until the log says the same, nothing is granted. None: what the log says.
    told: holders that were told of their slot since the lane was read: a crash may have come between both. To hear it
    twice does no harm. cut: (facts, decisions) up to which the newest checkpoint stands for the log.
    """

    __slots__ = ("asked", "cut", "index", "quiet", "state", "told", "wanted")

    def __init__(self, state: LaneState, wanted: LaneConfig | None = None) -> None:
        self.state = state
        self.wanted = wanted
        self.asked: LaneConfig | None = None
        self.index = _Index(state)
        self.told: set[str] = set()
        self.cut: tuple[int, int] | None = None
        self.quiet = False

    def apply(self, event: ev.Event, seq: int) -> None:
        """Folds a fact from the log."""
        self.quiet = False
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
                self.told.discard(slot_key(event.holder_run, event.step, event.attempt))
        else:
            evolve(state, event, seq)

    def may_go(self, now_ms: int) -> bool:
        """Whether the lane may leave memory: a new one would do the same from now on, and nothing has come since this
        was asked before. The fence refuses who comes next, and then the lane is read from the log."""
        state = self.state
        plain = state.idle and not state.timers and state.config == LaneConfig() and state.tat_us <= now_ms * 1000
        was_quiet, self.quiet = self.quiet, plain and state.out_seq > 0
        return was_quiet and self.quiet


class LaneDecisions(Decisions):
    """sends: appended with the decisions or after them. more: the turn was cut short, and the lane is to be decided
    again when this is written."""

    __slots__ = ("_lane", "more")

    def __init__(self, lane: Lane, now_ms: int) -> None:
        super().__init__(lane.state, now_ms, evolve)
        self._lane = lane
        self.more = False

    def tell(self, slot: Slot, event_type: Any, **fields: Any) -> None:
        """A fact for the run that holds or wants the slot."""
        event = event_type(
            org=slot.org, run=slot.run, ts=self.now_ms, step=slot.step, attempt=slot.attempt,
            lane=self._lane.state.lane, **fields,
        )  # fmt: skip
        self.sends.append((subjects.key_of(slot.org, slot.run), event))


def decide_lane(lane: Lane, now_ms: int) -> LaneDecisions:
    """Everything that can be decided now, at most about GRANTS_MAX grants."""
    state = lane.state
    # the server's clock, which fires the timers, may be ahead of this machine's: what it says has come, has come
    ahead = 0 < state.clock - now_ms <= SKEW_MS_MAX
    out = LaneDecisions(lane, state.clock if ahead else now_ms)
    if len(lane.told) < len(state.holders) and not _tell(lane, out):
        return out
    if state.since_checkpoint >= max(CHECKPOINT_EVENTS, 2 * (len(state.queue) + len(state.holders))):
        lane.cut = (state.facts_seq, state.out_seq)
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


def _tell(lane: Lane, out: LaneDecisions) -> bool:
    """Tells all who hold a slot; False: this turn has no room for more."""
    for key, slot in lane.state.holders.items():
        if key not in lane.told:
            if len(out.sends) >= GRANTS_MAX:
                out.more = True
                return False
            out.tell(slot, ev.SlotGranted, asked_at=slot.at)
            lane.told.add(key)
    return True


def _configure(lane: Lane, out: LaneDecisions, wanted: LaneConfig) -> None:
    """Asks for what operators have set to be put into the lane's log, once."""
    state = lane.state
    if lane.asked != wanted and state.lane:
        lane.asked = wanted
        event = ev.LaneConfigured(
            org=state.org, run=state.run, ts=out.now_ms, lane=state.lane, limit=wanted.limit,
            rate_per_s=wanted.rate_per_s, paused=wanted.paused,
        )  # fmt: skip
        out.sends.append((subjects.key_of(state.org, state.run), event))


def _refuse(lane: Lane, out: LaneDecisions) -> None:
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


def _grant(lane: Lane, out: LaneDecisions) -> None:
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
        out.tell(slot, ev.SlotGranted, asked_at=slot.at)
        lane.told.add(slot.key)
        lane.index.given(slot.org)
        if longest_ago not in state.served:  # it was forgotten, and ranks as one that was never served
            lane.index.moved(longest_ago)


def _wake(state: LaneState, out: LaneDecisions, at_ms: int) -> None:
    timer = state.timers.get(RATE_TIMER)
    if timer is None or timer.fire_at > at_ms:
        out.emit(ev.TimerSet, timer=RATE_TIMER, kind="rate", fire_at=at_ms)


def _decide_slot(out: LaneDecisions, slot: Slot, event_type: type[ev.Decision]) -> None:
    out.emit(event_type, holder_org=slot.org, holder_run=slot.run, step=slot.step, attempt=slot.attempt)


class _Index:
    """Who waits, in the order of turns, and how many slots each org has."""

    __slots__ = ("_held", "_state", "_turns")

    def __init__(self, state: LaneState) -> None:
        self._state = state
        self._held: dict[str, int] = {}
        self._turns: Turns[Slot] = Turns(self._rank, lambda slot: state.queue.get(slot.key) is slot)
        for slot in state.holders.values():
            self._held[slot.org] = self._held.get(slot.org, 0) + 1
        for slot in state.queue.values():
            self.add(slot)

    def _rank(self, org: str) -> Rank:
        return (self._held.get(org, 0), self._state.served.get(org, 0), org)

    def add(self, slot: Slot) -> None:
        self._turns.add(slot.org, slot.priority, slot)

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
        self._turns.moved(org)

    def pick(self) -> Slot | None:
        """Who is next; None if nobody waits."""
        return self._turns.next()
