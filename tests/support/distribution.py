"""How tests are handed to the processes of `pytest -n`: by file, one that waits and one that computes in turn.

Files that start servers mostly wait for them, the others keep a processor busy. Where only one kind runs, processors
stand idle first and are short later. What lasts longest goes first, so that it is not left over at the end.
The files that share the running stack of tests/e2e go to one process: a second stack would take five seconds of a
processor to start, and a twentieth of it until the session ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import chain, zip_longest
from typing import Final

import pytest
from xdist.scheduler import LoadFileScheduling

from tests.support.paths import ROOT

WAITING: Final = ("tests/e2e/", "tests/fault/", "tests/integration/")
COMPUTING: Final = ("tests/simulation/", "tests/fuzz/", "tests/property/")
SHARED: Final = "tests/e2e/"
OWN_STACK: Final = "running_stack("


class LongestFirst(LoadFileScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """Keeps the order of collection, which `in_order` has made, and the shared stack's files together."""

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)


def unit_of(nodeid: str) -> str:
    """Returns what goes to one process with this test: its file, or the folder whose files share a stack."""
    file = nodeid.split("::", 1)[0]
    return SHARED if shares_the_stack(file) else file


@cache
def shares_the_stack(file: str) -> bool:
    return file.startswith(SHARED) and OWN_STACK not in (ROOT / file).read_text()


def in_order(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Sorts whole files; the order within a file stays."""
    units: dict[str, list[pytest.Item]] = {}
    for item in items:
        units.setdefault(unit_of(item.nodeid), []).append(item)
    waiting = sorted((unit for unit in units if unit.startswith(WAITING)), key=lambda unit: _place(unit, WAITING))
    computing = sorted((unit for unit in units if unit not in waiting), key=lambda unit: _place(unit, COMPUTING))
    in_turn = chain.from_iterable(zip_longest(waiting, computing))
    return [item for unit in in_turn if unit is not None for item in units[unit]]


def _place(unit: str, folders: Sequence[str]) -> tuple[int, bool]:
    return next((n for n, folder in enumerate(folders) if unit.startswith(folder)), len(folders)), unit != SHARED
