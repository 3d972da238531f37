"""Each fault that was found from outside has a test of its number: `pytest -k engine_04` runs those of the fourth."""

from __future__ import annotations

import re

import pytest

from tests.architecture.test_stack_house_rules import python_files
from tests.support.paths import ROOT

NUMBERS = {
    "engine": range(1, 19),
    "cluster": (1, 2, 3, 7, 9, 10),
    "llm": (1, 10, 11, 12, 13),
    "house": range(2, 15),  # the first is engine 15
    "usage": range(1, 21),
}


def found() -> set[str]:
    """Returns the numbers in the names of all test functions: `engine_04`, `usage_11`."""
    tests = (path for path in python_files() if path.is_relative_to(ROOT / "tests"))
    numbered = re.compile(r"^(?:async )?def test_([a-z]+_\d\d)_\w+\(", re.MULTILINE)
    return {number for path in tests for number in numbered.findall(path.read_text())}


@pytest.mark.parametrize("kind", NUMBERS)
def test_every_fault_has_a_test_of_its_number(kind: str) -> None:
    assert [number for n in NUMBERS[kind] if (number := f"{kind}_{n:02}") not in found()] == []
