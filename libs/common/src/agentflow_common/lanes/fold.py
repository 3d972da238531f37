"""The state of a keyed lane, and the fold of its events (ADR 0004): shared by the scheduler and the gateway.

A lane is an entity in the log, as a run is. Its `in` holds the requests and releases of attempts. Its `out` holds
the grants. The two interleave as in log/fold.py: a decision says which facts it had seen. Each request and release is
part of a fenced append of its run, so each stands in the log once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from agentflow_common import events as ev
from agentflow_common import ids, subjects
from agentflow_common.errors import InvalidError
from agentflow_common.log.fold import LogFold
from agentflow_common.log.timers import TimerState
from agentflow_common.subjects import EntityKey

RATE_TIMER: Final = "rate"
TIMER_STEP_US: Final = 250_000  # the server fires a timer a quarter of a second after it was set, or later (measured)
INTERVAL_US_MAX: Final = 86_400_000_000  # one grant a day; to get no grants at all, the lane is paused
SKEW_US: Final = 1_000_000  # a larger difference means that the clock was set back
SERVED_MAX: Final = 1_000  # organisations whose turn is remembered; the oldest turn is forgotten first
CHECKPOINT_SLOTS: Final = 500  # in one part of a checkpoint: about 100 KB at most
LANE_FULL: Final = "lane_full"  # the type of the error of an attempt, or a run, that may not even wait
RUN_LANE: Final = "run:"  # what the names of run lanes begin with, and of no other lanes
LOCK: Final = "lock:"  # what the names of locks begin with; a lock is a keyed lane with one slot
RUN_STEP: Final = ""  # a whole run asks for its slot with this step and attempt
RUN_ATTEMPT: Final = 1


def is_lock(name: str) -> bool:
    """True for a lock, or a pattern of locks. Each has one slot, and no setting changes that."""
    return name.startswith(LOCK)


class SlotRequest(msgspec.Struct, omit_defaults=True):
    """An attempt, or a whole run, that waits for a slot or has one."""

    org: str
    run: str
    step: str
    attempt: int
    priority: int = 0
    at: int = 0  # when it asked for the slot, ms
    since: int = 0  # when it was given the slot, ms
    policy: str = ""  # of a run, see the definition's `run_lane`
    cancelling: bool = False  # a run that was asked to end, because another one takes its place

    @property
    def key(self) -> str:
        return slot_key(self.run, self.step, self.attempt)

    @property
    def place(self) -> str:
        """The run, or the run and the step, for messages."""
        return f"{self.run}/{self.step}" if self.step else self.run

    def fields(self) -> tuple[Any, ...]:
        """Returns the fields for a checkpoint, without those that attempts lack."""
        values = msgspec.structs.astuple(self)
        return values if self.policy or self.cancelling else values[:_OF_ATTEMPTS]


_OF_ATTEMPTS: Final = SlotRequest.__struct_fields__.index("policy")


class LaneConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """The limits that an operator has set for a lane."""

    limit: int | None = None  # None: the limit of the definitions
    rate_per_s: float | None = None  # None: the rate of the definitions; 0: unlimited
    paused: bool = False


class LaneState(msgspec.Struct, omit_defaults=True):
    """The state of a lane, folded from its log."""

    org: str
    run: str  # the id of its entity
    lane: str = ""  # its key
    config: LaneConfig = LaneConfig()
    configured_by: str = ""
    limit_declared: int = 1  # from the definition of the newest request
    rate_declared: float | None = None  # from the definition of the newest request
    holders: dict[str, SlotRequest] = {}  # by slot_key, in the order of their grants
    queue: dict[str, SlotRequest] = {}  # by slot_key, in the order of their requests
    grants: int = 0
    refusals: int = 0
    served: dict[str, int] = {}  # the number of each org's latest grant, the longest ago first
    # when the rate alone allows the next grant (the theoretical arrival time of GCRA, ITU-T I.371)
    tat_us: int = 0
    clock: int = 0  # the time of the newest timer that fired
    timers: dict[str, TimerState] = {}
    since_checkpoint: int = 0
    parts: list[dict[str, Any]] = []  # parts of a checkpoint that is being read
    facts_seq: int = 0
    out_seq: int = 0

    @property
    def limit(self) -> int:
        return self.limit_declared if self.config.limit is None else self.config.limit

    @property
    def rate_per_s(self) -> float | None:
        rate = self.rate_declared if self.config.rate_per_s is None else self.config.rate_per_s
        return rate or None

    @property
    def paused(self) -> bool:
        return self.config.paused

    @property
    def idle(self) -> bool:
        """True if no attempt has a slot or waits for one."""
        return not self.holders and not self.queue


def slot_key(run: str, step: str, attempt: int) -> str:
    return f"{run} {step} {attempt}"


def key_of_lane(lane: str) -> EntityKey:
    """Returns the entity whose subjects have the events of a lane."""
    digest = ids.run_id_for_key(subjects.LANE_ORG, lane).removeprefix("run_")
    return subjects.key_of(subjects.LANE_ORG, subjects.LANE_PREFIX + digest)


def new_state(lane: EntityKey) -> LaneState:
    return LaneState(org=lane.org, run=lane.name)


# --- the rate, as GCRA: any window of W seconds holds at most 1 + rate * (W + tolerance) grants ---


def interval_us(rate_per_s: float) -> int:
    return max(1, round(min(1_000_000 / rate_per_s, INTERVAL_US_MAX)))


def tolerance_us(interval: int) -> int:
    """Returns how much too early a grant may be, so that late timers don't reduce the throughput."""
    return TIMER_STEP_US if interval < TIMER_STEP_US else 0


def rate_wait_us(state: LaneState, now_ms: int) -> int:
    """Returns how many microseconds the rate alone delays the next grant."""
    rate = state.rate_per_s
    if rate is None:
        return 0
    interval = interval_us(rate)
    tolerance = tolerance_us(interval)
    ahead = state.tat_us - now_ms * 1000
    if ahead > tolerance + interval + SKEW_US:  # the clock was set back, or the rate was raised: start again
        return 0
    return max(0, ahead - tolerance)


def _use_rate(state: LaneState, ts: int) -> None:
    """Counts a grant at this time, in ms, against the rate."""
    rate = state.rate_per_s
    if rate is None:
        state.tat_us = 0
        return
    interval = interval_us(rate)
    now_us = ts * 1000
    anew = state.tat_us > now_us + tolerance_us(interval) + interval + SKEW_US
    state.tat_us = (now_us if anew else max(state.tat_us, now_us)) + interval


# --- the fold ---


def evolve(state: LaneState, event: ev.Event, seq: int) -> None:
    """Folds one event into the state, in place. A sequence that was folded before changes nothing."""
    if isinstance(event, ev.Decision):
        handler = _DECISIONS.get(type(event))
        if handler is None or 0 < seq <= state.out_seq:
            return
        state.out_seq = seq or state.out_seq
    else:
        handler = _FACTS.get(type(event))
        if handler is None or 0 < seq <= state.facts_seq:
            return
        state.facts_seq = seq or state.facts_seq
    state.since_checkpoint += 1
    handler(state, event)


class LaneFold(LogFold[LaneState]):
    """Folds a lane's log in sequence order. The log may lack any part of what comes before its newest checkpoint."""

    def __init__(self, lane: EntityKey, state: LaneState | None = None) -> None:
        super().__init__(state or new_state(lane), _FACTS, evolve)


def _check(state: LaneState, lane: str) -> None:
    """Raises InvalidError for a fact about another lane, which none of our services writes."""
    if lane != state.lane and key_of_lane(lane).name != state.run:
        raise InvalidError(f"{state.run} is not the lane {lane[:80]!r}", kind="misplaced")


def _requested(state: LaneState, event: ev.LaneRequested) -> None:
    _check(state, event.lane)
    ids.check_token(event.holder_org, "holder_org")  # otherwise neither it nor any holder after it could be notified
    ids.check_token(event.holder_run, "holder_run")
    if event.limit < 1:
        raise InvalidError(f"a limit of {event.limit}", kind="out_of_range")
    state.lane = event.lane
    state.limit_declared = event.limit
    state.rate_declared = event.rate_per_s
    place = (event.holder_org, event.holder_run, event.step, event.attempt)
    slot = SlotRequest(*place, event.priority, event.ts, policy=event.policy)
    if slot.key not in state.holders:
        state.queue.setdefault(slot.key, slot)


def _released(state: LaneState, event: ev.LaneReleased) -> None:
    key = slot_key(event.holder_run, event.step, event.attempt)
    if state.holders.pop(key, None) is None:
        state.queue.pop(key, None)


def _moved(state: LaneState, event: ev.LaneMoved) -> None:
    """Gives the slot of a run to the one that goes on in its place. A cancel follows the run there by itself."""
    ids.check_token(event.to_run, "to_run")
    slot = state.holders.pop(slot_key(event.holder_run, event.step, event.attempt), None)
    if slot is not None:
        moved = msgspec.structs.replace(slot, run=event.to_run)
        state.holders[moved.key] = moved


def _configured(state: LaneState, event: ev.LaneConfigured) -> None:
    _check(state, event.lane)
    state.lane = event.lane
    state.config = LaneConfig(event.limit, event.rate_per_s, event.paused)
    state.configured_by = event.by


def _timer_fired(state: LaneState, event: ev.TimerFired) -> None:
    timer = state.timers.get(event.timer)
    if timer is not None and event.ts >= timer.fire_at:
        del state.timers[event.timer]
    state.clock = event.ts


def _granted(state: LaneState, event: ev.LaneGranted) -> None:
    key = slot_key(event.holder_run, event.step, event.attempt)
    slot = state.queue.pop(key, None) or SlotRequest(event.holder_org, event.holder_run, event.step, event.attempt)
    slot.since = event.ts
    state.holders[key] = slot
    state.grants += 1
    state.served.pop(slot.org, None)
    state.served[slot.org] = state.grants
    if len(state.served) > SERVED_MAX:
        del state.served[next(iter(state.served))]
    _use_rate(state, event.ts)


def _cancelling(state: LaneState, event: ev.LaneCancelling) -> None:
    slot = state.holders.get(slot_key(event.holder_run, event.step, event.attempt))
    if slot is not None:
        slot.cancelling = True


def _refused(state: LaneState, event: ev.LaneRefused) -> None:
    state.queue.pop(slot_key(event.holder_run, event.step, event.attempt), None)
    state.refusals += 1


def _timer_set(state: LaneState, event: ev.TimerSet) -> None:
    state.timers[event.timer] = TimerState(event.kind, event.fire_at, event.step, event.attempt)


# --- checkpoints: the whole state, in parts that go out in one atomic batch ---

_HEAD: Final = {"holders", "queue", "parts", "since_checkpoint", "facts_seq", "out_seq"}


def checkpoint_parts(state: LaneState) -> Iterator[dict[str, Any]]:
    """Yields the state in parts: the `state` of each `lane.checkpointed`."""
    holders, queue = list(state.holders.values()), list(state.queue.values())
    slots = [*holders, *queue]
    count = max(1, -(-len(slots) // CHECKPOINT_SLOTS))
    for part in range(count):
        start = part * CHECKPOINT_SLOTS
        body: dict[str, Any] = {
            "part": part,
            "parts": count,
            "slots": [slot.fields() for slot in slots[start : start + CHECKPOINT_SLOTS]],
        }
        if part == 0:
            head = {name: value for name, value in msgspec.structs.asdict(state).items() if name not in _HEAD}
            body["head"] = msgspec.to_builtins(head)
            body["holders"] = len(holders)
        yield body


def _checkpointed(state: LaneState, event: ev.LaneCheckpointed) -> None:
    """Collects the parts of a checkpoint; the last one replaces the state. A part after a missing one is ignored."""
    part, count = int(event.state["part"]), int(event.state["parts"])
    if part == 0:
        state.parts = []
    if len(state.parts) == part:
        state.parts.append(event.state)
    if part + 1 < count or len(state.parts) < count:
        return
    parts, state.parts = state.parts, []
    whole = msgspec.convert(parts[0]["head"], LaneState)
    slots = [SlotRequest(*fields) for body in parts for fields in body["slots"]]
    holders_count = int(parts[0]["holders"])
    whole.holders = {slot.key: slot for slot in slots[:holders_count]}
    whole.queue = {slot.key: slot for slot in slots[holders_count:]}
    whole.facts_seq, whole.out_seq = max(state.facts_seq, event.seen), state.out_seq
    for name in LaneState.__struct_fields__:
        setattr(state, name, getattr(whole, name))


_FACTS: Final[dict[type[ev.Event], Any]] = {
    ev.LaneRequested: _requested,
    ev.LaneReleased: _released,
    ev.LaneMoved: _moved,
    ev.LaneConfigured: _configured,
    ev.TimerFired: _timer_fired,
}
_DECISIONS: Final[dict[type[ev.Event], Any]] = {
    ev.LaneGranted: _granted,
    ev.LaneRefused: _refused,
    ev.LaneCancelling: _cancelling,
    ev.LaneCheckpointed: _checkpointed,
    ev.TimerSet: _timer_set,
}
