"""Locks: however processes die and runs are cancelled, one run has a lock at a time, none leaks, no circle waits."""

from __future__ import annotations

from collections import Counter

import pytest

from agentflow_common import events as ev

from .locks_world import LocksWorld


def play(seed: int, runs: int, locks: int, crashes: bool) -> Counter[str]:
    """Returns how often each type of event came."""
    world = LocksWorld(seed, runs, locks, crashes)
    world.play_all()
    world.check_all()
    return Counter(ev.event_type(event) for log in world.logs.values() for _, event in log)


@pytest.mark.parametrize("crashes", [False, True], ids=["steady", "crashing"])
def test_a_hundred_runs_take_two_locks_in_any_order(crashes: bool) -> None:
    happened = play(1, 120, 3, crashes)
    for kind in ("run.locking", "run.unlocked", "run.slot_granted", "steps.reset", "run.cancelled"):
        assert happened[kind] > 5, f"{kind} came {happened[kind]} times"


@pytest.mark.parametrize("seed", range(20))
def test_few_runs_meet_at_few_locks_in_every_way(seed: int) -> None:
    play(seed, 15, 1 + seed % 3, crashes=seed % 2 == 0)


@pytest.mark.slow
def test_thousands_of_runs_take_two_locks_in_any_order() -> None:
    play(7, 5_000, 20, crashes=True)
