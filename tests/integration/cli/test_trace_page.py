"""The page of a trace in a real browser: hostile texts, keys, search, size, colours and the rules of axe-core."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentctl.display.traces.mermaid import mermaid
from agentctl.display.traces.page import page
from agentflow_sdk import RunStatus, StepStatus, Trace, TraceEvent, TraceNode, TraceSegment, TraceStep
from tests.support.browser import Browser, browser, needs_browser

pytestmark = needs_browser
EVIL = "</script><img src=x onerror=\"document.title='owned'\">\u202eevil\u2066"
BEGAN = 1_764_000_000_000


@pytest.fixture(scope="module")
def shared() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture
def opened(shared: Browser) -> Browser:
    shared.problems.clear()
    shared.requested.clear()
    return shared


def large(count: int) -> Trace:
    chance = random.Random(1)
    steps = [TraceStep("each", 1, StepStatus.COMPLETED, BEGAN, BEGAN, BEGAN + 9 * count, kind="map")]
    path = []
    for number in range(count):
        at = BEGAN + 9 * number
        failed = number == 3
        status = StepStatus.FAILED if failed else StepStatus.COMPLETED
        steps.append(TraceStep(
            f"each[{number}]", 1, status, at, at + 1, at + chance.randint(2, 90), duration_ms=5.0, kind="llm",
            cost_nano_usd=number, provider="local", model="m", error=EVIL if failed else "", redactions={"EMAIL": 1},
        ))  # fmt: skip
        if number % 10 == 0:
            path.append(TraceSegment("work", at, at + 90, f"each[{number}]", 1))
    events = [
        TraceEvent("AF_EVENTS", 1, BEGAN, "step.completed", "each[3]", 1, {"x": EVIL, "big": "y" * 200_000}),
        TraceEvent("AF_EVENTS", 2, BEGAN, "run.completed", "", 0, {"x": 1}),
    ]
    return Trace(
        "run_x", EVIL, RunStatus.COMPLETED, started_at=BEGAN, finished_at=BEGAN + 9 * count, steps=tuple(steps),
        events=tuple(events), nodes=(TraceNode("each", "map"),), critical_path=tuple(path),
    )  # fmt: skip


def show(opened: Browser, folder: Path, trace: Trace) -> None:
    file = folder / "trace.html"
    file.write_text(page(trace, {}, (EVIL,)), "utf-8")
    opened.open(file)


def shown(opened: Browser) -> list[str]:
    names: list[str] = opened.run(
        "[...document.querySelectorAll('.row')].sort((a, b) => a.offsetTop - b.offsetTop)"
        ".map((row) => row.querySelector('.name').title)"
    )
    return names


def test_hostile_texts_are_shown_as_texts(opened: Browser, tmp_path: Path) -> None:
    show(opened, tmp_path, large(20))
    opened.run("document.querySelector('#row-4').click()")
    opened.run("document.querySelectorAll('#details details').forEach((line) => { line.open = true })")
    opened.wait_for("document.querySelector('#details details pre') !== null")
    text = opened.run("document.querySelector('#details').innerText")
    assert "</script><img src=x" in text and "⟨U+202E⟩evil⟨U+2066⟩" in text
    assert opened.run("document.querySelectorAll('img').length") == 0
    assert opened.run("document.title").startswith("Trace of </script>")
    assert opened.run("document.querySelector('#details details pre').textContent.length") < 21_000
    assert opened.run("document.querySelector('#details details button').textContent").startswith("Show all 200,")
    opened.run("document.querySelector('#details details button').click()")
    assert opened.run("document.querySelector('#details details pre').textContent.length") > 200_000
    assert opened.problems == []
    assert [url.partition(":")[0] for url in opened.requested] == ["file"], "it loads nothing but itself"


def test_everything_is_reached_by_keys(opened: Browser, tmp_path: Path) -> None:
    show(opened, tmp_path, large(50))
    opened.run("document.querySelector('#rows').focus()")
    active = "document.querySelector('.row.active .name').title"
    for key, name in (("ArrowDown", "each[0]"), ("End", "each[49]"), ("Home", "each")):
        opened.press(key)
        assert opened.run(active) == name
    opened.press("ArrowLeft")
    assert shown(opened) == ["each"]
    assert opened.run("document.querySelector('.row').getAttribute('aria-expanded')") == "false"
    opened.press("ArrowRight")
    opened.press("ArrowDown")
    opened.press("Enter")
    assert opened.run("document.querySelector('#details-title').textContent") == "each[0]"
    opened.press("Escape")
    assert opened.run("document.querySelector('#details').hidden && document.activeElement.id") == "rows"
    assert opened.problems == []


def test_steps_are_found_by_words_status_and_critical_path(opened: Browser, tmp_path: Path) -> None:
    show(opened, tmp_path, large(50))

    def set_to(field: str, value: str) -> None:
        change = f"document.querySelector('{field}').value = '{value}'"
        opened.run(f"{change}; document.querySelector('#filters').dispatchEvent(new Event('input'))")

    set_to("#search", "EVIL each[3")
    assert shown(opened) == ["each[3]"]
    set_to("#search", "")
    set_to("#status", "failed")
    assert shown(opened) == ["each[3]"]
    set_to("#status", "")
    opened.run("document.querySelector('#critical').click()")
    assert shown(opened) == [f"each[{number}]" for number in range(0, 50, 10)]
    assert opened.run("document.querySelector('#shown').textContent") == "5 of 51 steps"


def test_ten_thousand_steps_are_quick_as_only_those_in_view_are_drawn(opened: Browser, tmp_path: Path) -> None:
    show(opened, tmp_path, large(10_000))
    assert len(shown(opened)) < 100
    opened.run("document.querySelector('#rows').focus()")
    opened.press("End")
    assert shown(opened)[-1] == "each[9999]" and len(shown(opened)) < 100
    took = opened.run(
        "(() => { const begin = performance.now(); document.querySelector('#search').value = '9999';"
        "document.querySelector('#filters').dispatchEvent(new Event('input')); return performance.now() - begin })()"
    )
    assert shown(opened) == ["each[9999]"]
    assert took < 2_000, f"a search took {took} ms"  # about 20 ms here; the bound is for a busy machine


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_keeps_the_rules_of_axe(opened: Browser, tmp_path: Path, dark: bool) -> None:
    axe = os.environ.get("AGENTFLOW_AXE", "")
    if not axe:
        pytest.skip("AGENTFLOW_AXE does not name the file axe.min.js of the package axe-core")
    opened.dark(dark)
    show(opened, tmp_path, large(50))
    assert opened.run("document.documentElement.dataset.theme") == ("dark" if dark else "light")
    opened.run("document.querySelector('#row-4').click()")
    opened.run(Path(axe).read_text("utf-8") + "; 1")
    found: list[dict[str, Any]] = opened.run("axe.run().then((found) => found.violations)")
    assert [(rule["id"], [node["html"][:120] for node in rule["nodes"]][:3]) for rule in found] == []


def test_mermaid_itself_reads_the_chart(opened: Browser, tmp_path: Path) -> None:
    package = os.environ.get("AGENTFLOW_MERMAID", "")
    if not package:
        pytest.skip("AGENTFLOW_MERMAID does not name the file mermaid.min.js of the package mermaid")
    steps = (TraceStep("a", 1, StepStatus.COMPLETED), TraceStep(EVIL, 1, StepStatus.FAILED))
    nodes = (TraceNode("a", "tool"), TraceNode(EVIL, "llm", waits_for=("a",), loops_to=("a",)))
    chart = mermaid(Trace("run_x", "w", RunStatus.COMPLETED, steps=steps, nodes=nodes))
    file = tmp_path / "empty.html"
    file.write_text("<!doctype html><html ><body>", "utf-8")
    opened.open(file)
    opened.run(Path(package).read_text("utf-8") + "; 1")
    opened.run("mermaid.initialize({startOnLoad: false, htmlLabels: false, flowchart: {htmlLabels: false}}); 1")
    drawn = opened.run(f"mermaid.render('drawn', {chart!r}).then((made) => made.svg)")
    assert drawn.startswith("<svg") and "evil" in drawn and "<img" not in drawn
