"""Runs of graphs on the machine: supersteps, what nodes give to the state, and the errors that a run ends with."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common.definition.parse import parse_dict
from agentflow_common.events import BlobRef, Payload
from agentflow_common.runs import explain as explaining
from agentflow_common.runs import fork as forking
from agentflow_common.runs.state import RunState, RunStatus
from tests.support.definitions import child
from tests.support.run_driver import RunDriver


def drive(graph: dict[str, Any], inputs: dict[str, Any] | None = None, **fields: Any) -> RunDriver:
    return RunDriver(graph).at(1000).submit(inputs, **fields)


def failure(run: RunDriver) -> ev.RunFailed:
    """Returns the end of a run that failed."""
    assert run.status is RunStatus.FAILED
    return run.of(ev.RunFailed)[0]


def ring(**more: Any) -> dict[str, Any]:
    nodes = [{"name": "a", "function": "f"}, {"name": "b", "function": "f"}]
    edges = [{"from": "a", "to": "b"}, {"from": "b", "to": "a", "condition": "state.n < 3"}]
    return {"nodes": nodes, "edges": edges, "entry_point": "a", **more}


def test_a_loop_ends_when_its_condition_fails_and_costs_one_decision_more_than_a_step() -> None:
    run = drive(ring(state={"initial": {"n": 0}, "reducers": {"n": "sum"}}), {"x": "in"})
    for step in ("a", "b", "a#2", "b#2"):
        run.completes(step, {"n": 1})
    assert run.output == {"n": 4, "x": "in"}
    assert [d.steps for d in run.of(ev.GraphAdvanced)] == [("a",), ("b",), ("a#2",), ("b#2",), ()]
    assert len(run.decisions) == 2 + 4 + 5  # run.started and run.completed, the steps, the supersteps
    assert [sorted(d.state) for d in run.of(ev.GraphAdvanced)] == [["n", "x"], ["n"], ["n"], ["n"], ["n"]]


def test_concurrent_writers_merge_in_the_order_of_the_definition() -> None:
    nodes = [{"name": name, "function": "f"} for name in ("s", "late", "early")]
    edges = [{"from": "s", "to": "early"}, {"from": "s", "to": "late"}]
    spec = {"reducers": {"log": "append"}}
    run = drive({"nodes": nodes, "edges": edges, "entry_point": "s", "state": spec})
    run.completes("s")
    assert run.of(ev.GraphAdvanced)[-1].steps == ("late", "early")
    run.completes("early", {"log": "e", "who": "early"})
    run.completes("late", {"log": "l", "who": "late"})
    assert run.output == {"log": ["l", "e"], "who": "early"}


def test_the_bound_on_supersteps_is_told() -> None:
    run = drive(ring(max_supersteps=2, state={"initial": {"n": 0}}))
    run.completes("a")
    run.completes("b")
    error = failure(run).error
    assert error.type == "max_supersteps"
    assert "2 supersteps" in error.message
    assert "would run a" in error.message


def test_an_edge_is_taken_as_often_as_it_may_be() -> None:
    graph = ring(state={"initial": {"n": 0}})
    graph["edges"][1]["max_iterations"] = 1
    run = drive(graph)
    for step in ("a", "b", "a#2", "b#2"):
        run.completes(step, {})
    assert run.status is RunStatus.COMPLETED
    assert [d.taken for d in run.of(ev.GraphAdvanced) if d.taken] == [("b->a",)]


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ({"n": "x"}, "state.n does not fit"),
        ([1], "its output is a list"),
        ({"n": 1, "log": 5}, "the reducer `extend` of 'log'"),
        ({"zzz": 1}, "'zzz' is not a key"),
        ({"log": [{"$blob": {"sha256": "0", "size": 1}, "path": []}]}, "$blob"),
        ({"log": ["x" * (4 * 1024 * 1024 + 1)]}, "the limit is 4,194,304"),
    ],
)
def test_what_the_state_cannot_take_fails_the_run_and_names_the_node(output: Any, said: str) -> None:
    schema = {"properties": {"n": {"type": "integer"}, "log": {"type": "array"}}, "additionalProperties": False}
    run = drive(ring(state={"schema": schema, "reducers": {"log": "extend"}, "initial": {"n": 0}}))
    run.completes("a", {})
    run.completes("b", output)
    end = failure(run)
    assert end.error.type in {"invalid_state", "undecidable"}
    assert said in end.error.message
    assert "b" in end.error.message.split(":")[0]
    assert end.step == "b"


def test_inputs_that_the_state_cannot_take_fail_it_at_the_start() -> None:
    run = drive(ring(state={"schema": {"properties": {"n": {"type": "integer"}}}}), {"n": "x"})
    assert "state.n" in failure(run).error.message
    required = ring(state={"schema": {"required": ["n"]}})
    assert "has no 'n'" in failure(drive(required)).error.message


def test_a_condition_that_cannot_be_told_names_its_edge() -> None:
    run = drive(ring())
    run.completes("a", {})
    run.completes("b", {})
    error = failure(run).error
    assert error.type == "undecidable"
    assert "the edge b -> a" in error.message


def test_writes_says_where_an_output_goes() -> None:
    graph = ring(state={"initial": {"n": 0}})
    graph["nodes"][0]["writes"] = "whole"
    graph["nodes"][1]["writes"] = {"n": "output.deep[0]", "all": "output"}
    run = drive(graph)
    run.completes("a", [1, 2])
    run.completes("b", {"deep": [7]})
    assert run.output == {"n": 7, "whole": [1, 2], "all": {"deep": [7]}}


def test_a_step_that_is_skipped_or_fails_without_harm_contributes_nothing() -> None:
    nodes: list[dict[str, Any]] = [
        {"name": "s", "function": "f"},
        {"name": "skip", "function": "f", "condition": "state.n > 100"},
        {"name": "fail", "function": "f", "policy": {"on_failure": "continue", "retry": {"max_attempts": 1}}},
        {"name": "good", "function": "f"},
        {"name": "after", "function": "f"},
    ]
    edges = [{"from": "s", "to": name} for name in ("skip", "fail", "good")]
    edges += [{"from": "skip", "to": "after"}, {"from": "good", "to": "END"}]
    edges += [{"from": "fail", "to": "after", "condition": "fail.status == 'failed'"}]
    run = drive({"nodes": nodes, "edges": edges, "entry_point": "s", "state": {"initial": {"n": 0}}})
    run.completes("s")
    run.fails("fail")
    run.completes("good", {"n": 2})
    assert run.of(ev.GraphAdvanced)[-1].steps == ("after",)
    assert run.of(ev.StepSkipped)[0].step == "skip"
    run.completes("after", {})
    assert run.output == {"n": 2}


def test_nodes_see_the_state_of_the_superstep_before() -> None:
    graph = ring(state={"initial": {"n": 0, "items": [1]}, "reducers": {"n": "sum"}})
    graph["nodes"][1] |= {"args": {"n": "state.n", "items": "state.items", "was": "a.output.n", "say": "n={{state.n}}"}}
    run = drive(graph)
    assert run.of(ev.StepScheduled)[0].inputs == {"state": {"n": 0, "items": [1]}}
    assert run.of(ev.StepScheduled)[0].config["state_args"] is True
    run.completes("a", {"n": 2})
    assert run.of(ev.StepScheduled)[1].inputs == {"n": 2, "items": [1], "was": 2, "say": "n=2"}


def test_values_that_are_stored_out_of_line_are_fetched_when_they_are_looked_at() -> None:
    run = drive(ring(state={"initial": {"n": 0}}))
    ref = BlobRef("f" * 64, 100_000)
    assert run.completes("a", Payload(ref=ref)).out.needs == [ref]
    run.blobs[ref.sha256] = {"big": "x" * 100_000, "n": 9}
    run.decide()
    assert run.of(ev.GraphAdvanced)[-1].state["n"].value == 9
    run.blobs.clear()
    big = BlobRef("e" * 64, 100_000)
    run.state.shared["big"] = Payload(ref=big)  # as the shell stores it
    run.completes("b", {})
    assert run.decisions[-1].output.value["big"] == {"$blob": {"sha256": big.sha256, "size": 100_000}, "path": []}


def test_a_cancelled_graph_ends_and_a_paused_one_waits() -> None:
    run = drive(ring(state={"initial": {"n": 0}}))
    run.tell(ev.RunPauseRequested)
    run.completes("a", {})
    assert not run.of(ev.GraphAdvanced)[1:]
    run.tell(ev.RunResumeRequested)
    assert run.of(ev.GraphAdvanced)[-1].steps == ("b",)
    run.cancels()
    assert run.status is RunStatus.CANCELLED


def test_waits_maps_and_approvals_are_steps_of_a_superstep() -> None:
    nodes: list[dict[str, Any]] = [
        {"name": "a", "function": "f"},
        {"name": "each", "map": {"over": "state.items", "body": {"type": "function", "config": {
            "function_name": "f", "inputs": {"x": "{{item}}"}}}}, "writes": "made"},
        {"name": "ask", "approval": {"message": "with {{state.items | length}}?"}, "writes": {"ok": "output.approved"}},
        {"name": "end", "function": "f", "condition": "state.ok && size(state.made) == 2"},
    ]  # fmt: skip
    edges = [{"from": "a", "to": "each"}, {"from": "a", "to": "ask"}]
    edges += [{"from": "each", "to": "end"}, {"from": "ask", "to": "end"}]
    run = drive({"nodes": nodes, "edges": edges, "entry_point": "a"}, {"items": [1, 2]})
    run.completes("a")
    assert run.of(ev.StepWaiting)[0].detail["message"] == "with 2?"
    run.completes("each[1]", "two")
    run.completes("each[0]", "one")
    assert run.status is RunStatus.WAITING
    run.tell(ev.ApprovalGiven, step="ask", decision="approve", by="ann")
    assert run.state.shared["made"].value == ["one", "two"]
    run.completes("end", {})
    assert run.output == {"items": [1, 2], "made": ["one", "two"], "ok": True}


def test_a_graph_whose_steps_were_undone_is_tried_again_from_its_beginning() -> None:
    graph = ring(state={"initial": {"n": 0}})
    graph["nodes"][0] |= {"compensate_with": {"type": "tool", "config": {"tool_name": "back"}}}
    graph["nodes"][1] |= {"policy": {"retry": {"max_attempts": 1}}}
    definition = parse_dict({"name": "w", **graph})
    run = drive(graph)
    run.completes("a", {"n": 1})
    run.fails("b")
    run.completes("a:undo", {})
    assert run.status is RunStatus.FAILED
    for seed in (
        forking.retry(run.state, definition, forking.Changes()),
        forking.fork(run.state, run.state, definition, "b"),
    ):
        assert (seed.steps, seed.position.superstep, seed.position.shared) == ({}, 0, {})


def test_an_active_node_waits_for_no_other() -> None:
    definition = parse_dict({"name": "w", **ring(state={"initial": {"n": 0}})})
    state = RunState("o", "r", status=RunStatus.RUNNING, superstep=1, active=("a",))
    told = explaining.explain(state, definition, explaining.Surroundings(1))
    assert [(item.step, item.kind) for item in told.waiting] == [("a", "scheduler")]


def test_a_subworkflow_and_a_prompt_are_given_the_keys_that_they_know() -> None:
    definitions = child(inputs={"n": {"type": "integer"}})
    nodes = [{"name": "sub", "workflow": "child"}, {"name": "ask", "prompt": "p@1", "policy": {"timeout_ms": 500}}]
    graph = {"nodes": nodes, "edges": [{"from": "sub", "to": "ask"}], "entry_point": "sub"}
    run = drive(graph, {"n": 3, "other": "x"}, definitions=definitions)
    (_, started) = run.sends[0]
    assert (started.inputs.value, started.parent.step) == ({"n": 3}, "sub")
    run.child_ends("sub", output={"made": 1}, child=started.run)
    asked = run.of(ev.StepScheduled)[0]
    assert (asked.step, asked.kind, asked.inputs) == ("ask", "llm", {"n": 3, "other": "x", "made": 1})
    timer = run.of(ev.TimerSet)[0]
    run.fires(timer.timer)
    assert [d.step for d in run.of(ev.StepTimedOut)] == ["ask"]
    assert run.state.steps["ask"].attempt == 1
    assert [d.kind for d in run.of(ev.TimerSet)][-1] == "retry"


def test_a_wait_gives_nothing_to_the_state_unless_it_says_where() -> None:
    closed = {"schema": {"type": "object", "properties": {"at": {}}, "additionalProperties": False}}
    node: dict[str, Any] = {"name": "a", "wait": {"until": 500}}
    assert drive({"nodes": [node], "entry_point": "a", "state": closed}).output == {}
    node["writes"] = {"at": "output.until"}
    assert drive({"nodes": [node], "entry_point": "a", "state": closed}).output == {"at": 500}


REDUCERS = {
    "notes": "append", "lines": "extend", "n": "sum", "facts": "merge", "tags": "union", "best": "max",
}  # fmt: skip
BEGAN = {"notes": ["p"], "lines": ["l"], "n": 5, "facts": {"a": 1, "b": 1}, "tags": ["x"], "best": 3, "name": "old"}


def subgraph(its_reducers: dict[str, str] = REDUCERS, **node: Any) -> RunDriver:
    """A graph whose first superstep runs a subgraph beside a function."""
    state = {"reducers": REDUCERS, "initial": BEGAN}
    part = parse_dict({
        "name": "child", "entry_point": "c", "state": {"reducers": its_reducers},
        "nodes": [{"name": "c", "function": "f"}], "edges": [],
    })  # fmt: skip
    nodes = [{"name": "start", "function": "f", "args": {}}, {"name": "beside", "function": "f", "args": {}},
             {"name": "sub", "workflow": "child", **node}]  # fmt: skip
    edges = [{"from": "start", "to": "beside"}, {"from": "start", "to": "sub"}]
    graph = {"entry_point": "start", "state": state, "nodes": nodes, "edges": edges}
    run = drive(graph, definitions={"child": part.canonical()})
    run.completes("start", {})
    return run


def gives(run: RunDriver, output: dict[str, Any], beside: dict[str, Any] | None = None) -> dict[str, Any]:
    """The state once the subgraph has ended."""
    run.completes("beside", beside or {})
    run.child_ends("sub", output=output)
    assert run.status is RunStatus.COMPLETED, run.state.error
    return {name: payload.value for name, payload in run.state.shared.items()}


def test_engine_12_what_a_subgraph_changed_of_the_state_counts_once() -> None:
    run = subgraph()
    (given,) = [e for _, e in run.sends if isinstance(e, ev.RunSubmitted)]
    assert given.inputs.value == BEGAN
    ended = {"notes": ["p", "c"], "lines": ["l", "m", "m"], "n": 8, "facts": {"a": 2, "b": 1}, "tags": ["x", "y"],
             "best": 7, "name": "new"}  # fmt: skip
    assert gives(run, ended) == {**ended, "notes": ["p", "c"]}


def test_engine_12_what_others_changed_in_the_same_superstep_stays() -> None:
    ended = {**BEGAN, "notes": ["p", "c"], "n": 8, "facts": {"a": 1, "b": 2}}
    beside = {"notes": "q", "lines": ["k"], "n": 10, "facts": {"a": 9}, "tags": ["z"], "best": 4, "name": "new"}
    assert gives(subgraph(), ended, beside) == {
        "notes": ["p", "q", "c"], "lines": ["l", "k"], "n": 18, "facts": {"a": 9, "b": 2}, "tags": ["x", "z"],
        "best": 4, "name": "new",
    }  # fmt: skip


@pytest.mark.parametrize(
    "node",
    [
        {"args": {"lines": "state.lines"}},
        {"args": {"lines": "{{state.lines}}"}},
        {"writes": {"lines": "output.lines"}},
        {"args": {"lines": "state.lines"}, "writes": {"lines": "output.lines"}},
    ],
)
def test_engine_12_so_it_is_if_the_key_is_passed_on_by_name(node: dict[str, Any]) -> None:
    assert gives(subgraph(**node), {"lines": ["l", "m"]})["lines"] == ["l", "m"]


@pytest.mark.parametrize(
    ("node", "output"),
    [
        ({"args": {"lines": ["l"]}}, {"lines": ["l", "m"]}),  # it began with something else
        ({"args": {}}, {"lines": ["l", "m"]}),
        ({"writes": {"lines": "output.other"}}, {"other": ["l", "m"]}),
        ({"writes": "lines"}, ["l", "m"]),
    ],
)
def test_engine_12_what_a_subgraph_made_by_itself_counts_whole(node: dict[str, Any], output: Any) -> None:
    assert gives(subgraph(**node), output)["lines"] == ["l", "l", "m"]


def test_engine_12_a_list_that_a_subgraph_made_anew_counts_whole() -> None:
    assert gives(subgraph({**REDUCERS, "lines": "replace"}), {**BEGAN, "lines": ["m"]})["lines"] == ["l", "m"]


def test_a_list_that_a_subgraph_replaced_although_it_appends_is_replaced_once() -> None:
    """It can lose an item only by `$replace`. What others appended meanwhile stays."""
    beside = {"lines": ["k"], "notes": "q"}
    state = gives(subgraph(), {**BEGAN, "lines": ["m"], "notes": []}, beside)
    assert (state["lines"], state["notes"]) == (["m", "k"], ["q"])
