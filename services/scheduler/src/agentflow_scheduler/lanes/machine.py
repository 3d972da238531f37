"""The grants of a keyed lane's slots (ADR 0004). Pure: no I/O, no clock, no randomness in here.

`decide_lane(lane, now_ms)` folds each decision into the state at once, like the machine of runs.
After a crash, deciding again on the refolded log adds exactly what is missing.

A slot goes to the attempt that comes first in this order:

1. the highest priority;
2. the org that has the fewest slots;
3. the org that was served the longest ago;
4. the attempt that asked first.

An org with a long backlog therefore delays every other org by at most one grant. A priority that is always busy delays
the lower ones, which is its purpose.
"""

from __future__ import annotations

from typing import Final

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.lanes.fold import (
    LANE_FULL,
    RATE_TIMER,
    LaneConfig,
    LaneState,
    SlotRequest,
    checkpoint_parts,
    evolve,
    rate_wait_us,
    slot_key,
)
from agentflow_scheduler.fairness import Turns
from agentflow_scheduler.lanes import policies
from agentflow_scheduler.lanes.decisions import LaneDecisions

QUEUE_MAX: Final = 100_000  # attempts that wait; one more is refused, and its retry policy says what follows
REFUSED_RETRY_MS: Final = 5_000  # the least time before the attempt that follows a refused one
GRANTS_MAX: Final = 450  # of one turn: with what they send, they fit one atomic batch
CHECKPOINT_EVENTS: Final = 3_000  # between two checkpoints: about 1,000 attempts, and at least twice its slots
SKEW_MS_MAX: Final = 5_000  # how far the clock of the timers may be ahead of this machine's and still be believed


class Lane:
    """A lane in memory: its state, and an index of the waiting attempts that makes a grant cost O(log n)."""

    def __init__(self, state: LaneState, wanted: LaneConfig | None = None) -> None:
        self.state = state
        # The limits that operators set. Until the log has the same limits, no slot is granted. None: those of the log.
        self.wanted = wanted
        self.asked: LaneConfig | None = None  # the limits that were sent to the lane's log
        self.index = _index(state)
        self.particular = policies.particular(state)  # waiting runs whose policy is another than to wait; some are over
        # Holders that were notified of their slot since the lane was read. A crash may have come between grant and
        # notice, so the others are notified again. A second notice does no harm.
        self.notified: set[str] = set()
        self.cut: tuple[int, int] | None = None  # (facts, decisions) that the newest checkpoint replaces
        self.quiet = False  # it might have left memory when it was last asked

    def apply(self, event: ev.Event, seq: int) -> None:
        """Folds a fact from the log."""
        self.quiet = False
        state = self.state
        if isinstance(event, ev.LaneRequested):
            before = len(state.queue)
            evolve(state, event, seq)
            if len(state.queue) > before:
                slot = state.queue[next(reversed(state.queue))]
                self.index.add(slot.org, slot.priority, slot)
                if policies.is_particular(slot):
                    self.particular[slot.key] = slot
        elif isinstance(event, ev.LaneMoved):
            evolve(state, event, seq)
            before_key = slot_key(event.holder_run, event.step, event.attempt)
            if before_key in self.notified and before_key not in state.holders:
                self.notified.discard(before_key)
                self.notified.add(slot_key(event.to_run, event.step, event.attempt))
        elif isinstance(event, ev.LaneReleased):
            before = len(state.holders)
            evolve(state, event, seq)
            if len(state.holders) < before:
                self.index.count(event.holder_org, -1)
                self.notified.discard(slot_key(event.holder_run, event.step, event.attempt))
        else:
            evolve(state, event, seq)

    def may_go(self, now_ms: int) -> bool:
        """True if the lane may leave memory: a new one would decide the same, and no fact came since the last call.

        If a fact comes later, the fence refuses the new lane's decision, and the lane is read from the log.
        """
        state = self.state
        plain = state.idle and not state.timers and state.config == LaneConfig() and state.tat_us <= now_ms * 1000
        was_quiet, self.quiet = self.quiet, plain and state.out_seq > 0
        return was_quiet and self.quiet


def decide_lane(lane: Lane, now_ms: int) -> LaneDecisions:
    """Decides everything that can be decided now, at most about GRANTS_MAX grants."""
    state = lane.state
    # The server's clock fires the timers and may be ahead of this machine's, so it counts if it is a little ahead.
    ahead = 0 < state.clock - now_ms <= SKEW_MS_MAX
    out = LaneDecisions(state, state.clock if ahead else now_ms)
    if len(lane.notified) < len(state.holders) and not _notify_holders(lane, out):
        return out
    if state.since_checkpoint >= max(CHECKPOINT_EVENTS, 2 * (len(state.queue) + len(state.holders))):
        lane.cut = (state.facts_seq, state.out_seq)
        for body in list(checkpoint_parts(state)):
            out.emit(ev.LaneCheckpointed, state=body)
        lane.index = _index(state)
        lane.particular = policies.particular(state)
        out.more = True
        return out
    if lane.wanted is not None and lane.wanted != state.config:
        _configure(lane, out, lane.wanted)
    else:
        _grant(lane, out)
        if not out.more and lane.particular:
            lane.particular = policies.still_waiting(state, lane.particular)
            policies.settle(state, lane.particular, out, GRANTS_MAX)
    if not out.more:
        _refuse(lane, out)
    return out


def _notify_holders(lane: Lane, out: LaneDecisions) -> bool:
    """Notifies all holders of their slots. Returns False if this turn has no room for more."""
    for key, slot in lane.state.holders.items():
        if key not in lane.notified:
            if len(out.sends) >= GRANTS_MAX:
                out.more = True
                return False
            out.grant(slot)
            lane.notified.add(key)
    return True


def _configure(lane: Lane, out: LaneDecisions, wanted: LaneConfig) -> None:
    """Sends the limits that operators set to the lane's own log, once."""
    state = lane.state
    if lane.asked != wanted and state.lane:
        lane.asked = wanted
        out.send_to(
            subjects.key_of(state.org, state.run),
            ev.LaneConfigured,
            lane=state.lane,
            limit=wanted.limit,
            rate_per_s=wanted.rate_per_s,
            paused=wanted.paused,
        )


def _refuse(lane: Lane, out: LaneDecisions) -> None:
    state = lane.state
    while len(state.queue) > QUEUE_MAX:
        if len(out.decisions) >= GRANTS_MAX:
            out.more = True
            return
        slot = state.queue[next(reversed(state.queue))]
        out.decide(slot, ev.LaneRefused)
        text = f"{QUEUE_MAX} attempts wait for the lane {state.lane!r} already; raise its limit, or submit less"
        out.refuse(slot, ev.StepError(LANE_FULL, text, retry_after_ms=REFUSED_RETRY_MS))


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
        slot = lane.index.next()
        if slot is None:
            return
        longest_ago = next(iter(state.served), "")
        out.decide(slot, ev.LaneGranted)
        out.grant(slot)
        lane.notified.add(slot.key)
        lane.index.count(slot.org, 1)
        if longest_ago not in state.served:  # it was forgotten, and ranks as one that was never served
            lane.index.moved(longest_ago)


def _wake(state: LaneState, out: LaneDecisions, at_ms: int) -> None:
    timer = state.timers.get(RATE_TIMER)
    if timer is None or timer.fire_at > at_ms:
        out.emit(ev.TimerSet, timer=RATE_TIMER, kind="rate", fire_at=at_ms)


def _index(state: LaneState) -> Turns[SlotRequest]:
    """Returns the waiting attempts in the order of their turns. It is made anew after a checkpoint."""
    index: Turns[SlotRequest] = Turns(state.served, lambda slot: state.queue.get(slot.key) is slot)
    for slot in state.holders.values():
        index.count(slot.org, 1)
    for slot in state.queue.values():
        index.add(slot.org, slot.priority, slot)
    return index
