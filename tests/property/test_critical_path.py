"""The critical path of generated runs: its segments partition the run's time, and it goes through the bottleneck."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentflow_common import events as ev
from agentflow_common.rpc.traces.views import TraceSegment
from agentflow_trace.views.critical_path import critical_path
from agentflow_trace.views.phases import KINDS
from tests.support.run_driver import RunDriver
from tests.support.trace_rows import rows_of

from .entities_workflows import workflows
from .entities_world import World


def check_partition(path: tuple[TraceSegment, ...], begin: int, end: int) -> None:
    """Raises AssertionError unless the segments partition the time from `begin` to `end`."""
    assert all(segment.kind in KINDS for segment in path)
    assert all(segment.ended_at > segment.started_at for segment in path)
    assert all(one.ended_at == other.started_at for one, other in itertools.pairwise(path))
    assert sum(segment.ended_at - segment.started_at for segment in path) == end - begin
    if path:
        assert (path[0].started_at, path[-1].ended_at) == (begin, end)


@pytest.mark.parametrize("crashes", [False, True], ids=["steady", "crashing"])
@given(workflows(), st.integers(0, 2**32), st.sampled_from([-1, -1, 2, 9, 25]), st.sampled_from([-1, -1, 4]))
@settings(max_examples=100, deadline=None)
def test_the_segments_partition_the_time_of_every_run(
    crashes: bool, definition: dict[str, Any], seed: int, cancel_at: int, pause_at: int
) -> None:
    world = World(definition, seed, crashes)
    world.play(cancel_at, pause_at)
    for key, log in world.logs.items():
        if key.kind != "run":
            continue
        events = [event for _, event in log]
        ends = (ev.RunCompleted, ev.RunFailed, ev.RunCancelled)
        end = next(event.ts for event in events if isinstance(event, ends))
        found = rows_of(log)
        path = critical_path(found)
        check_partition(path, events[0].ts, max(events[0].ts, end))
        assert critical_path(rows_of(log)) == path
        for cut in range(1, len(found), max(1, len(found) // 5)):  # a run that has not ended
            part = found[:cut]
            newest = max(row.ts for row in part if row.type != "timer.schedule")
            last = next((row.ts for row in part if row.type in ("run.completed", "run.failed", "run.cancelled")), 0)
            check_partition(critical_path(part), part[0].ts, max(part[0].ts, last or newest))


@st.composite
def timed_graphs(draw: st.DrawFn) -> tuple[dict[str, list[str]], dict[str, int], dict[str, int]]:
    """Nodes with what they wait for; how long each waits for a worker, and how long its work takes."""
    names = [f"n{number}" for number in range(draw(st.integers(1, 12)))]
    waits = {
        name: draw(st.lists(st.sampled_from(names[:number]), unique=True, max_size=3)) if number else []
        for number, name in enumerate(names)
    }
    lengths = st.integers(1, 10**6)
    return waits, {name: draw(lengths) for name in names}, {name: draw(lengths) for name in names}


@given(timed_graphs())
@settings(max_examples=150, deadline=None)
def test_the_path_is_the_longest_one_through_the_graph(
    graph: tuple[dict[str, list[str]], dict[str, int], dict[str, int]],
) -> None:
    waits, queue, work = graph
    nodes = [
        {"id": name, "type": "function", "config": {"function_name": "f"}, "depends_on": into}
        for name, into in waits.items()
    ]
    run = RunDriver({"dag": {"nodes": nodes}}).at(1_000).submit()
    offered: dict[str, int] = {}
    while not run.status.terminal:  # every worker is free, so each step ends as early as it can
        for task in run.open_tasks():
            offered.setdefault(task.step, run.now_ms)
        ends = {name: at + queue[name] + work[name] for name, at in offered.items() if name not in done(run)}
        name = min(ends, key=lambda name: (ends[name], name))
        run.at(ends[name]).completes(name, started_at=ends[name] - work[name])

    finish: dict[str, int] = {}
    for name, into in waits.items():
        finish[name] = max((finish[other] for other in into), default=1_000) + queue[name] + work[name]
    expected = max(finish.values()) - 1_000
    path = critical_path(rows_of(run.log))
    check_partition(path, 1_000, max(finish.values()))
    on_path = list(dict.fromkeys(segment.step for segment in path))
    assert sum(queue[name] + work[name] for name in on_path) == expected
    assert {segment.kind for segment in path} == {"worker", "work"}
    for name in on_path:
        spent = {s.kind: s.ended_at - s.started_at for s in path if s.step == name}
        assert spent == {"worker": queue[name], "work": work[name]}


def done(run: RunDriver) -> set[str]:
    return {name for name, status in run.statuses.items() if status == "completed"}


@given(st.integers(0, 2**32), st.integers(1, 30), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_a_map_with_few_at_a_time_leads_through_the_items_that_held_it_up(seed: int, width: int, together: int) -> None:
    chance = random.Random(seed)
    body = {"type": "function", "config": {"function_name": "f"}}
    config = {"over": list(range(width)), "body": body, "concurrency": together}
    run = RunDriver({"dag": {"nodes": [{"id": "m", "type": "map", "config": config}]}}).at(1_000).submit()
    ends: dict[str, int] = {}
    while not run.status.terminal:
        for task in run.open_tasks():
            ends.setdefault(task.step, run.now_ms + chance.randint(1, 10**6))
        name = min(ends.keys() - done(run), key=lambda name: (ends[name], name))
        run.at(ends[name]).completes(name, started_at=run.state.steps[name].scheduled_at)
    path = critical_path(rows_of(run.log))
    check_partition(path, 1_000, run.state.finished_at)
    assert {segment.kind for segment in path} == {"work"}, "some item is always at work"
    assert path[-1].step == max(ends, key=lambda name: ends[name])
