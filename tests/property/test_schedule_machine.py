"""The schedule's machine against a simulated log: late wake-ups, crashes between appends, repeated deliveries."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentflow_common import events as ev
from agentflow_common.schedules.fold import RECENT_MAX, ScheduleFold, new_state
from agentflow_common.schedules.state import TIMER
from agentflow_scheduler.replay.state_hash import state_hash
from agentflow_scheduler.schedules.machine import CHECKPOINT_EVERY, DECISIONS_MAX, Schedule, decide_schedule

from .schedule_world import BASE, NAME, POLICIES, T0, World, decided, spec_of


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(POLICIES), st.sampled_from([0, 2_000]))
def test_every_time_is_fired_or_passed_over_and_never_both(seed: int, policy: str, jitter: int) -> None:
    world = World(seed, spec_of(overlap=policy, jitter_ms=jitter, buffer_max=3, catchup_window="20s"))
    world.play(60, control=False)
    world.settle()
    fired, skipped = decided(world)
    state = world.folded()
    planned = world.spec().timetable(T0).between(T0 + 1, state.position, 100_000)
    covered: list[int] = list(fired)
    for first, last, count in skipped:
        passed = [at for at in planned if first <= at <= last]
        assert len(passed) == count
        covered += passed
    assert sorted(covered) == planned, "a time was lost or decided twice"
    assert len(planned) > 50
    assert {e.child for e in world.of(ev.ScheduleFired)} == set(world.runs)
    assert len(world.of(ev.ScheduleFired)) == len(world.runs), "one fire is one run"


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(POLICIES))
def test_overlap_bounds_and_the_end_hold_whatever_happens(seed: int, policy: str) -> None:
    world = World(seed, spec_of(overlap=policy, buffer_max=2, catchup_window="20s"))
    world.play(80, control=True)
    open_runs: set[str] = set()
    waiting = 0
    backfills = any(e.overlap == "allow" for e in world.of(ev.ScheduleBackfillRequested))
    for _, event in world.log:
        if isinstance(event, ev.ScheduleFired):
            open_runs.add(event.child)
            if policy != "allow" and not backfills:
                assert len(open_runs) == 1, "two runs at a time"
        elif isinstance(event, ev.ChildEnded):
            open_runs.discard(event.child)
        elif isinstance(event, ev.ScheduleBuffered):
            waiting += 1
    assert policy in {"buffer_one", "buffer_all", "cancel"} or waiting == 0
    if not world.folded().paused:
        world.fact(ev.SchedulePaused(**BASE, ts=world.now))
    world.settle()
    state = world.folded()
    assert not state.active and not state.buffer and not state.backfills and not state.inbox
    causes = [(e.cause, e.id, e.at) for e in world.of(ev.ScheduleFired)]
    assert len(causes) == len(set(causes)), "a fire was decided twice"
    ids = {(e.kind, e.id) for e in world.of(ev.ScheduleTriggered)}
    over = [*world.of(ev.ScheduleFired), *world.of(ev.ScheduleSkipped)]
    ended = [(e.cause, e.id) for e in over if e.cause not in {"time", "backfill"}]
    assert set(ended) == ids, "each trigger fires or is passed over"
    assert len(ended) == len(set(ended)), "a delivery counts once"


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(POLICIES))
def test_so_many_times_fire_and_then_none(seed: int, policy: str) -> None:
    world = World(seed, spec_of(overlap=policy, buffer_max=2, catchup_window="20s", runs_max=7))
    world.play(60, control=True)
    if world.folded().paused:
        world.fact(ev.ScheduleResumed(**BASE, ts=world.now))
    world.settle()
    state = world.folded()
    assert sum(event.cause == "time" for event in world.of(ev.ScheduleFired)) == state.timed == 7
    assert (world.of(ev.ScheduleListed)[-1].status, state.timers) == ("finished", {})
    passed = [event.until or event.at for event in world.of(ev.ScheduleSkipped) if event.cause == "time"]
    assert all(at <= state.position for at in passed), "what is no time is not told"
    changed = world.now
    world.fact(ev.ScheduleUpdated(**BASE, ts=world.now, spec={**state.spec, "runs_max": 2}))
    world.settle()
    again = [event.at for event in world.of(ev.ScheduleFired) if event.cause == "time"][7:]
    assert len(again) == 2 and again[0] > changed


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(POLICIES))
def test_the_fold_of_the_log_is_the_state_in_memory(seed: int, policy: str) -> None:
    world = World(seed, spec_of(overlap=policy), crashes=False)
    world.play(40, control=True)
    schedule = world.load()
    assert state_hash(schedule.state) == state_hash(world.folded())
    again = decide_schedule(Schedule(world.folded()), world.now)
    assert decide_schedule(schedule, world.now).decisions == again.decisions


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32))
def test_under_cancel_the_running_one_is_told_once_and_after_it_had_started(seed: int) -> None:
    world = World(seed, spec_of(overlap="cancel"))
    world.play(60, control=False)
    told = [e.child for e in world.of(ev.ScheduleCancelling)]
    assert len(told) == len(set(told))
    assert set(told) == world.cancelled
    started: set[str] = set()
    for _, event in world.log:
        if isinstance(event, ev.ScheduleStarted):
            started.add(event.child)
        elif isinstance(event, ev.ScheduleCancelling):
            assert event.child in started


def test_a_pause_is_told_and_not_made_up_for() -> None:
    world = World(1, spec_of(), crashes=False)
    world.turn()
    world.fact(ev.SchedulePaused(**BASE, ts=T0, reason="release"))
    world.turn()
    world.wait(60_000)
    world.turn()
    assert world.of(ev.ScheduleFired) == []
    world.fact(ev.ScheduleResumed(**BASE, ts=world.now))
    world.turn()
    skipped = world.of(ev.ScheduleSkipped)
    assert [(e.reason, e.count) for e in skipped] == [("paused", 12)]
    world.wait(5_000)
    world.turn()
    assert [e.at for e in world.of(ev.ScheduleFired)] == [T0 + 65_000]
    assert [e.status for e in world.of(ev.ScheduleListed)] == ["active", "paused", "active"]


def test_what_is_missed_within_the_window_is_made_up_for_and_the_rest_is_told() -> None:
    world = World(1, spec_of(overlap="allow", catchup_window="20s"), crashes=False)
    world.turn()
    world.wait(100_000)
    world.turn()
    assert [(e.reason, e.count, e.until) for e in world.of(ev.ScheduleSkipped)] == [("too_late", 15, T0 + 75_000)]
    assert [e.at for e in world.of(ev.ScheduleFired)] == [T0 + s * 1000 for s in (80, 85, 90, 95, 100)]


def test_a_long_sleep_is_decided_in_bounded_turns() -> None:
    world = World(1, spec_of(cron="@every 1s", overlap="allow", catchup_window="10m"), crashes=False)
    world.turn()
    world.wait(366 * 86_400_000)
    world.turn()
    assert len(world.log) < 2 * DECISIONS_MAX
    turns = 1
    while world.timer is not None and world.timer[0] <= world.now:  # what is left wakes it by itself
        world.wait(0)
        world.turn()
        turns += 1
    assert 3 <= turns <= 6
    fired = [e.at for e in world.of(ev.ScheduleFired)]
    assert fired == [world.now - s * 1000 for s in range(600, -1, -1)]


def test_a_schedule_that_is_made_again_begins_anew_with_other_runs() -> None:
    world = World(1, spec_of(), crashes=False)
    world.turn()
    world.wait(5_000)
    world.turn()
    world.fact(ev.ScheduleDeleted(**BASE, ts=world.now))
    world.turn()
    assert world.folded().over
    world.wait(10_000)
    world.turn()
    assert len(world.of(ev.ScheduleFired)) == 1
    world.fact(ev.ScheduleCreated(**BASE, ts=T0, name=NAME, uid="u2", spec=spec_of()))
    assert not world.folded().over
    world.turn()
    first, *later = world.of(ev.ScheduleFired)
    assert later[0].at == first.at and later[0].number == 1
    assert later[0].child != first.child


def test_a_schedule_with_no_more_times_says_that_it_is_finished() -> None:
    world = World(1, spec_of(cron="@at 2026-11-21T10:00:00"), crashes=False)
    state = world.folded()
    at = world.spec().timetable(T0).next(T0)
    assert at is not None
    world.turn()
    world.wait(at - T0)
    world.turn()
    assert [e.at for e in world.of(ev.ScheduleFired)] == [at]
    assert world.of(ev.ScheduleListed)[-1].status == "finished"
    assert world.folded().timers == {} and state.number == 0


def test_a_checkpoint_stands_for_all_before_it() -> None:
    world = World(3, spec_of(cron="@every 1s", overlap="buffer_all"), crashes=False)
    for _ in range(CHECKPOINT_EVERY):
        world.wait(1_000)
        world.gateway()
        for child in world.running():
            world.end(child)
        world.turn()
        if world.of(ev.ScheduleCheckpointed):
            break
    world.wait(1_500)
    world.turn()
    (at,) = [n for n, (_, e) in enumerate(world.log) if isinstance(e, ev.ScheduleCheckpointed)]
    fold = ScheduleFold()
    for seq, event in world.log[at:]:
        fold.add(ev.decode(ev.encode(event)), seq)
    state = fold.finish()
    assert state is not None
    assert msgspec.to_builtins(state, str_keys=True) == msgspec.to_builtins(world.folded(), str_keys=True)
    assert len(state.recent) == RECENT_MAX
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=type(state)) == state


def test_a_checkpoint_that_can_not_be_folded_is_left_out_and_the_fold_goes_on() -> None:
    fold = ScheduleFold()
    fold.add(ev.ScheduleCheckpointed(**BASE, ts=T0, state={"name": 7}), 1)
    fold.add(ev.ScheduleCreated(**BASE, ts=T0, name=NAME, uid="u1", spec=spec_of()), 2)
    fold.add(ev.SchedulePaused(**BASE, ts=T0), 3)
    state = fold.finish()
    assert state is not None
    assert state.paused
    assert fold.poison == [1]


@pytest.mark.parametrize("late", [0, 700])
def test_a_timer_that_fires_early_by_this_machines_clock_is_believed(late: int) -> None:
    event = ev.ScheduleCreated(**BASE, ts=T0, name=NAME, uid="u1", spec=spec_of())
    schedule = Schedule(new_state(event, 1))
    decide_schedule(schedule, T0)
    schedule.apply(ev.TimerFired(**BASE, ts=T0 + 5_000, timer=TIMER, kind="schedule"), 5)
    kinds = [type(e) for e in decide_schedule(schedule, T0 + 4_000 + late).decisions]
    assert kinds == [ev.ScheduleFired, ev.TimerSet]


def test_a_run_that_continues_as_another_is_active_until_that_one_ends() -> None:
    world = World(1, spec_of(), crashes=False)
    world.turn()
    world.wait(5_000)
    world.turn()
    world.gateway()
    (child,) = world.runs
    ended: dict[str, Any] = {**BASE, "ts": T0, "step": "", "attempt": 1}
    world.fact(ev.ChildEnded(**ended, child="run_next", status="continued"))
    world.turn()
    assert [active.child for active in world.folded().active.values()] == ["run_next"]
    world.fact(ev.ChildEnded(**ended, child=child, status="completed"))  # a late word about the one before
    assert world.folded().active
    world.fact(ev.ChildEnded(**ended, child="run_next", status="completed"))
    assert not world.folded().active
    assert world.folded().recent[0].status == "completed"


def test_a_spec_that_can_not_be_read_stops_that_schedule_alone_and_is_told() -> None:
    world = World(1, {**spec_of(), "time_zone": "Mars/Olympus"}, crashes=False)
    for _ in range(3):
        world.wait(10_000)
        world.turn()
    assert [event.status for event in world.of(ev.ScheduleListed)] == ["broken"]
    world.fact(ev.ScheduleUpdated(**BASE, ts=world.now, spec=spec_of()))
    world.turn()
    assert [event.status for event in world.of(ev.ScheduleListed)] == ["broken", "active"]


def test_an_update_moves_the_timer() -> None:
    world = World(1, spec_of(cron="@at 2090-01-01"), crashes=False)
    world.turn()
    assert world.timer is not None and world.timer[0] > T0 + 10**9
    world.now += 1_000
    world.fact(ev.ScheduleUpdated(**BASE, ts=world.now, spec=spec_of(), recount=True))
    world.turn()
    assert world.timer[0] == world.now + 5_000


def test_a_backfill_takes_one_time_after_the_other() -> None:
    world = World(1, spec_of(cron="*/5 * * * *", paused=True), crashes=False)
    hour = 3_600_000
    world.fact(ev.ScheduleBackfillRequested(**BASE, ts=T0, id="b", start=T0 - hour, end=T0 - 1, overlap="buffer_all"))
    for _ in range(12):
        world.turn()
        world.gateway()
        (child,) = world.running()
        world.end(child)
    world.turn()
    fired = [event.at for event in world.of(ev.ScheduleFired)]
    assert fired == sorted(fired) and len(fired) == 12
    assert [(event.id, event.count) for event in world.of(ev.ScheduleBackfilled)] == [("b", 12)]
