"""What a schedule's source found: each item is one run, whatever the policy, the pauses and the crashes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from agentflow_common import events as ev
from agentflow_common.schedules.sources import LOSSLESS, SOURCE_CAUSES
from agentflow_scheduler.schedules.machine import ACTIVE_MAX

from .schedule_world import BASE, T0, World, spec_of

WATCHING = {"cron": (), "trigger": {"files": {"folder": "inbox"}}}


def found(world: World, *ids: str) -> None:
    for item in ids:
        kind = "row" if item.endswith("3") else "file"
        world.fact(ev.ScheduleTriggered(**BASE, ts=world.now, id=item, kind=kind))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(LOSSLESS), st.booleans())
def test_each_item_is_one_run_and_none_is_skipped(seed: int, policy: str, timed: bool) -> None:
    more = {"trigger": WATCHING["trigger"]} if timed else WATCHING
    world = World(seed, spec_of(overlap=policy, buffer_max=2, **more))
    given_ = 0
    for _ in range(12):
        for _ in range(world.random.randrange(4)):
            found(world, f"i{given_}")
            given_ += 1
        if given_ and world.random.random() < 0.4:
            found(world, f"i{world.random.randrange(given_)}")  # a gateway was lost, and another one takes it again
        world.play(5, control=True)
    world.fact(ev.ScheduleResumed(**BASE, ts=world.now))
    world.crashes = False
    for _ in range(200):  # a schedule with times goes on forever
        world.wait(1_000)
        world.gateway()
        for child in world.running():
            world.end(child)
        world.turn()
    fired = [event.id for event in world.of(ev.ScheduleFired) if event.cause in SOURCE_CAUSES]
    assert sorted(fired) == sorted(f"i{number}" for number in range(given_))
    assert not [event for event in world.of(ev.ScheduleSkipped) if event.cause in SOURCE_CAUSES]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32))
def test_one_after_the_other_means_that(seed: int) -> None:
    world = World(seed, spec_of(overlap="buffer_all", **WATCHING))
    found(world, *(f"i{number}" for number in range(10)))
    world.play(60, control=False)
    open_runs: set[str] = set()
    for _, event in world.log:
        if isinstance(event, ev.ScheduleFired):
            open_runs.add(event.child)
            assert len(open_runs) == 1
        elif isinstance(event, ev.ChildEnded):
            open_runs.discard(event.child)


def test_a_pause_keeps_what_was_found_and_skips_what_was_sent() -> None:
    world = World(1, spec_of(overlap="allow", **WATCHING), crashes=False)
    world.fact(ev.SchedulePaused(**BASE, ts=T0))
    found(world, "a", "b")
    world.fact(ev.ScheduleTriggered(**BASE, ts=T0, id="hook", kind="webhook"))
    world.turn()
    assert [waiting.id for waiting in world.folded().inbox] == ["a", "b"]
    assert [(event.cause, event.id, event.reason) for event in world.of(ev.ScheduleSkipped)] == [
        ("webhook", "hook", "paused")
    ]
    world.fact(ev.ScheduleResumed(**BASE, ts=T0))
    world.turn()
    assert [event.id for event in world.of(ev.ScheduleFired)] == ["a", "b"]


def test_what_finds_no_room_waits_and_lets_others_pass() -> None:
    world = World(1, spec_of(overlap="allow", **WATCHING), crashes=False)
    found(world, *(f"i{number}" for number in range(ACTIVE_MAX + 3)))
    world.fact(ev.ScheduleTriggered(**BASE, ts=T0, id="hook", kind="webhook"))
    for _ in range(12):
        world.turn()
    assert len(world.of(ev.ScheduleFired)) == ACTIVE_MAX
    assert [(event.id, event.reason) for event in world.of(ev.ScheduleSkipped)] == [("hook", "active_max")]
    world.gateway()
    world.end(world.running()[0])
    world.turn()
    assert len(world.of(ev.ScheduleFired)) == ACTIVE_MAX + 1
    assert len(world.folded().inbox) == 2


def test_a_schedule_that_watches_is_active_without_times() -> None:
    world = World(1, spec_of(overlap="allow", **WATCHING), crashes=False)
    world.turn()
    assert [event.status for event in world.of(ev.ScheduleListed)] == ["active"]
    found(world, "a")
    world.fact(ev.ScheduleDeleted(**BASE, ts=T0))
    world.turn()
    assert [(event.id, event.reason) for event in world.of(ev.ScheduleSkipped)] == [("a", "deleted")]
