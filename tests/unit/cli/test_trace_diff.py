"""The differences of two runs as text and as a page: greatest contributors first, nothing hostile gets through."""

from __future__ import annotations

import re
from typing import Any

from rich.console import Console

from agentctl.display.traces.diff import SHOWN_MAX, Sections, render
from agentctl.display.traces.diff_page import page
from agentflow_sdk import (
    RunStatus,
    StepStatus,
    TraceDiff,
    TraceDiffField,
    TraceDiffPart,
    TraceDiffRest,
    TraceDiffRun,
    TraceDiffSide,
    TraceDiffStep,
    TraceDiffValue,
)

HOSTILE = "</script><script>alert(1)</script>\x1b[31m"


def _step(number: int, cost: int = 0, latency: int = 0, **more: Any) -> TraceDiffStep:
    sides = [
        TraceDiffSide(
            f"step_{number}", "llm", StepStatus.COMPLETED, 1, cost_nano_usd=spent, path_ms={"work": took}, model="m"
        )
        for spent, took in ((10**6, 1_000), (10**6 + cost, 1_000 + latency))
    ]
    return TraceDiffStep("changed", ("output",), *sides, cost_nano_usd=cost, latency_ms=latency, **more)


def _diff(*steps: TraceDiffStep, **more: Any) -> TraceDiff:
    runs = [TraceDiffRun(f"run_{name}", "w", RunStatus.COMPLETED, 1) for name in "ab"]
    return TraceDiff(*runs, summary="One sentence.", steps=steps, **more)


def _text(item: TraceDiff, sections: Sections = Sections()) -> str:  # noqa: B008 - a tuple
    console = Console(width=200, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        for part in render(item, sections):
            console.print(part)
    return captured.get()


def test_the_greatest_contributors_come_first_and_the_sum_last() -> None:
    text = _text(_diff(_step(1, cost=1_000), _step(2, cost=-9_000_000), rest=TraceDiffRest(cost_nano_usd=500_000)))
    lines = text.split("COST, THE GREATEST DIFFERENCES FIRST\n")[1].split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["step_2", "step_1", "all", "sum"]
    assert "-$0.008499" in lines[-1]
    assert lines[1].count("\N{FULL BLOCK}") == 24
    assert lines[2].count("\N{FULL BLOCK}") == 1


def test_steps_that_are_not_shown_are_in_the_sum() -> None:
    item = _diff(*(_step(number, latency=number) for number in range(1, 41)))
    shown = _text(item, Sections(costs=False, outputs=False))
    assert f"step_{41 - SHOWN_MAX} " in shown
    assert f"step_{40 - SHOWN_MAX} " not in shown.split("TIME, ")[1]
    assert f"+{sum(range(1, 41 - SHOWN_MAX))} ms" in shown
    assert f"+{sum(range(1, 41))} ms" in shown
    everything = _text(item, Sections(costs=False, outputs=False, everything=True))
    assert "step_1 " in everything.split("TIME, ")[1]
    assert "COST" not in everything
    assert "OUTPUTS" not in everything


def test_what_was_there_before_the_first_step_comes_before_the_steps() -> None:
    field = TraceDiffField("config.model", "a/small", "a/large")
    item = _diff(_step(1), parts=(TraceDiffPart("node", "changed", "step_1", (field,)),))
    text = _text(item)
    assert text.index("~ config.model: a/small -> a/large") < text.index("STEPS")


def test_long_texts_are_cut_around_their_first_difference() -> None:
    same = "word " * 100
    value = TraceDiffValue((TraceDiffField("text", f"{same}old end", f"{same}new end"),))
    text = _text(_diff(_step(1, output=value)))
    (line,) = [line for line in text.splitlines() if "~ text:" in line]
    assert "old end -> ..." in line
    assert line.endswith("new end")
    assert len(line) < 200


def test_a_page_has_no_scripts_and_shows_hostile_texts_as_texts() -> None:
    value = TraceDiffValue((TraceDiffField(HOSTILE, HOSTILE, None),), text="")
    lines = TraceDiffValue(text=f"@@\n-{HOSTILE}\n+{HOSTILE}")
    step = TraceDiffStep("added", ("node",), None, TraceDiffSide(HOSTILE, "llm", StepStatus.FAILED), output=value)
    item = _diff(
        step,
        _step(1, cost=5, output=lines),
        parts=(TraceDiffPart("node", "added", HOSTILE, (TraceDiffField(HOSTILE, None, HOSTILE),)),),
        inputs=value,
    )
    html = page(item)
    assert "<script" not in html.lower()
    assert "default-src 'none'" in html
    assert not re.search(r"(?:src|href|style)=", html)
    assert html.count("&lt;script&gt;") >= 6
    assert "\x1b" not in _text(item).replace("\x1b[1m", "").replace("\x1b[0m", "")


def test_two_equal_runs_say_so() -> None:
    text = _text(_diff(same=True, equal_steps=3))
    assert "all 3 steps did the same" in text
    assert text.count("no difference") == 3
