"""Groups of runs on the command line: what an option may say, and how the answer reads."""

from __future__ import annotations

import pytest
from rich.console import Console

from agentctl.commands.trace.groups import parse
from agentctl.display.traces.groups import render
from agentctl.failures import CliError
from agentflow_sdk import TraceGroup, TraceGroupMeasure, TraceGroups, TraceGroupSide, TraceGroupStep


def test_an_option_names_a_group_by_several_filters() -> None:
    found = parse("tag:prompt=new, tag:blue,workflow:review@2,model:m,prompt:p@3,status:completed")
    assert found == TraceGroup(
        tags=("prompt=new", "blue"), workflow="review", version=2, model="m", prompt="p@3", status="completed"
    )
    assert parse("version:7") == TraceGroup(version=7)
    assert 0 < parse("since:2d").start_ms < parse("since:1h").start_ms
    assert parse("until:2020-01-01").end_ms < parse("until:1h").end_ms


@pytest.mark.parametrize("text", ["", ",", "tag", "tag:", "colour:red", "version:0", "version:x", "workflow:a@b"])
def test_an_option_that_names_no_runs_is_refused(text: str) -> None:
    with pytest.raises(CliError, match="--group"):
        parse(text)


def _text(item: TraceGroups) -> str:
    console = Console(width=200, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        for part in render(item):
            console.print(part)
    return captured.get()


def test_significant_changes_are_shown_with_their_interval() -> None:
    slower = TraceGroupMeasure("time", "ms", 100, 1_500, 1_400, 1_200, 1_600, 0.001, significant=True)
    noise = TraceGroupMeasure("cost", "nano_usd", 10**6, 10**6 + 5, 5, -10, 20, 0.7)
    share = TraceGroupMeasure("failures", "per_million", 0, 250_000, 250_000, 20_000, 480_000, 0.04, significant=True)
    text = _text(
        TraceGroups(
            TraceGroupSide(9, workflow="w", version=1),
            TraceGroupSide(8, workflow="w", version=2),
            enough=True,
            measures=(noise, share),
            steps=(
                TraceGroupStep("a", "z", 9, 8, (slower, noise)),
                TraceGroupStep("b", "", 9, 0),
                TraceGroupStep("", "\x1b[31mc", 0, 8),
            ),
        )
    )
    changed = text.split("STEPS THAT CHANGED")[1].split("STEPS OF ONE GROUP")[0]
    assert "a -> z" in changed
    assert "+1.20 s to +1.60 s" in changed
    assert "cost" not in changed
    assert "may be chance" in text
    assert "+25.0 %" in text
    assert "- b, in 9 runs" in text
    assert "\x1b[31m" not in text.split("STEPS OF ONE GROUP")[1].replace("\x1b[31m- b", "")


def test_too_few_runs_show_the_sentence_alone() -> None:
    text = _text(TraceGroups(TraceGroupSide(1), TraceGroupSide(0), summary="Each needs at least 5."))
    assert "Each needs at least 5." in text
    assert "MEDIANS" not in text
