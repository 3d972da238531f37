"""The names, keys and patterns by which operators set limits of lanes."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentflow_common.lanes.controls import (
    CONTROLS_PREFIX,
    ControlSettings,
    config_for,
    control_key,
    name_of,
    rate_text,
)
from agentflow_common.lanes.fold import LaneConfig, key_of_lane


@given(st.text(min_size=1, max_size=60))
def test_every_name_has_a_key_of_its_own_that_a_bucket_takes(name: str) -> None:
    key = control_key(name)
    assert re.fullmatch(r"[-/_=.a-zA-Z0-9]+", key)
    assert name_of(key) == name


def test_a_plain_name_stands_as_it_is() -> None:
    assert control_key("gpu-2") == "lane.gpu-2"


@pytest.mark.parametrize(
    ("lane", "limit"),
    [("acme-7", 1), ("acme-8", 2), ("acme-vip-1", 3), ("other", 4), ("acme.7", 4), ("acme-7\nx", 2)],
)
def test_the_most_special_name_counts(lane: str, limit: int) -> None:
    settings = {"acme-7": {"limit": 1}, "acme-*": {"limit": 2}, "acme-vip-*": {"limit": 3}, "*": {"limit": 4}}
    assert config_for(lane, settings, 0).limit == limit


def test_a_lock_has_one_slot_whatever_is_set() -> None:
    settings = {"*": {"limit": 4, "rate_per_s": 2.0}, "lock:acme:7": {"limit": 3, "paused": True}}
    assert config_for("lock:acme:8", settings, 0) == LaneConfig(rate_per_s=2.0)
    assert config_for("lock:acme:7", settings, 0) == LaneConfig(paused=True)
    assert config_for("run:acme:7", settings, 0).limit == 4


@pytest.mark.parametrize("setting", [{"limit": 0}, {"limit": "3"}, {"rate_per_s": -1}, {"rate_per_s": None}, {}])
def test_nonsense_sets_nothing(setting: dict[str, object]) -> None:
    assert config_for("x", {"x": setting}, 0) == LaneConfig()


class Clock:
    now_ms = 1000

    def __call__(self) -> int:
        return self.now_ms


def setting(**fields: object) -> bytes:
    return msgspec.json.encode({"paused": True, **fields})


@pytest.mark.parametrize(
    ("until", "at", "paused"),
    [(0, 10**13, True), (2000, 1999, True), (2000, 2000, False), (2000, 3000, False), ("2000", 3000, True)],
)
def test_a_pause_ends_when_its_time_has_come(until: object, at: int, paused: bool) -> None:
    clock = Clock()
    known = ControlSettings(clock)
    known.take(f"{CONTROLS_PREFIX}workflow.o.w", setting(paused_until=until))
    known.take(f"{CONTROLS_PREFIX}lane.gpu", setting(paused_until=until, limit=3))
    clock.now_ms = at
    assert known.is_paused("o", "w") is paused
    assert known.config_for("gpu") == LaneConfig(limit=3, paused=paused)
    assert not known.is_paused("o", "other")


def test_the_end_of_a_pause_is_seen_once() -> None:
    clock = Clock()
    known = ControlSettings(clock)
    known.take(f"{CONTROLS_PREFIX}workflow.o.w", setting(paused_until=2000))
    known.take(f"{CONTROLS_PREFIX}lane.gpu", setting(paused_until=3000))
    seen = []
    for clock.now_ms in (1999, 2000, 2001, 2999, 3500, 9000):  # type: ignore[misc]
        seen.append(known.has_pause_ended())
    assert seen == [False, True, False, False, True, False]


@pytest.mark.parametrize("key", ["workflow.o.w", "lane.gpu"])
@pytest.mark.parametrize("between", [False, True])
def test_a_pause_that_a_clock_set_back_brings_again_is_seen_to_end_again(key: str, between: bool) -> None:
    clock = Clock()
    known = ControlSettings(clock)
    known.take(f"{CONTROLS_PREFIX}{key}", setting(paused_until=2000))

    def paused() -> bool:
        return known.is_paused("o", "w") or known.config_for("gpu").paused

    clock.now_ms = 2500
    assert known.has_pause_ended()
    assert not paused()
    clock.now_ms = 1500
    assert paused()
    assert known.next_end_s(5.0) == 0.5
    assert not between or not known.has_pause_ended()
    clock.now_ms = 2600
    assert known.next_end_s(5.0) == 0.0
    assert known.has_pause_ended(), "a run that was held back waits for the end of the pause"
    assert not known.has_pause_ended()
    assert known.next_end_s(5.0) == 5.0


def test_whoever_waits_is_woken_at_the_nearest_end_and_not_before() -> None:
    clock = Clock()
    known = ControlSettings(clock)
    clock.now_ms = 1000
    assert known.next_end_s(5.0) == 5.0, "nothing is paused"
    known.take(f"{CONTROLS_PREFIX}workflow.o.v", setting())
    known.take(f"{CONTROLS_PREFIX}workflow.o.w", setting(paused_until=2500))
    known.take(f"{CONTROLS_PREFIX}lane.gpu", setting(paused_until=3000))
    assert (known.next_end_s(5.0), known.next_end_s(0.5)) == (1.5, 0.5)
    clock.now_ms = 2600
    assert known.next_end_s(5.0) == 0.0, "an end that was not seen yet"
    assert known.has_pause_ended()
    assert known.next_end_s(5.0) == 0.4
    known.take(f"{CONTROLS_PREFIX}lane.gpu", b'{"paused": false}')
    assert known.next_end_s(5.0) == 5.0


def test_a_resume_before_the_end_leaves_nothing_to_end() -> None:
    clock = Clock()
    known = ControlSettings(clock)
    known.take(f"{CONTROLS_PREFIX}workflow.o.w", setting(paused_until=2000))
    known.take(f"{CONTROLS_PREFIX}workflow.o.w", b'{"paused": false}')
    assert not known.is_paused("o", "w")
    clock.now_ms = 2500
    assert not known.has_pause_ended()


def test_a_lane_lives_in_one_place() -> None:
    key = key_of_lane("acme-7")
    assert key == key_of_lane("acme-7")
    assert key.org == "_lanes"
    assert key.name.startswith("lane_")
    assert key != key_of_lane("acme-8")


@pytest.mark.parametrize(
    ("rate", "text"),
    [(5, "5 in a second"), (100 / 60, "100 in a minute"), (1 / 60, "1 in a minute"), (5 / 3600, "5 in an hour"),
     (2.5, "150 in a minute"), (1 / 86_400, "0.0417 in an hour"), (100_000, "100000 in a second")],
)  # fmt: skip
def test_a_rate_is_told_in_a_unit_in_which_it_is_whole(rate: float, text: str) -> None:
    assert rate_text(rate) == text
