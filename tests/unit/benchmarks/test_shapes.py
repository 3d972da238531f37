"""What the benchmarks compute themselves: bounds of a workflow's makespan, copies of a run's history."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.events import Payload
from agentflow_common.log.event_log import Stored
from agentflow_common.runs.fold import fold
from agentflow_common.runs.state import RunStatus
from benchmarks import history
from benchmarks import workflow_shapes as shapes
from benchmarks.wfformat import scaled


def wfformat(tasks: dict[str, tuple[list[str], float]], side: str = "parents") -> dict[str, Any]:
    """id -> (parents, seconds), the edges written on one side alone."""
    specified = []
    for name, (parents, _) in tasks.items():
        children = [other for other, (of, _) in tasks.items() if name in of]
        edges = {"parents": parents} if side == "parents" else {"children": children}
        specified.append({"id": name, "name": name, **edges})
    executed = [{"id": name, "runtimeInSeconds": seconds} for name, (_, seconds) in tasks.items()]
    workflow = {"specification": {"tasks": specified}, "execution": {"tasks": executed}}
    return {"schemaVersion": "1.5", "workflow": workflow}


DIAMOND = {"d": (["b", "c"], 1.0), "b": (["a"], 5.0), "c": (["a"], 2.0), "a": ([], 3.0)}


@pytest.mark.parametrize("side", ["parents", "children"])
def test_parents_come_first_whichever_side_states_the_edges(side: str) -> None:
    tasks = shapes.parse(wfformat(DIAMOND, side))
    names = [task.id for task in tasks]
    assert names[0] == "a"
    assert names[-1] == "d"
    assert {names[parent] for parent in tasks[-1].parents} == {"b", "c"}


def test_the_bound_is_the_longer_of_path_and_work() -> None:
    tasks = shapes.parse(wfformat(DIAMOND))
    assert shapes.critical_path_s(tasks) == 9.0
    assert shapes.lower_bound_s(tasks, 64) == 9.0
    assert shapes.lower_bound_s(tasks, 1) == 11.0


def test_a_queue_without_overhead_never_beats_the_bound() -> None:
    tasks = shapes.parse(wfformat(DIAMOND))
    assert shapes.greedy_s(tasks, 64) == 9.0
    assert shapes.greedy_s(tasks, 1) == 11.0
    # three tasks of 2 s on two slots: the work is 3 s a slot, but a task can't be divided
    even = shapes.parse(wfformat({name: ([], 2.0) for name in "abc"}))
    assert shapes.lower_bound_s(even, 2) == 3.0
    assert shapes.greedy_s(even, 2) == 4.0


@given(data=st.data())
def test_the_bound_is_that_of_another_computation(data: st.DataObject) -> None:
    """Edges on a random side, tasks in a random order; the path by relaxing all edges as often as there are tasks."""
    seconds = data.draw(st.lists(st.floats(0, 1000), min_size=1, max_size=12))
    pairs = [(a, b) for b in range(len(seconds)) for a in range(b)]
    edges = data.draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    raw: dict[int, dict[str, Any]] = {
        number: {"id": f"t{number}", "runtimeInSeconds": value, "parents": [], "children": []}
        for number, value in enumerate(seconds)
    }
    for a, b in edges:
        sides = data.draw(st.sampled_from([("parents",), ("children",), ("parents", "children")]))
        if "parents" in sides:
            raw[b]["parents"].append(f"t{a}")
        if "children" in sides:
            raw[a]["children"].append(f"t{b}")
    slots = data.draw(st.integers(1, 5))
    tasks = shapes.parse({"workflow": {"tasks": data.draw(st.permutations(list(raw.values())))}})

    begin = [0.0] * len(seconds)
    for _ in seconds:
        for a, b in edges:
            begin[b] = max(begin[b], begin[a] + seconds[a])
    path = max(start + value for start, value in zip(begin, seconds, strict=True))
    bound = max(path, sum(seconds) / slots)
    assert shapes.lower_bound_s(tasks, slots) == pytest.approx(bound)
    assert {(int(tasks[a].id[1:]), int(task.id[1:])) for task in tasks for a in task.parents} == set(edges)
    # Graham 1966: no queue that keeps its slots busy is longer than path and work together
    assert bound * (1 - 1e-9) <= shapes.greedy_s(tasks, slots) <= (path + sum(seconds) / slots) * (1 + 1e-9)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({}, "not WfFormat"),
        (wfformat({"a": (["b"], 1.0), "b": (["a"], 1.0)}), "cycle"),
        (wfformat({"a": (["nobody"], 1.0)}), "nobody"),
    ],
)
def test_what_is_no_workflow_is_refused(data: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        shapes.parse(data)


def test_each_task_is_a_step_that_sleeps_its_scaled_runtime() -> None:
    raw: Any = scaled("diamond", shapes.parse(wfformat(DIAMOND)), 2, scale=0.1).definition
    seconds = {node["id"]: node["config"]["inputs"]["seconds"] for node in raw["dag"]["nodes"]}
    assert sorted(seconds.values()) == pytest.approx([0.1, 0.2, 0.3, 0.5])
    assert len(raw["dag"]["edges"]) == 4


def test_a_copied_history_folds_like_the_original() -> None:
    owner: dict[str, Any] = {"org": "bench", "run": "run_A", "ts": 5}
    first = subjects.prefix(subjects.key_of("bench", "run_A"))
    scheduled = ev.StepScheduled(**owner, step="s", attempt=1, lane="default", kind="function", config={}, seen=7)
    original: list[tuple[str, ev.Event]] = [
        ("in", ev.RunSubmitted(**owner, workflow="w", version=1, definition={})),
        ("out.run", ev.RunStarted(**owner, workflow="w", version=1, steps=1, seen=7)),
        ("out.task.default", scheduled),
        ("in", ev.StepCompleted(**owner, step="s", attempt=1, output=Payload(value=3))),
        ("in", ev.StepCompleted(**owner, step="t", attempt=1, output=Payload(value=3))),  # begun in a chain: no task
        ("out.run", ev.RunCompleted(**owner, output=Payload(value=3), seen=13)),
    ]
    numbers = [7, 9, 10, 12, 13, 14]  # other runs wrote in between
    stored = [
        Stored(f"{first}.{suffix}", ev.encode(event), seq)
        for (suffix, event), seq in zip(original, numbers, strict=True)
    ]
    lines = history.template(stored)
    assert history.tasks(lines) == 1, "whoever waits for a task a step waits for ever"
    entries = history.copy(lines, "run_B", after_seq=100)
    prefix = subjects.prefix(subjects.key_of("bench", "run_B"))
    assert [entry.subject for entry in entries] == [f"{prefix}.{suffix}" for suffix, _ in original]
    state = fold((101 + place, ev.decode(entry.data)) for place, entry in enumerate(entries))
    assert state is not None
    assert (state.run, state.status, state.facts_seq, state.out_seq) == ("run_B", RunStatus.COMPLETED, 105, 106)
    seen = [event.seen for entry in entries if isinstance(event := ev.decode(entry.data), ev.Decision)]
    assert seen == [101, 101, 105]
