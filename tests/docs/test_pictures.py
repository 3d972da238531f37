"""The pictures of traces are drawn by the present code."""

from __future__ import annotations

import pytest

from tests.docs.pictures import PICTURES, Picture, drawn_by, with_digest


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_a_picture_is_what_the_present_code_draws(picture: Picture) -> None:
    assert picture.is_fresh, f"{picture.path.name} was drawn by older code: run `make pictures` (it needs chromium)"


def test_a_picture_holds_the_digest_of_its_code() -> None:
    png = PICTURES[0].path.read_bytes()
    assert drawn_by(with_digest(b"\x89PNG\r\n\x1a\n\0\0\0\0IEND\xaeB`\x82", "abc")) == "abc"
    assert drawn_by(b"\x89PNG\r\n\x1a\n\0\0\0\0IEND\xaeB`\x82") == ""
    assert len(png) < 400_000
