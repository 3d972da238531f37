"""A schedule whose log is cut: what is folded from the rest, from an old snapshot or from nothing, is the same."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentflow_common import events as ev
from agentflow_common.schedules import fire_times
from agentflow_common.schedules.changes import keeps_times
from agentflow_common.schedules.fold import ScheduleFold
from agentflow_common.schedules.state import ScheduleState
from agentflow_scheduler.replay.state_hash import state_hash
from agentflow_scheduler.schedules import machine as schedules
from agentflow_scheduler.schedules.machine import CHECKPOINT_EVERY, CHECKPOINT_PAYLOADS_MAX

from .schedule_world import BASE, POLICIES, T0, World, spec_of


class CutWorld(World):
    """gone: sequences that are out of the log. cuts: (facts, decisions) of checkpoints, and of the end."""

    def __init__(self, seed: int, spec: dict[str, Any]) -> None:
        self.gone: set[int] = set()
        self.cuts: list[tuple[int, int]] = []
        super().__init__(seed, spec)

    def left(self, after: int = 0) -> list[tuple[int, ev.Event]]:
        return [(seq, event) for seq, event in self.log if seq > after and seq not in self.gone]

    def folded(self, state: ScheduleState | None = None, after: int = 0) -> Any:
        fold = ScheduleFold(copy.deepcopy(state))
        for seq, event in self.left(after):
            fold.add(event, seq)
        return fold.finish()

    def whole(self) -> Any:
        """As it would be if nothing were gone."""
        fold = ScheduleFold()
        for seq, event in self.log:
            fold.add(event, seq)
        return fold.finish()

    def turn(self) -> None:
        super().turn()
        if self.memory is not None and self.memory.cut is not None:
            self.cuts.append(self.memory.cut)
            self.memory.cut = None

    def trim(self) -> None:
        """Makes a cut, or a part of one: whoever makes it may be killed on the way."""
        if not self.cuts:
            return
        facts, decisions = self.random.choice(self.cuts)
        listed = max((seq for seq, event in self.log if isinstance(event, ev.ScheduleListed)), default=0)
        going = [[seq for seq, event in self.log if seq <= facts and not isinstance(event, ev.Decision)]]
        kinds: list[type[ev.Decision]] = [ev.ScheduleListed, ev.ScheduleFired, ev.ScheduleCheckpointed, ev.Decision]
        going += [[n for n, e in self.log if n <= decisions and isinstance(e, kind) and n != listed] for kind in kinds]
        for part in going[: self.random.randrange(len(going) + 1)]:
            self.gone.update(part)


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules, "CHECKPOINT_EVERY", 7)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32), st.sampled_from(POLICIES))
def test_what_is_left_after_a_cut_says_the_same(often: None, seed: int, policy: str) -> None:
    world = CutWorld(seed, spec_of(overlap=policy, buffer_max=3, catchup_window="20s"))
    snapshots = [(world.seq, world.whole())]
    for _ in range(12):
        world.play(8, control=True)
        if world.memory is not None and world.random.random() < 0.5:
            world.load()
            snapshots.append((world.position, copy.deepcopy(world.memory.state)))
        world.trim()
        assert state_hash(world.folded()) == state_hash(world.whole())
        for seq, state in snapshots:
            tail = world.left(seq)
            torn = any(isinstance(e, ev.Decision) and e.seen < state.facts_seq and n > state.out_seq for n, e in tail)
            # one that is torn is read from its own log alone
            assert torn or state_hash(world.folded(state, seq)) == state_hash(world.whole())


def test_of_a_schedule_that_is_deleted_one_word_stays_which_old_snapshots_need() -> None:
    world = CutWorld(1, spec_of())
    world.crashes = False
    world.wait(5_000)
    world.turn()
    before = world.seq, copy.deepcopy(world.folded())
    world.fact(ev.ScheduleDeleted(**BASE, ts=world.now))
    world.turn()
    facts, decisions = world.cuts[-1]
    listed = world.seq
    world.gone = {n for n, e in world.log if n <= (decisions if isinstance(e, ev.Decision) else facts)}
    (left,) = world.left()
    assert left[0] == listed and isinstance(left[1], ev.ScheduleListed)
    assert (left[1].status, left[1].spec) == ("deleted", {})
    assert world.folded() is None
    assert world.folded(before[1], before[0]).over
    world.fact(ev.ScheduleCreated(**BASE, ts=world.now, name="nightly", uid="u2", spec=spec_of()))
    again = world.folded()
    assert (again.uid, again.over, again.number) == ("u2", False, 0)
    assert again.out_seq == listed, "its first decision is fenced by the last one"


def test_a_change_that_leaves_the_times_alone_loses_none_of_those_that_are_late() -> None:
    world = World(1, spec_of(overlap="allow", jitter="4s"), crashes=False)
    world.turn()
    for number in range(40):
        world.now += 1_500  # its timer is late: each change comes first
        world.fact(ev.ScheduleUpdated(**BASE, ts=world.now, spec={**world.folded().spec, "tags": {"n": str(number)}}))
        world.turn()
    world.settle()
    state = world.folded()
    fired = [event.at for event in world.of(ev.ScheduleFired)]
    assert fired == world.spec().timetable(T0).between(T0 + 1, state.position, 10_000)
    world.fact(ev.ScheduleUpdated(**BASE, ts=world.now + 60_000, spec={**state.spec, "cron": ["@every 7s"]}))
    assert world.folded().position == world.now + 60_000, "none of the new times is from before"


def test_another_holiday_far_away_loses_no_time_that_is_late() -> None:
    world = World(1, spec_of(overlap="allow", holidays=["01-01"]), crashes=False)
    world.turn()

    def change(**more: Any) -> None:
        world.now += 12_000
        world.fact(ev.ScheduleUpdated(**BASE, ts=world.now, spec={**world.folded().spec, **more}))
        world.turn()

    change(holidays=["01-01", "12-25"])
    assert [event.at for event in world.of(ev.ScheduleFired)] == [T0 + 5_000, T0 + 10_000]
    today = fire_times.from_ms(T0).strftime("%m-%d")
    change(holidays=["12-25", today])
    change(holidays=["12-25"])
    assert len(world.of(ev.ScheduleFired)) == 2, "of a day that was closed or opened meanwhile only what comes counts"
    change(holidays=["12-25"], tags={"n": "1"})
    assert len(world.of(ev.ScheduleFired)) == 4


def test_a_calendar_counts_by_the_days_that_it_adds_or_takes() -> None:
    spec, day = {"cron": ["@daily"], "calendars": ["bank"]}, 86_400_000
    stretch = range(T0, T0 + day)
    today = fire_times.from_ms(T0).strftime("%Y-%m-%d")

    def kept(old: list[str], new: list[str], **more: Any) -> bool:
        return keeps_times(spec, {"bank": old}, {**spec, **more}, {"bank": new}, stretch)

    assert kept([], ["2030-12-25"]) and kept([today], ["03-03", today])
    assert not kept([], [today]) and not kept([today], []) and not kept([], [today[5:]])
    assert kept([today], [], holidays=[today]), "the same day, told elsewhere"
    assert not kept([], [], windows=["09:00-17:00"])
    long = range(T0 - 100 * day, T0)
    assert not keeps_times(spec, {}, {**spec, "holidays": ["12-25"]}, {}, long)
    assert keeps_times(spec, {}, {**spec, "tags": {"a": "b"}}, {}, long)


@pytest.mark.parametrize("payload", [ev.Payload(), ev.Payload(value={"order": 7})])
def test_a_full_buffer_does_not_put_off_checkpoints_for_ever(payload: ev.Payload) -> None:
    world = World(1, spec_of(overlap="buffer_all", buffer_max=CHECKPOINT_PAYLOADS_MAX + 10), crashes=False)
    for number in range(3 * CHECKPOINT_EVERY):
        world.fact(ev.ScheduleTriggered(**BASE, ts=world.now, id=str(number), kind="webhook", payload=payload))
        world.turn()
    assert len(world.folded().buffer) == CHECKPOINT_PAYLOADS_MAX + 10
    assert len(world.of(ev.ScheduleCheckpointed)) >= 2
