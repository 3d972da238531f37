"""Run lanes: however processes die and runs are cancelled, no lane has more runs than slots, and no slot leaks."""

from __future__ import annotations

from collections import Counter

import pytest

from agentflow_common import events as ev

from .run_lanes_world import RunLanesWorld


def play(seed: int, runs: int, lanes: int, crashes: bool) -> Counter[str]:
    """Returns how often each type of event came."""
    world = RunLanesWorld(seed, runs, lanes, crashes)
    world.play_all()
    world.check_all()
    happened = Counter(ev.event_type(event) for log in world.logs.values() for _, event in log)
    happened["both lanes"] = sum(len(lanes) > 1 for lanes in world.takes.values())
    return happened


@pytest.mark.parametrize("crashes", [False, True], ids=["steady", "crashing"])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_thousand_runs_keep_to_the_limits_of_their_lanes(seed: int, crashes: bool) -> None:
    happened = play(seed, 1_000, 10, crashes)
    assert happened["both lanes"] > 10
    for kind in ("run.queued", "run.slot_granted", "run.slot_refused", "lane.moved", "lane.cancelling"):
        assert happened[kind] > 10, f"{kind} came {happened[kind]} times"


@pytest.mark.parametrize("seed", range(40))
def test_few_runs_in_one_lane_meet_in_every_way(seed: int) -> None:
    play(seed, 30, 1 + seed % 3, crashes=seed % 2 == 0)


@pytest.mark.slow
def test_ten_thousand_runs_in_fifty_lanes() -> None:
    play(7, 10_000, 50, crashes=True)
