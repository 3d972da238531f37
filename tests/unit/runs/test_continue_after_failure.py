"""What follows a step that failed and without which the run goes on (`on_failure: continue`)."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common.runs.state import RunStatus
from tests.support.definitions import (
    BODY,
    CONTINUE,
    Node,
    child,
    edges,
    function,
    in_order,
    subworkflow,
    workflow,
)
from tests.support.run_driver import REFUSED, RunDriver


def shaky(name: str) -> Node:
    """Returns a function without which the run goes on."""
    return function(name, policy=CONTINUE)


def test_engine_02_what_follows_a_failed_step_runs_and_is_given_null() -> None:
    b = function("b", {"x": "a.output.n", "y": "{{a.status}}"})
    run = RunDriver(in_order(shaky("a"), b, function("c", {"x": "b.output"}))).submit()
    assert run.fails("a").inputs("b") == {"x": None, "y": "failed"}
    assert run.completes("b", 7).inputs("c") == {"x": 7}
    run.completes("c", 8)
    assert run.status is RunStatus.COMPLETED
    assert run.statuses == {"a": "failed", "b": "completed", "c": "completed"}


@pytest.mark.parametrize(
    ("follower", "edge"),
    [
        (function("b", depends_on=["a"]), []),
        (function("b", {"x": "a.output"}), []),
        (function("b", condition="a.status == 'failed'"), []),
        (function("b", condition="a.status == 'failed' && a.error.type == 'E'"), edges("a b")),
        (function("b"), edges("a b", condition="a.error != null")),
        (function("b"), edges("a b", condition="a.output == null")),
    ],
)
def test_engine_02_every_way_to_follow_a_failed_step_is_taken(follower: Node, edge: list[dict[str, Any]]) -> None:
    run = RunDriver(workflow(shaky("a"), follower, edges=edge)).submit()
    assert "b" in run.fails("a").offered


@pytest.mark.parametrize("condition", ["a.status == 'completed'", "a.error == null", "a.output != null"])
def test_engine_02_a_condition_still_tells_them_apart(condition: str) -> None:
    by_edge = workflow(shaky("a"), function("b"), edges=edges("a b", condition=condition))
    by_node = workflow(shaky("a"), function("b", condition=condition), edges=edges("a b"))
    for definition in (by_edge, by_node):
        run = RunDriver(definition).submit().fails("a")
        assert run.status is RunStatus.COMPLETED
        assert run.statuses["b"] == "skipped"


def test_engine_02_a_join_waits_for_both_and_a_skipped_branch_stays_skipped() -> None:
    join = function("join", {"x": "a.output", "y": "b.output"})
    links = edges("a join", "b join", "no on") + edges("b no", condition="b.output > 5")
    run = RunDriver(workflow(shaky("a"), function("b"), join, function("no"), function("on"), edges=links)).submit()
    assert "join" not in run.fails("a").offered, "it waits for b"
    assert run.completes("b", 1).inputs("join") == {"x": None, "y": 1}
    assert run.statuses["no"] == "skipped", "nothing failed there"
    assert run.statuses["on"] == "skipped", "nothing failed there"


def test_engine_02_an_unknown_outcome_is_followed_as_a_failure_is() -> None:
    run = RunDriver(in_order(shaky("a"), function("b"))).submit()
    assert "b" in run.is_unknown("a").offered


def test_engine_02_a_step_that_failed_after_some_of_its_parts_gives_null() -> None:
    """Of a map, and of a loop that came to its bound."""
    each = {"id": "each", "type": "map", "config": {"over": [1, 2], "body": BODY}, "policy": CONTINUE}
    bound = {"until": "false", "max_iterations": 1, "on_max": "fail"}
    often = {"id": "often", "type": "loop", "config": {"body": BODY, **bound}, "policy": CONTINUE}
    b = function("b", {"x": "each.output", "y": "often.output", "n": "{{[each.output]}}"})
    links = edges("each b", "often b")
    run = RunDriver(workflow(each, often, b, edges=links, outputs={"all": "each.output"})).submit()
    run.completes("each[0]", 1).completes("often@1", 1).fails("each[1]")
    assert run.inputs("b") == {"x": None, "y": None, "n": [None]}
    assert run.completes("b").output == {"all": None}


def test_engine_02_a_back_edge_of_a_failed_step_is_asked() -> None:
    links = edges("a b", "b c") + edges("b a", condition="b.status == 'failed'", max_iterations=2)
    run = RunDriver(workflow(function("a"), shaky("b"), function("c"), edges=links)).submit()
    assert "c" not in run.completes("a").fails("b").offered
    assert "c" in run.completes("a#2").completes("b#2").offered


def test_engine_02_in_a_loop_the_newest_outcome_counts_also_if_it_is_not_known() -> None:
    links = edges("a b", "b c") + edges("b a", condition="b.status == 'completed'", max_iterations=2)
    nodes = (function("a"), shaky("b"), function("c", {"x": "b.output"}))
    run = RunDriver(workflow(*nodes, edges=links)).submit()
    run.completes("a", 1).completes("b", 1).completes("a#2", 1).is_unknown("b#2")
    assert "a#3" not in run.offered, "the condition speaks of the second visit"
    assert run.inputs("c") == {"x": None}


def test_engine_02_a_graph_goes_on_behind_a_failed_node() -> None:
    nodes = (shaky("a"), function("b", writes={"n": "output"}), function("rescue"), function("other"))
    links = [
        *edges("a b"),
        *edges("a rescue", condition="a.status == 'failed'"),
        *edges("a other", condition="a.status == 'completed'"),
    ]
    graph = {"entry_point": "a", "state": {"initial": {"n": 1}}}
    run = RunDriver(workflow(*nodes, edges=links, graph=graph)).submit().fails("a")
    assert run.state.active == ("b", "rescue")
    assert run.completes("b", 5).completes("rescue", {}).output == {"n": 5}


def test_engine_02_behind_a_failed_subworkflow_too() -> None:
    run = RunDriver(in_order(subworkflow("part", policy=CONTINUE), function("b"))).submit(definitions=child())
    assert run.child_ends("part", "failed", error=REFUSED).offered == ["b"]
