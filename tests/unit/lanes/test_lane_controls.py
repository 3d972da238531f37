"""The names, keys and patterns by which operators set limits of lanes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentflow_common.lanes.controls import config_for, control_key, name_of, rate_text
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
    assert config_for(lane, settings).limit == limit


@pytest.mark.parametrize("setting", [{"limit": 0}, {"limit": "3"}, {"rate_per_s": -1}, {"rate_per_s": None}, {}])
def test_nonsense_sets_nothing(setting: dict[str, object]) -> None:
    assert config_for("x", {"x": setting}) == LaneConfig()


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
