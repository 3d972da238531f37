"""Keyed lanes against a simulated log: order, limits, rates, crashes, duplicates, checkpoints and trimming."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentflow_common import events as ev
from agentflow_common.lanes.fold import LaneConfig, LaneFold, LaneState, SlotRequest, key_of_lane, new_state, slot_key
from agentflow_scheduler.lanes import machine as lanes
from agentflow_scheduler.lanes.machine import Lane, decide_lane
from agentflow_scheduler.replay.state_hash import state_hash

KEY = key_of_lane("acme-7")


def ids(event: Any) -> str:
    return slot_key(event.holder_run, event.step, event.attempt)


class World:
    """A log whose facts reach the lane when the seed says, twice at times; every append is all or nothing."""

    def __init__(self, seed: int, limit: int, rate: float | None = None) -> None:
        self.random = random.Random(seed)
        self.log: list[tuple[int, ev.Event]] = []
        self.seq = 0
        self.now = 1_000_000
        self.limit, self.rate = limit, rate
        self.lane = Lane(new_state(KEY))
        self.unseen: list[tuple[int, ev.Event]] = []
        self.told: Counter[tuple[str, str]] = Counter()
        self.grants: list[tuple[int, str]] = []
        self.crashes = 0.0
        self.asked: list[str] = []
        self.left: set[str] = set()

    def append(self, event: ev.Event) -> int:
        self.seq += 1
        event = ev.decode(ev.encode(event))
        self.log.append((self.seq, event))
        return self.seq

    def fact(self, event: ev.Event) -> None:
        seq = self.append(event)
        self.unseen.append((seq, self.log[-1][1]))

    def request(self, org: str, priority: int = 0) -> str:
        run = f"run_{self.random.randrange(100)}_{len(self.asked)}"
        event = ev.LaneRequested(
            org=KEY.org, run=KEY.name, ts=self.now, lane="acme-7", holder_org=org, holder_run=run,
            step="s", attempt=1, priority=priority, limit=self.limit, rate_per_s=self.rate,
        )  # fmt: skip
        self.fact(event)
        self.asked.append(ids(event))
        return ids(event)

    def release(self, slot: SlotRequest) -> None:
        self.fact(
            ev.LaneReleased(
                org=KEY.org,
                run=KEY.name,
                ts=self.now,
                lane="acme-7",
                holder_org=slot.org,
                holder_run=slot.run,
                step=slot.step,
                attempt=slot.attempt,
            )
        )

    def deliver(self, count: int | None = None) -> None:
        for _ in range(len(self.unseen) if count is None else min(count, len(self.unseen))):
            seq, event = self.unseen.pop(0)
            self.lane.apply(event, seq)
            if isinstance(event, ev.LaneReleased):
                assert ids(event) not in self.lane.state.holders | self.lane.state.queue
            if self.random.random() < 0.2:
                self.lane.apply(event, seq)

    def refolded(self) -> LaneState:
        """What the log says without the facts that the lane has not got yet."""
        unseen = {seq for seq, _ in self.unseen}
        folding = LaneFold(KEY)
        for seq, event in self.log:
            if seq not in unseen:
                folding.add(event, seq)
        return folding.finish()

    def decide(self, *, lose: bool = False) -> None:
        """One turn, checked against the plain rule; lose: a crash before the append."""
        while True:
            refolded = self.refolded()
            assert state_hash(refolded) == state_hash(self.lane.state)
            assert list(refolded.queue) == list(self.lane.state.queue)
            assert list(refolded.served) == list(self.lane.state.served)
            twin = Lane(refolded, self.lane.wanted)
            twin.asked = self.lane.asked
            twin.notified = set(self.lane.notified)
            before = Lane(msgspec.json.decode(msgspec.json.encode(refolded), type=LaneState))
            out = decide_lane(self.lane, self.now)
            again = decide_lane(twin, self.now)
            assert again.decisions == out.decisions
            assert again.sends == out.sends
            self.check_order(before, out)
            if lose:
                self.lane = Lane(self.refolded(), self.lane.wanted)
                return
            for decision in out.decisions:
                self.lane.state.out_seq = self.append(decision)
                if isinstance(decision, ev.LaneGranted):
                    self.grants.append((decision.ts, ids(decision)))
                if isinstance(decision, ev.TimerSet):
                    self.timer(decision)
            whole = any(isinstance(decision, ev.LaneRefused) for decision in out.decisions)  # an atomic batch
            crashed = not out.more and not whole and self.random.random() < self.crashes
            for key, event in out.sends:
                if crashed and self.random.random() < 0.5:
                    continue
                if key != KEY:
                    assert isinstance(event, ev.SlotGranted | ev.SlotRefused)
                    self.told[slot_key(event.run, event.step, event.attempt), ev.event_type(event)] += 1
                else:
                    self.fact(event)
            if crashed:  # between the decisions and (some of) what they send
                self.lane = Lane(self.refolded(), self.lane.wanted)
                continue
            if not out.more:
                self.check_rest()
                return

    def timer(self, decision: ev.TimerSet) -> None:
        self.due = decision.fire_at

    due: int | None = None

    def tick(self, ms: int) -> None:
        self.now += ms
        if self.due is not None and self.now >= self.due:
            self.due = None
            self.fact(
                ev.TimerFired(org=KEY.org, run=KEY.name, ts=self.now, timer="rate", kind="rate", step="", attempt=0)
            )

    def check_order(self, before: Lane, out: lanes.LaneDecisions) -> None:
        """Every grant goes to whom the rule names, found by looking at all who wait."""
        state = before.state
        for decision in out.decisions:
            if isinstance(decision, ev.LaneGranted):
                assert len(state.holders) < state.limit
                assert not state.paused
                held = Counter(slot.org for slot in state.holders.values())
                order = list(state.queue)

                def rank(
                    key: str, held: Counter[str] = held, state: LaneState = state, order: list[str] = order
                ) -> tuple[int, int, int, str, int]:
                    slot = state.queue[key]
                    return (-slot.priority, held[slot.org], state.served.get(slot.org, 0), slot.org, order.index(key))

                assert ids(decision) == min(state.queue, key=rank)
            before.apply(decision, 0)

    def check_rest(self) -> None:
        """Nothing that could be granted is left, and who has a slot was told so."""
        state = self.lane.state
        free = len(state.holders) < state.limit and not state.paused
        if state.rate_per_s is None and self.lane.wanted in (None, state.config):
            assert not (state.queue and free)
        for key in state.holders:
            assert self.told[key, "slot.granted"] >= 1
        assert len(state.queue) <= lanes.QUEUE_MAX

    def trim(self) -> None:
        """What stands before the newest whole checkpoint goes, facts and decisions each up to a place of their own."""
        last = [i for i, (_, e) in enumerate(self.log) if isinstance(e, ev.LaneCheckpointed)]
        if not last:
            return
        newest = self.log[last[-1]][1]
        assert isinstance(newest, ev.LaneCheckpointed)
        first = last[-1] - newest.state["part"]
        facts = self.random.randint(0, newest.seen)
        decisions = self.random.randint(0, self.log[first][0] - 1)
        self.log = [
            (seq, e) for seq, e in self.log if seq > (decisions if isinstance(e, ev.Decision) else facts)
        ]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 5), st.sampled_from([None, None, 2.0, 50.0]), st.data())
def test_a_lane_lives_through_anything(seed: int, limit: int, rate: float | None, data: st.DataObject) -> None:
    world = World(seed, limit, rate)
    world.crashes = 0.1
    draw = world.random
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lanes, "CHECKPOINT_EVENTS", data.draw(st.sampled_from([5, 20, 3000])))
        patch.setattr("agentflow_common.lanes.fold.CHECKPOINT_SLOTS", data.draw(st.integers(1, 4)))
        patch.setattr("agentflow_common.lanes.fold.SERVED_MAX", data.draw(st.integers(1, 4)))
        patch.setattr(lanes, "QUEUE_MAX", data.draw(st.sampled_from([5, 100])))
        patch.setattr(lanes, "GRANTS_MAX", data.draw(st.sampled_from([1, 3, 300])))
        for _ in range(data.draw(st.integers(1, 60))):
            act(world, draw)
        # in the end everybody is served or was refused
        world.lane.wanted = LaneConfig()
        for _ in range(400):
            world.tick(1000)
            for slot in list(world.lane.state.holders.values()):
                world.release(slot)
            world.deliver()
            world.decide()
            if world.lane.state.idle and not world.unseen:
                break
        assert world.lane.state.idle
        assert state_hash(world.refolded()) == state_hash(world.lane.state)
        answered = {key for key, _ in world.told}
        assert set(world.asked) - answered <= world.left, "who did not leave the queue was answered"


def act(world: World, draw: random.Random) -> None:
    state = world.lane.state
    kind = draw.choices(
        ["request", "release", "leave", "deliver", "decide", "crash", "tick", "configure", "trim", "noise"],
        [6, 4, 1, 4, 4, 1, 2, 1, 1, 1],
    )[0]
    if kind == "request":
        for _ in range(draw.randint(1, 4)):
            world.request(draw.choice("abcdef"), draw.choice([0, 0, 0, 5, -1]))
    elif kind == "release" and state.holders:
        world.release(draw.choice(list(state.holders.values())))
    elif kind == "leave" and state.queue:
        leaving = draw.choice(list(state.queue.values()))
        world.left.add(leaving.key)
        world.release(leaving)
    elif kind == "deliver":
        world.deliver(draw.randint(1, 5))
    elif kind == "decide":
        world.decide()
    elif kind == "crash":
        world.decide(lose=True)
    elif kind == "tick":
        world.tick(draw.choice([1, 20, 300, 2000]))
    elif kind == "configure":
        world.lane.wanted = LaneConfig(
            draw.choice([None, 1, 3]), draw.choice([None, 0, 10.0]), paused=draw.random() < 0.3
        )
    elif kind == "trim":
        world.trim()
    elif kind == "noise":
        known = list((state.holders | state.queue).values())
        if known:  # a second request of one that waits or has its slot
            slot = draw.choice(known)
            world.fact(
                ev.LaneRequested(
                    org=KEY.org,
                    run=KEY.name,
                    ts=world.now,
                    lane="acme-7",
                    holder_org=slot.org,
                    holder_run=slot.run,
                    step=slot.step,
                    attempt=slot.attempt,
                    limit=world.limit,
                    rate_per_s=world.rate,
                )
            )
        world.release(SlotRequest("a", f"run_{draw.randint(1, 50)}_never", "s", 1))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.5, 2000), st.integers(1, 50))
def test_no_window_holds_more_grants_than_the_rate_allows(seed: int, rate: float, limit: int) -> None:
    world = World(seed, limit=limit, rate=rate)
    for _ in range(60):
        world.request(world.random.choice("ab"))
    while world.lane.state.queue or world.unseen or world.lane.state.holders:
        world.tick(world.random.choice([1, 3, 250, 251]) if rate > 3 else 260)
        world.deliver()
        world.decide()
        for slot in list(world.lane.state.holders.values()):
            world.release(slot)
    times = [at for at, _ in world.grants]
    assert len(times) == 60
    for first in range(len(times)):
        for last in range(first, len(times)):
            window_s = (times[last] - times[first]) / 1000
            # a timestamp has a whole millisecond
            assert last - first + 1 <= 1 + rate * (window_s + 0.001 + (0.25 if rate > 4 else 0)) * 1.000001


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 6), st.integers(1, 4))
def test_no_org_starves_behind_the_backlog_of_another(seed: int, orgs: int, limit: int) -> None:
    """Everybody who keeps asking is served in turn, whatever the lengths of their queues."""
    world = World(seed, limit)
    names = "abcdefg"[:orgs]
    backlog = {name: world.random.choice([1, 2, 40]) for name in names}
    waits: Counter[str] = Counter()
    for name in names:
        for _ in range(backlog[name]):
            world.request(name)
    world.deliver()
    for _ in range(60):
        before = {slot.org for slot in world.lane.state.queue.values()}
        served = len(world.grants)
        world.decide()
        state = world.lane.state
        new = [key for _, key in world.grants[served:]]
        holding = {slot.org for slot in state.holders.values()}
        for name in names:
            waits[name] = waits[name] + len(new) if name in before - holding else 0
            assert waits[name] < orgs, "each other org goes before one that has nothing at most once"
        slot = world.random.choice(list(state.holders.values()))
        world.release(slot)
        world.request(slot.org)
        world.deliver()


def test_a_higher_priority_goes_first_and_a_lower_one_waits() -> None:
    world = World(1, limit=1)
    low, high = world.request("a", 0), world.request("a", 9)
    world.deliver()
    world.decide()
    world.release(world.lane.state.holders[high])
    world.deliver()
    world.decide()
    assert [key for _, key in world.grants] == [high, low]


def test_a_limit_that_is_lowered_takes_no_slot_away_and_gives_none_until_it_is_kept() -> None:
    world = World(1, limit=3)
    for _ in range(6):
        world.request("a")
    world.deliver()
    world.decide()
    assert len(world.lane.state.holders) == 3
    world.lane.wanted = LaneConfig(limit=1)
    for left in (2, 1, 1, 1):
        world.decide()
        world.release(next(iter(world.lane.state.holders.values())))
        world.deliver()
        world.decide()
        assert len(world.lane.state.holders) == left
    assert world.lane.state.limit == 1


def test_what_operators_set_is_in_the_log_before_the_next_grant() -> None:
    world = World(1, limit=3)
    world.request("a")
    world.lane.wanted = LaneConfig(paused=True)
    world.deliver()
    world.decide()
    world.decide()
    assert len(world.unseen) == 1, "it asks once"
    world.deliver()
    world.decide()
    assert (world.lane.state.paused, len(world.lane.state.holders)) == (True, 0)


def test_a_clock_that_is_set_back_does_not_stop_the_lane() -> None:
    world = World(1, limit=100, rate=1.0)
    world.now += 3_600_000
    for _ in range(5):
        world.request("a")
    world.deliver()
    world.decide()
    world.now -= 3_600_000
    world.decide()
    assert len(world.lane.state.holders) == 2, "one at once, and then at the rate again"
    world.decide()
    assert len(world.lane.state.holders) == 2


def test_a_full_lane_refuses_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "QUEUE_MAX", 2)
    world = World(1, limit=1)
    keys = [world.request("a") for _ in range(5)]
    world.deliver()
    world.decide()
    assert [key for key, kind in world.told if kind == "slot.refused"] == [keys[4], keys[3]]
    assert list(world.lane.state.holders) == keys[:1]
