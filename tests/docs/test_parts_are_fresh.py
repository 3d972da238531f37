"""What `make docs` writes is what stands in docs/."""

from __future__ import annotations

import pytest

from tests.docs.parts import PARTS, Part, now, wanted


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_what_is_made_from_the_code_is_fresh(part: Part) -> None:
    assert now(part) == wanted(part), f"{part.name} is not what the code says now: run `make docs`"
