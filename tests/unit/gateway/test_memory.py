"""What is remembered of definitions and labels: only while changes are heard, never across a change, and bounded."""

from __future__ import annotations

import pytest

from agentflow_gateway.store import memory
from agentflow_gateway.store.memory import NOTHING, Memory

FLOW = ("acme", "review")


def remembered(until: float = 10.0) -> Memory:
    found = Memory()
    found.live(until)
    found.keep(FLOW, 1, "one", 3, found.changes)
    return found


def test_nothing_is_used_while_no_listener_hears_changes() -> None:
    found = Memory()
    found.keep(FLOW, 1, "one", 3, found.changes)
    assert found.find(FLOW, 1, 0.0) is NOTHING
    found.live(10.0)
    assert (found.find(FLOW, 1, 9.9), found.find(FLOW, 1, 10.0)) == ("one", NOTHING)


def test_that_there_is_no_row_is_remembered_too() -> None:
    found = remembered()
    found.keep(FLOW, 2, None, 0, found.changes)
    assert found.find(FLOW, 2, 0.0) is None
    assert found.find(FLOW, 3, 0.0) is NOTHING
    assert found.find(("rival", "review"), 1, 0.0) is NOTHING


def test_a_change_forgets_the_rows_of_its_workflow_alone() -> None:
    found = remembered()
    found.keep(("acme", "other"), None, "latest", 6, found.changes)
    found.forget("acme", "review")
    assert found.find(FLOW, 1, 0.0) is NOTHING
    assert found.find(("acme", "other"), None, 0.0) == "latest"


def test_a_row_that_was_read_before_a_change_is_not_remembered() -> None:
    found = remembered()
    before = found.changes
    found.forget("acme", "review")
    found.keep(FLOW, 1, "old", 3, before)
    assert found.find(FLOW, 1, 0.0) is NOTHING


def test_stopping_forgets_everything_and_what_is_being_read() -> None:
    found = remembered()
    before = found.changes
    found.stop()
    found.live(20.0)
    found.keep(FLOW, 2, "two", 3, before)
    assert (found.find(FLOW, 1, 0.0), found.find(FLOW, 2, 0.0)) == (NOTHING, NOTHING)


def test_the_workflow_that_was_used_longest_ago_leaves_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "CHARS_MAX", 10)
    found = remembered()
    found.keep(("acme", "b"), 1, "b", 4, found.changes)
    assert found.find(FLOW, 1, 0.0) == "one"
    found.keep(("acme", "c"), 1, "c", 4, found.changes)  # 11 characters
    assert [found.find(("acme", name), 1, 0.0) for name in ("review", "b", "c")] == ["one", NOTHING, "c"]
    found.keep(("acme", "c"), 1, "C", 6, found.changes)  # in place of the old one: 9
    assert [found.find(("acme", name), 1, 0.0) for name in ("review", "c")] == ["one", "C"]
    monkeypatch.setattr(memory, "NAMES_MAX", 1)
    found.keep(("acme", "d"), 1, "d", 0, found.changes)
    assert [found.find(("acme", name), 1, 0.0) for name in ("review", "c", "d")] == [NOTHING, NOTHING, "d"]
