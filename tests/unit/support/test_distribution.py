"""The order in which files of tests are handed out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tests.support.distribution import in_order

UNIT, PROPERTY = "tests/unit/a/test_a.py", "tests/property/test_p.py"
WAITS, KILLS, OWN = "tests/integration/a/test_i.py", "tests/fault/test_f.py", "tests/e2e/test_retention_e2e.py"
SHARED = ("tests/e2e/test_budget_e2e.py", "tests/e2e/test_lists_e2e.py")


def order(*nodeids: str) -> list[str]:
    items: list[Any] = [SimpleNamespace(nodeid=nodeid) for nodeid in nodeids]
    return [item.nodeid for item in in_order(items)]


def test_files_that_wait_and_files_that_compute_are_handed_out_in_turn() -> None:
    nodeids = [f"{file}::test" for file in (UNIT, WAITS, PROPERTY, KILLS)]
    assert order(*nodeids) == [f"{file}::test" for file in (KILLS, PROPERTY, WAITS, UNIT)]


def test_every_test_is_handed_out_once_and_a_file_keeps_its_order() -> None:
    nodeids = [f"{UNIT}::test_{n}" for n in (2, 1, 3)] + [f"{KILLS}::test", f"{WAITS}::test", f"{OWN}::test"]
    found = order(*nodeids)
    assert sorted(found) == sorted(nodeids)
    assert [nodeid for nodeid in found if nodeid.startswith(UNIT)] == nodeids[:3]


def test_files_that_share_a_stack_stay_together_at_the_beginning() -> None:
    nodeids = [f"{file}::test" for file in (UNIT, OWN, SHARED[0], PROPERTY, SHARED[1])]
    assert order(*nodeids) == [f"{file}::test" for file in (*SHARED, PROPERTY, OWN, UNIT)]
