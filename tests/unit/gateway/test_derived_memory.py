"""What is known of runs without forks: only of runs that began while forks were heard of, and only while they are."""

from __future__ import annotations

import pytest

from agentflow_gateway.store import derived_memory
from agentflow_gateway.store.derived_memory import DerivedMemory


def listening() -> DerivedMemory:
    found = DerivedMemory()
    found.begin(40)
    found.live(10.0)
    return found


def test_a_run_that_began_while_forks_are_heard_of_has_none() -> None:
    found = listening()
    assert found.surely_none("acme", "run_a", 41, 9.9)
    assert not found.surely_none("acme", "run_a", 40, 9.9), "a fork of it may have come before"
    assert not found.surely_none("acme", "run_a", 0, 9.9), "when it began is not known"
    assert not found.surely_none("acme", "run_a", 41, 10.0), "nobody has heard anything for too long"


def test_a_fork_that_was_heard_of_is_looked_for() -> None:
    found = listening()
    found.add("acme", "run_a")
    assert not found.surely_none("acme", "run_a", 41, 0.0)
    assert found.surely_none("rival", "run_a", 41, 0.0)
    found.begin(60)
    found.live(10.0)
    assert not found.surely_none("acme", "run_a", 41, 0.0)
    assert found.surely_none("acme", "run_b", 61, 0.0)


def test_nothing_is_known_without_a_listener() -> None:
    found = DerivedMemory()
    found.live(10.0)
    assert not found.surely_none("acme", "run_a", 41, 0.0)
    found = listening()
    found.stop()
    found.live(10.0)
    assert not found.surely_none("acme", "run_a", 41, 0.0)


def test_more_forks_than_it_keeps_make_it_know_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(derived_memory, "KEPT_MAX", 2)
    found = listening()
    for name in ("run_a", "run_b", "run_c"):
        found.add("acme", name)
    assert not found.surely_none("acme", "run_a", 41, 0.0)
    assert not found.surely_none("acme", "run_d", 41, 0.0)
