"""Pictures of developments over time: the same data give the same bytes, and hostile names stay names."""

from __future__ import annotations

import base64
import re
import sys

import pytest

from agentctl.display.plots.drawing import WHAT, draw
from agentctl.display.plots.page import page
from agentctl.failures import CliError
from agentflow_sdk import TraceSeries, TraceSeriesPoint

HOUR = 3_600_000
BEGAN = 1_764_000_000_000 // HOUR * HOUR
NAMES = ("</svg><script>alert(1)</script>", "$\\frac{1}{0}$", "_hidden\u202e")


def series(names: tuple[str, ...] = NAMES) -> TraceSeries:
    points = [
        TraceSeriesPoint(name, BEGAN + hour * HOUR, 3 + hour, hour % 2, 10**9 * (hour + 1), 100, 500.0, 900.0)
        for name in names
        for hour in range(6)
    ]
    return TraceSeries(tuple(points), HOUR, BEGAN, BEGAN + 6 * HOUR)


@pytest.mark.parametrize(("kind", "mark"), [("png", b"\x89PNG\r\n"), ("svg", b"<?xml")])
def test_the_same_data_give_the_same_picture(kind: str, mark: bytes) -> None:
    made = draw(series(), WHAT, "all", kind)
    assert made.startswith(mark)
    assert draw(series(), WHAT, "all", kind) == made
    assert draw(series(("",)), ("cost",), "all", kind) != made


def test_a_page_has_the_picture_and_its_numbers_and_no_markup_of_a_name() -> None:
    made = page(series(), ("cost", "latency"), NAMES[0])
    assert "<script" not in made and "&lt;script&gt;" in made
    assert made.count("<tr>") == 1 + 18
    assert "<td class=n>$6.00</td>" in made and "<td class=n>900 ms</td>" in made
    pictures = [base64.b64decode(found).decode() for found in re.findall(r"base64,([^\"]+)", made)]
    assert len(pictures) == 2 and pictures[0] != pictures[1]
    assert not any("<script" in picture for picture in pictures)


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(CliError, match="Matplotlib") as caught:
        draw(series(), ("cost",), "cost", "png")
    assert "agentctl[plot]" in str(caught.value.fix)
