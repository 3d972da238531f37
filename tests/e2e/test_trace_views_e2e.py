"""The views of real runs: nodes and the critical path over the API, and each output of `agentctl trace get`."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

from tests.support.waiting import PATIENCE_S, until_now

CHILD = """
name: views_child
dag:
  nodes:
    - {id: inside, type: wait, config: {duration: 150ms}}
"""
FLOW = """
name: views_parent
dag:
  nodes:
    - {id: each, type: map, config: {over: [1, 2, 3], body: {type: subworkflow, config: {workflow: views_child}}}}
    - {id: sub, type: subworkflow, depends_on: [each], config: {workflow: views_child}}
    - {id: short, type: wait, config: {duration: 1ms}}
    - {id: last, type: wait, depends_on: [sub, short], config: {duration: 5ms}}
"""


def test_a_run_is_shown_as_nodes_path_tree_chart_and_page(platform: Any, tmp_path: Path) -> None:
    with platform.client() as client:
        client.workflows.register(CHILD)
        run = client.workflows.submit(FLOW)
        client.workflows.wait(run, timeout=PATIENCE_S)
        trace = client.traces.get(run)
    assert {node.id: (node.kind, node.waits_for) for node in trace.nodes} == {
        "each": ("map", ()), "sub": ("subworkflow", ("each",)), "short": ("wait", ()),
        "last": ("wait", ("sub", "short")),
    }  # fmt: skip
    path = trace.critical_path
    assert sum(part.duration_ms for part in path) == trace.finished_at - trace.started_at
    assert all(one.ended_at == other.started_at for one, other in itertools.pairwise(path))
    one_of_three, child = [part for part in path if part.kind == "child"]
    assert one_of_three.step.startswith("each[")
    sub = next(step for step in trace.steps if step.step == "sub")
    assert child.on == sub.child_run_id and child.duration_ms >= 150
    assert "short" not in {part.step for part in path} and path[-1].step in ("last", "")
    assert {step.step: step.kind for step in trace.steps}["each[1]"] == "subworkflow"

    tree = platform.cli("trace", "get", run.run_id, "-o", "tree", "--children").stdout
    assert all(name in tree for name in ("each[2]", "inside", "◆"))
    assert "n1 ==> n3" in platform.cli("trace", "get", run.run_id, "-o", "mermaid").stdout
    file = tmp_path / "trace.html"
    done = platform.cli("trace", "get", run.run_id, "-o", "html", "--children", "--events", "--to", str(file))
    assert done.returncode == 0, done.stderr
    text = file.read_text()
    data = json.loads(text.partition('<script id="data" type="application/json">')[2].partition("</script>")[0])
    assert [step["step"] for step in data["steps"] if step["run"] == sub.child_run_id] == ["inside"]
    assert data["events"] and data["notes"] == []
    refused = platform.cli("trace", "get", run.run_id, "--to", str(file))
    assert refused.returncode == 2 and "-o html" in refused.stderr


def test_runs_are_drawn_over_time(platform: Any, tmp_path: Path) -> None:
    with platform.client() as client:
        run = client.workflows.submit(CHILD.replace("views_child", "views_drawn"))
        client.workflows.wait(run, timeout=PATIENCE_S)

    def drawn(name: str, *more: str) -> bytes:
        file = tmp_path / name

        def made() -> bool:  # the tables of runs follow the log within a second or two
            done = platform.cli("trace", "plot", "--since", "1h", "--workflow", "views_drawn", "-o", str(file), *more)
            assert done.returncode == 0 or "no runs in that time" in done.stderr, done.stderr
            return done.returncode == 0

        until_now(made, PATIENCE_S, "there are no points")
        return file.read_bytes()

    points = json.loads(drawn("points.json"))["points"]
    assert sum(point["count"] for point in points) == 1
    assert drawn("plot.png").startswith(b"\x89PNG")
    assert b"views_drawn/inside" in drawn("plot.html", "--by", "node", "--what", "latency")
    refused = platform.cli("trace", "plot", "-o", "plot.bmp")
    assert refused.returncode == 2 and ".png" in refused.stderr
