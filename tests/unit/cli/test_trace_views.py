"""A trace as a tree, a flowchart and a page: what stands where, and that nothing in a trace becomes markup."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

import pytest

from agentctl.display.traces.family import families, walk
from agentctl.display.traces.mermaid import EDGES_MAX, NODES_MAX, mermaid
from agentctl.display.traces.page import page
from agentctl.display.traces.tree import tree
from agentflow_sdk import RunStatus, StepStatus, Trace, TraceNode, TraceSegment, TraceStep

DONE, FAILED = StepStatus.COMPLETED, StepStatus.FAILED
HOSTILE = (
    "</script><script>alert(1)</script>",
    '"] --> x; click x "javascript:alert(1)"',
    "]]>\u202e%%{init: {}}%%",
    "a\nb",
)


def trace(*steps: TraceStep, **more: Any) -> Trace:
    known: dict[str, Any] = {"started_at": 1_000, "finished_at": 2_000, "workflow": "w"}
    return Trace(**{"run_id": "run_x", "status": RunStatus.COMPLETED, "steps": steps, **known, **more})


def printed(made: Any) -> str:
    from rich.console import Console

    console = Console(width=200, force_terminal=False)
    with console.capture() as capture:
        console.print(made)
    return capture.get()


CHILD = trace(TraceStep("inside", 1, DONE, cost_nano_usd=7, finished_at=3), run_id="run_child")
WHOLE = trace(
    TraceStep("each", 1, DONE, 1_000, 1_000, 1_900, kind="map"),
    TraceStep("each[0]", 1, FAILED, 1_000, 1_100, 1_200, error="busy: later", cost_nano_usd=1_000_000_000),
    TraceStep("each[0]", 2, DONE, 1_300, 1_300, 1_900, cost_nano_usd=2_000_000_000, input_tokens=5, output_tokens=6),
    TraceStep("sub", 1, DONE, 1_000, 1_000, 1_500, child_run_id="run_child"),
    nodes=(
        TraceNode("each", "map"), TraceNode("sub", "subworkflow"), TraceNode("end", "tool", waits_for=("each", "sub")),
    ),
    critical_path=(TraceSegment("work", 1_000, 2_000, "each[0]", 1),),
)  # fmt: skip


def test_the_tree_has_parts_attempts_and_the_steps_of_subworkflows_below_their_step() -> None:
    lines = printed(tree(WHOLE, {"run_child": CHILD})).splitlines()
    assert [line.strip(" │├└─").split()[0] for line in lines] == [
        "w", "each", "each[0]", "attempt", "attempt", "sub", "inside",
    ]  # fmt: skip
    assert "$3.00" in lines[1] and "5+6 tokens" in lines[1] and "900 ms" in lines[1]
    assert "◆ 1.00 s" in lines[2] and "busy" in lines[3]


def test_a_run_that_names_itself_as_its_child_is_shown_once() -> None:
    own = trace(TraceStep("sub", 1, DONE, child_run_id="run_x"))
    assert [member.key for _, member in walk(families(own, {"run_x": own}))] == ["sub"]


def test_the_chart_has_each_node_with_its_end_and_thick_edges_on_the_critical_path() -> None:
    path = (*WHOLE.critical_path, TraceSegment("work", 1, 2, "end", 1))
    chart = mermaid(trace(*WHOLE.steps, nodes=WHOLE.nodes, critical_path=path))
    assert 'n0["each<br/>map, 900 ms, #36;3.00, 3 attempts"]:::completed' in chart
    assert 'n2["end<br/>tool, not reached"]:::pending' in chart
    assert "n0 ==> n2" in chart and "n1 --> n2" in chart


LINE = re.compile(
    r'flowchart TD|  n\d+\["[^"\n\];<>]*(?:(?:<br/>|#\d+;)[^"\n\];<>]*)*"\]:::\w+|  n\d+ (==>|-->|-\.->) n\d+'
    r"|  classDef \w+ [\w:#,\-]+|  %% left out: \d+ nodes and \d+ edges"
)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_leaves_its_label_in_a_chart(name: str) -> None:
    chart = mermaid(trace(TraceStep(name, 1, DONE), nodes=(TraceNode(name, name, loops_to=(name,)),)))
    assert all(LINE.fullmatch(line) for line in chart.splitlines()), chart
    assert len(chart.splitlines()) == 4


def test_a_large_chart_says_what_it_leaves_out() -> None:
    names = [f"n{number}" for number in range(NODES_MAX + 20)]
    nodes = [TraceNode(name, "tool", waits_for=tuple(names[max(0, at - 3) : at])) for at, name in enumerate(names)]
    lines = mermaid(trace(nodes=tuple(nodes))).splitlines()
    assert len([line for line in lines if "-->" in line]) == EDGES_MAX
    assert lines[-1].startswith("  %% left out: 20 nodes and ")


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_of_a_trace_becomes_a_part_of_the_page(text: str) -> None:
    steps = (TraceStep(text, 1, FAILED, error=text, worker=text),)
    made = page(trace(*steps, workflow=text, trace_id="@@script@@"), {}, (text,))
    assert made.count("<script") == 2 and made.count("</script>") == 2
    found = re.search(r'<script id="data" type="application/json">([^<>&]*)</script>', made)
    assert found is not None
    assert json.loads(found[1])["steps"][0]["attempts"][0]["error"] == text
    assert json.loads(found[1])["run"]["trace_id"] == "@@script@@"


def test_the_pages_policy_allows_its_own_program_and_styles_and_nothing_else() -> None:
    made = page(WHOLE)
    found = re.search(r'Content-Security-Policy" content="([^"]*)"', made)
    assert found is not None
    policy = dict(part.strip().split(" ", 1) for part in found[1].split(";"))
    program, style = re.findall(r"<script>(.*?)</script>", made, re.S), re.findall(r"<style>(.*?)</style>", made, re.S)

    def allowed(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    assert policy == {
        "default-src": "'none'", "script-src": allowed(program[0]), "style-src": allowed(style[0]),
        "base-uri": "'none'", "form-action": "'none'",
    }  # fmt: skip
    assert not re.search(r"(?:src|href)=|url\(|https?:", made), "the page loads nothing"
