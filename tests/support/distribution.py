"""How tests are handed to the processes of `pytest -n`: by file, what lasts longest first.

Files that restart servers mostly wait. They begin together, so that none is left over when the quick files are done.
The files that share the running stack of tests/e2e go to one process: a second stack would take five seconds of a
processor to start, and a twentieth of it until the session ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Final

import pytest
from xdist.scheduler import LoadFileScheduling

from tests.support.paths import ROOT

FIRST: Final = ("tests/e2e/", "tests/fault/", "tests/simulation/", "tests/integration/", "tests/property/")
SHARED: Final = "tests/e2e/"
OWN_STACK: Final = "running_stack("


class LongestFirst(LoadFileScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """Keeps the order of collection, which `in_order` has made, and the shared stack's files together."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return SHARED if shares_the_stack(file) else file


@cache
def shares_the_stack(file: str) -> bool:
    return file.startswith(SHARED) and OWN_STACK not in (ROOT / file).read_text()


def in_order(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Sorts whole files; the order within a file stays."""

    def place(item: pytest.Item) -> tuple[int, int]:
        file = item.nodeid.split("::", 1)[0]
        kind = next((n for n, folder in enumerate(FIRST) if file.startswith(folder)), len(FIRST))
        return kind, not shares_the_stack(file)

    return sorted(items, key=place)
