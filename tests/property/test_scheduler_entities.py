"""All the machines together on one log (entities_world.py): every run ends once, nothing leaks, whatever crashes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from agentflow_common import events as ev
from agentflow_common.definition.parse import parse_dict
from agentflow_common.errors import AgentFlowError
from agentflow_common.events import Payload
from agentflow_common.runs import fork as forking
from agentflow_common.runs.fold import fold
from agentflow_common.runs.fork import Changes
from agentflow_common.runs.state import RunStatus

from .entities_workflows import WORK, nodes, workflows
from .entities_world import World

MOMENTS = st.sampled_from([-1, -1, 2, 9, 25])


@pytest.mark.parametrize("crashes", [False, True], ids=["steady", "crashing"])
@given(workflows(), st.integers(0, 2**32), MOMENTS, st.sampled_from([-1, -1, 4]))
@settings(max_examples=150, deadline=None)
def test_every_run_ends_once_and_nothing_leaks(
    crashes: bool, definition: dict[str, Any], seed: int, cancel_at: int, pause_at: int
) -> None:
    world = World(definition, seed, crashes)
    world.play(cancel_at, pause_at)
    world.check()


def family() -> st.SearchStrategy[dict[str, Any]]:
    """Subworkflows that have something to undo, in every place, beside a step that may fail."""
    undo = {"type": "function", "config": {"function_name": "undo"}}
    final = {"retry": {"max_attempts": 1}}

    def placed(name: str, place: str) -> dict[str, Any]:
        sub = {"type": "subworkflow", "config": {"workflow": name, "inputs": {"n": 1}}}
        config = {"over": [1, 2]} if place == "map" else {"until": "iteration > 1", "max_iterations": 2}
        if place in {"map", "loop"}:
            return {"type": place, "config": {"body": sub, **config}}
        timed = {"timeout_ms": 1000, "on_failure": "continue", **final}
        return {**sub, "policy": timed} if place == "timed" else sub

    def whole(below: list[dict[str, Any]]) -> dict[str, Any]:
        before = {"id": "before", "type": "function", "config": WORK, "compensate_with": undo}
        more = {"depends_on": ["before"], "compensate_with": undo}
        subs = [{"id": f"s{at}", **more, **node} for at, node in enumerate(below)]
        beside = {"id": "beside", "type": "function", "config": WORK, "policy": final, "compensate_with": undo}
        return {"name": "w", "inputs": {"go": {"type": "boolean"}}, "dag": {"nodes": [before, *subs, beside]}}

    places = st.sampled_from(["plain", "plain", "map", "loop", "timed"])
    node = st.builds(placed, st.sampled_from(["child", "nested", "again"]), places)
    return st.lists(node, min_size=1, max_size=3).map(whole)


@pytest.mark.parametrize("crashes", [False, True], ids=["steady", "crashing"])
@given(family(), st.integers(0, 2**32), MOMENTS)
@settings(max_examples=150, deadline=None)
def test_engine_04_a_run_undoes_nothing_before_its_subworkflows_have_ended(
    crashes: bool, definition: dict[str, Any], seed: int, cancel_at: int
) -> None:
    world = World(definition, seed, crashes)
    world.play(cancel_at, -1)
    world.check()


@st.composite
def going_on(draw: st.DrawFn) -> dict[str, Any]:
    """A run that is to go on as a new one beside steps of every type."""
    beside = [draw(nodes(f"n{index}")) for index in range(draw(st.integers(1, 3)))]
    after = draw(st.sampled_from([[], [beside[0]["id"]]]))
    following = {"id": "next", "type": "continue_as_new", "condition": "go", "config": {"inputs": {"go": False}}}
    chain = {"id": "chain", "type": "function", "config": WORK, "depends_on": [beside[-1]["id"]]}
    listed = draw(st.permutations([*beside, {**following, "depends_on": after}, chain]))
    inputs = {"go": {"type": "boolean", "default": True}}
    return {"name": "w", "inputs": inputs, "dag": {"nodes": listed, "edges": []}}


@pytest.mark.parametrize("crashes", [False, True], ids=["steady", "crashing"])
@given(going_on(), st.integers(0, 2**32), MOMENTS, st.sampled_from([-1, -1, 4]))
@settings(max_examples=150, deadline=None)
def test_engine_05_a_run_goes_on_as_a_new_one_once_nothing_runs(
    crashes: bool, definition: dict[str, Any], seed: int, cancel_at: int, pause_at: int
) -> None:
    world = World(definition, seed, crashes, tight=seed % 2 == 0)
    world.play(cancel_at, pause_at)
    world.check()


def nested_loops() -> dict[str, Any]:
    """A back edge within another's body, conditions that look into outputs, a step beside them."""
    nodes = [{"id": name, "type": "function", "config": WORK} for name in ("a", "b", "c", "d")]
    beside = {"id": "m", "type": "map", "config": {"over": [1, 2, 3], "body": {"type": "function", "config": WORK}}}
    back = [
        {"from": "c", "to": "b", "condition": "c.output.n > 2", "max_iterations": 2},
        {"from": "d", "to": "a", "condition": "d.output.n > 4 && m.status == 'completed'", "max_iterations": 2},
    ]
    edges = [{"from": x, "to": y} for x, y in (("a", "b"), ("b", "c"), ("c", "d"))]
    return {"name": "w", "dag": {"nodes": [*nodes, beside], "edges": [*edges, *back]}}


def graph_style() -> dict[str, Any]:
    """A shared state, a cycle, a subworkflow, a step that is compensated."""
    undo = {"type": "function", "config": {"function_name": "undo"}}
    nodes = [
        {"id": "a", "type": "function", "config": WORK, "compensate_with": undo},
        {"id": "b", "type": "subworkflow", "config": {"workflow": "child", "inputs": {"n": 1}}, "writes": "parts"},
        {"id": "c", "type": "map", "config": {"over": [1, 2], "concurrency": 1,
                                              "body": {"type": "function", "config": WORK}}, "writes": "parts"},
    ]  # fmt: skip
    edges = [
        {"from": "a", "to": "b"}, {"from": "a", "to": "c"}, {"from": "b", "to": "a", "condition": "state.n < 3"},
        {"from": "c", "to": "END"},
    ]  # fmt: skip
    state = {"reducers": {"n": "sum", "parts": "append"}, "initial": {"n": 0, "parts": []}}
    graph = {"entry_point": "a", "state": state, "max_supersteps": 9}
    return {"name": "w", "graph": graph, "dag": {"nodes": nodes, "edges": edges}}


def going_on() -> dict[str, Any]:
    """Subworkflows that go on as new runs, beside a step that may fail the run and a bound on their time."""
    node = {"type": "subworkflow", "config": {"workflow": "again", "inputs": {"n": 1}}}
    nodes = [
        {"id": "a", **node, "policy": {"total_timeout_ms": 50, "on_failure": "continue"}},
        {"id": "b", **node},
        {"id": "c", "type": "function", "config": WORK, "policy": {"retry": {"max_attempts": 1}}},
    ]
    return {"name": "w", "dag": {"nodes": nodes, "edges": []}}


@pytest.mark.parametrize("crashes", [False, True], ids=["steady", "crashing"])
@given(st.integers(0, 2**32), st.sampled_from([-1, 4, 8, 12, 16, 20]))
@settings(max_examples=150, deadline=None)
def test_a_cancel_reaches_the_run_that_goes_on(crashes: bool, seed: int, cancel_at: int) -> None:
    world = World(going_on(), seed, crashes)
    world.play(cancel_at, -1)
    world.check()


def crowded_lane() -> dict[str, Any]:
    """Many attempts that want the one slot of a lane."""
    many = {**WORK, "parallel": True, "inputs": {"x": [1, 2, 3]}}
    policy = {"on_failure": "continue", "retry": {"max_attempts": 3, "initial_ms": 0}}
    node = {"type": "function", "config": many, "lane": "{{org}}-lane", "lane_limit": 1, "policy": policy}
    return {"name": "w", "dag": {"nodes": [{"id": f"n{index}", **node} for index in range(3)], "edges": []}}


@pytest.mark.parametrize("crashes", [False, True], ids=["steady", "crashing"])
@given(st.integers(0, 2**32), st.sampled_from([4, 8, 12, 20, 30]))
@settings(max_examples=60, deadline=None)
def test_what_is_paused_leaves_its_slots_to_others_and_takes_no_late_word_for_one(
    crashes: bool, seed: int, pause_at: int
) -> None:
    world = World(crowded_lane(), seed, crashes, tight=seed % 2 == 0)
    world.play(-1, pause_at)
    world.check()


@pytest.mark.parametrize("crashes", [False, True], ids=["steady", "crashing"])
@given(
    st.one_of(workflows(), st.builds(nested_loops), st.builds(graph_style)), st.integers(0, 2**32), MOMENTS,
    st.sampled_from([-1, -1, 4]),
)  # fmt: skip
@example(nested_loops(), 1, -1, -1)
@example(graph_style(), 1, -1, -1)
@settings(max_examples=120, deadline=None)
def test_the_same_holds_where_pools_are_full_and_values_stored_out_of_line(
    crashes: bool, definition: dict[str, Any], seed: int, cancel_at: int, pause_at: int
) -> None:
    world = World(definition, seed, crashes, tight=True)
    world.play(cancel_at, pause_at)
    world.check()


def failing_map() -> dict[str, Any]:
    """One item at a time, until three have failed."""
    config = {"over": list(range(9)), "concurrency": 1, "on_item_failure": "continue", "max_failures": 2,
              "body": {"type": "function", "config": WORK}}  # fmt: skip
    return {"name": "w", "dag": {"nodes": [{"id": "m", "type": "map", "config": config,
                                            "policy": {"retry": {"max_attempts": 1}}}], "edges": []}}  # fmt: skip


@given(
    st.one_of(workflows(), st.builds(nested_loops), st.builds(graph_style), st.builds(failing_map)),
    st.integers(0, 2**32),
)
@settings(max_examples=100, deadline=None)
def test_a_run_that_failed_is_retried_from_where_it_stopped(definition: dict[str, Any], seed: int) -> None:
    world = World(definition, seed, crashes=True, tight=True)
    world.play(-1, -1)
    state = fold(world.logs[world.key])
    assume(state is not None and state.status is RunStatus.FAILED)
    assert state is not None
    try:
        kept = forking.retry(state, parse_dict(definition), Changes())
    except AgentFlowError:
        assume(False)
        return
    again = World(definition, seed + 1, True, True, (Payload(value=forking.encoded_steps(kept)), kept.position))
    again.stored = world.stored
    again.play(-1, -1)
    again.check()
    offered = {e.step for _, e in again.logs[again.key] if isinstance(e, ev.StepScheduled) and e.attempt == 1}
    done = {key for key, step in kept.steps.items() if step.status == "completed" and step.kind == "function"}
    assert not offered & done, "what had succeeded is not run again"


def test_the_condition_of_a_back_edge_waits_for_what_it_reads() -> None:
    """Else a scheduler that looks at the loop's end again, after a crash, might see another end."""
    nodes = [{"id": name, "type": "function", "config": WORK} for name in ("a", "b", "z")]
    back = {"from": "b", "to": "a", "condition": "z.status == 'completed'", "max_iterations": 1}
    world = World({"name": "w", "dag": {"nodes": nodes, "edges": [{"from": "a", "to": "b"}, back]}}, 1, crashes=False)
    world.play(-1, -1)
    log = [event for _, event in world.logs[world.key]]
    begun = next(i for i, e in enumerate(log) if isinstance(e, ev.StepScheduled) and e.step == "b")
    ended = next(i for i, e in enumerate(log) if isinstance(e, ev.StepCompleted | ev.StepFailed) and e.step == "z")
    assert ended < begun
