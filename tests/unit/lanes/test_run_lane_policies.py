"""What a run lane does with a run that finds no free slot."""

from __future__ import annotations

from typing import Any, Self

import pytest

from agentflow_common import events as ev
from agentflow_common.lanes.fold import LaneConfig, LaneFold, key_of_lane, new_state
from agentflow_scheduler.lanes.machine import Lane, decide_lane
from agentflow_scheduler.replay.state_hash import state_hash

NAME = "run:o:acme"
KEY = key_of_lane(NAME)
BASE: dict[str, Any] = {"org": KEY.org, "run": KEY.name}


class LaneDriver:
    """A lane that is asked for slots by runs."""

    def __init__(self, limit: int = 1, rate: float | None = None) -> None:
        self.limit, self.rate = limit, rate
        self.lane = Lane(new_state(KEY))
        self.log: list[tuple[int, ev.Event]] = []
        self.now_ms = 1_000

    def tell(self, event_type: type[ev.Event], run: str, **fields: Any) -> None:
        own = {"lane": NAME, "holder_org": "o", "holder_run": run, "step": "", "attempt": 1}
        event = event_type(**BASE, ts=self.now_ms, **own, **fields)
        self.log.append((len(self.log) + 1, event))
        self.lane.apply(event, len(self.log))

    def asks(self, run: str, policy: str = "queue", priority: int = 0) -> Self:
        asked = {"limit": self.limit, "rate_per_s": self.rate, "policy": policy, "priority": priority}
        self.tell(ev.LaneRequested, run, **asked)
        return self

    def ends(self, run: str) -> Self:
        self.tell(ev.LaneReleased, run)
        return self

    def decide(self) -> list[tuple[str, str]]:
        """Returns (run, what it is told) in order."""
        self.now_ms += 1
        out = decide_lane(self.lane, self.now_ms)
        for decision in out.decisions:
            self.log.append((len(self.log) + 1, decision))
            self.lane.state.out_seq = len(self.log)
        fold = LaneFold(KEY)
        for seq, event in self.log:
            fold.add(event, seq)
        assert state_hash(fold.finish()) == state_hash(self.lane.state)
        return [(to.name, _told(event)) for to, event in out.sends]

    @property
    def holders(self) -> list[str]:
        return [slot.run for slot in self.lane.state.holders.values()]

    @property
    def waiting(self) -> list[str]:
        return [slot.run for slot in self.lane.state.queue.values()]


def _told(event: Any) -> str:
    if isinstance(event, ev.RunSlotRefused):
        return str(event.error.type)
    return {ev.RunSlotGranted: "granted", ev.RunCancelRequested: "cancel"}[type(event)]


def test_runs_wait_in_order_and_a_higher_priority_goes_first() -> None:
    lane = LaneDriver().asks("a")
    assert lane.decide() == [("a", "granted")]
    assert lane.asks("b").asks("c").asks("d", priority=1).decide() == []
    assert lane.waiting == ["b", "c", "d"]
    assert lane.ends("a").decide() == [("d", "granted")]
    assert lane.ends("d").decide() == [("b", "granted")]
    assert lane.ends("c").ends("b").decide() == []
    assert lane.lane.state.idle


@pytest.mark.parametrize(("policy", "kind"), [("skip", "skipped"), ("cancel_newest", "newest_cancelled")])
def test_a_run_that_finds_the_lane_full_does_not_begin(policy: str, kind: str) -> None:
    lane = LaneDriver(limit=2).asks("a", policy).asks("b", policy).asks("c", policy)
    assert lane.decide() == [("a", "granted"), ("b", "granted"), ("c", kind)]
    assert (lane.holders, lane.waiting) == (["a", "b"], [])
    assert lane.ends("a").asks("d", policy).decide() == [("d", "granted")]


def test_what_it_is_told_names_who_has_the_slots() -> None:
    lane = LaneDriver().asks("a").asks("b", "skip")
    out = decide_lane(lane.lane, 5_000)
    refused = out.sends[-1][1]
    assert isinstance(refused, ev.RunSlotRefused)
    assert refused.error == ev.StepError(
        "skipped", "the run lane run:o:acme is full: 1 of 1, used by a", retryable=False
    )


def test_a_rate_or_a_pause_delays_a_run_and_refuses_none() -> None:
    lane = LaneDriver(limit=2, rate=1.0).asks("a", "skip").asks("b", "skip")
    assert lane.decide() == [("a", "granted")]
    assert (lane.holders, lane.waiting) == (["a"], ["b"])
    assert lane.asks("c", "skip").decide() == [("c", "skipped")]
    paused = LaneDriver()
    paused.lane.state.config = LaneConfig(paused=True)
    assert decide_lane(paused.asks("a", "skip").asks("b", "cancel_running").lane, 9).sends == []
    assert paused.waiting == ["a", "b"]


def test_the_newest_alone_waits() -> None:
    lane = LaneDriver().asks("a", "newest_waits").asks("b", "newest_waits")
    assert lane.decide() == [("a", "granted")]
    assert lane.asks("c", "newest_waits").asks("d", "newest_waits").decide() == [
        ("b", "superseded"), ("c", "superseded"),
    ]  # fmt: skip
    assert lane.ends("a").decide() == [("d", "granted")]


def test_a_newcomer_cancels_the_holder_once_and_waits_for_its_end() -> None:
    lane = LaneDriver().asks("a", "cancel_running")
    assert lane.decide() == [("a", "granted")]
    assert lane.asks("b", "cancel_running").decide() == [("a", "cancel")]
    assert lane.decide() == []
    assert (lane.holders, lane.waiting) == (["a"], ["b"])
    assert lane.asks("c", "cancel_running").decide() == [("b", "superseded")]
    assert lane.ends("a").decide() == [("c", "granted")]


def test_of_several_holders_those_are_cancelled_that_have_held_the_longest() -> None:
    lane = LaneDriver(limit=3)
    for run in "abc":
        lane.asks(run)
        assert lane.decide() == [(run, "granted")]
    assert lane.asks("d", "cancel_running").asks("e", "cancel_running").decide() == [("a", "cancel"), ("b", "cancel")]
    assert lane.ends("b").decide() == [("d", "granted")]
    assert lane.ends("a").decide() == [("e", "granted")]


def test_if_the_limit_was_lowered_as_many_are_cancelled_as_are_missing() -> None:
    lane = LaneDriver(limit=2).asks("a").asks("b")
    lane.decide()
    lane.lane.state.config = LaneConfig(limit=1)
    assert lane.lane.state.limit == 1
    out = decide_lane(lane.asks("c", "cancel_running").lane, 9_000)
    assert [(to.name, _told(event)) for to, event in out.sends] == [("a", "cancel"), ("b", "cancel")]


def test_a_run_that_goes_on_as_a_new_one_keeps_its_slot() -> None:
    lane = LaneDriver().asks("a").asks("b")
    lane.decide()
    lane.tell(ev.LaneMoved, "a", to_run="a2")
    assert lane.decide() == []
    assert (lane.holders, lane.waiting) == (["a2"], ["b"])
    assert lane.ends("a").decide() == []
    assert lane.ends("a2").decide() == [("b", "granted")]


def test_a_lane_that_is_read_from_the_log_tells_its_holders_again() -> None:
    lane = LaneDriver().asks("a").asks("b")
    lane.decide()
    lane.lane = Lane(lane.lane.state)
    assert lane.decide() == [("a", "granted")]


def test_a_checkpoint_keeps_policies_and_cancels(monkeypatch: pytest.MonkeyPatch) -> None:
    lane = LaneDriver().asks("a").asks("b", "cancel_running")
    lane.decide()
    monkeypatch.setattr("agentflow_scheduler.lanes.machine.CHECKPOINT_EVENTS", 3)
    out = decide_lane(lane.lane, 9_000)
    assert [type(decision) for decision in out.decisions] == [ev.LaneCheckpointed]
    fold = LaneFold(KEY)
    fold.add(out.decisions[0], 1)
    state = fold.finish()
    assert state.holders["a  1"].cancelling
    assert state.queue["b  1"].policy == "cancel_running"
    assert Lane(state).particular.keys() == {"b  1"}
