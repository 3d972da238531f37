"""Runs of graphs on the machine: supersteps, what nodes give to the state, and the errors that a run ends with."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common.definition.parse import parse_dict
from agentflow_common.events import BlobRef, Payload, StepError
from agentflow_common.runs import explain as explaining
from agentflow_common.runs import fork as forking
from agentflow_common.runs.fold import new_state
from agentflow_common.runs.state import RunState, RunStatus
from agentflow_scheduler.runs.decisions import RunDecisions
from agentflow_scheduler.runs.plan import Plans
from agentflow_scheduler.runs.run import Run
from tests.support.deciding import decide


class Game:
    """A run of a graph; the test plays its workers."""

    def __init__(self, graph: dict[str, Any], inputs: dict[str, Any] | None = None, **fields: Any) -> None:
        definition = parse_dict({"name": "w", **graph})
        event = ev.RunSubmitted(
            org="o", run="r", ts=1, workflow="w", version=1, definition=definition.canonical(),
            inputs=Payload(value=inputs or {}), **fields,
        )  # fmt: skip
        state = new_state(event, 1)
        self.run = Run(state, Plans().get(state.definition))
        self.seq = 1
        self.blobs: dict[str, Any] = {}
        self.decisions: list[Any] = []
        self.sends: list[Any] = []
        self.go()

    @property
    def state(self) -> Any:
        return self.run.state

    def go(self, fact: Any = None) -> RunDecisions:
        if fact is not None:
            self.seq += 1
            self.run.apply(fact, self.seq)
        out = decide(self.run, 1000, self.blobs)
        self.decisions += out.decisions
        self.sends += out.sends
        return out

    def done(self, step: str, output: Any = None, ref: BlobRef | None = None) -> RunDecisions:
        return self.go(
            ev.StepCompleted(org="o", run="r", ts=1, step=step, attempt=1, output=Payload(value=output, ref=ref))
        )

    def failed(self, step: str) -> RunDecisions:
        return self.go(ev.StepFailed(org="o", run="r", ts=1, step=step, attempt=1, error=StepError("E", "no", False)))

    def of(self, kind: type) -> list[Any]:
        return [decision for decision in self.decisions if isinstance(decision, kind)]

    def error(self) -> tuple[str, str, str]:
        assert self.state.status is RunStatus.FAILED
        failed = self.of(ev.RunFailed)[0]
        return failed.error.type, failed.error.message, failed.step


def ring(**more: Any) -> dict[str, Any]:
    nodes = [{"name": "a", "function": "f"}, {"name": "b", "function": "f"}]
    edges = [{"from": "a", "to": "b"}, {"from": "b", "to": "a", "condition": "state.n < 3"}]
    return {"nodes": nodes, "edges": edges, "entry_point": "a", **more}


def test_a_loop_ends_when_its_condition_fails_and_costs_one_decision_more_than_a_step() -> None:
    game = Game(ring(state={"initial": {"n": 0}, "reducers": {"n": "sum"}}), {"x": "in"})
    for step in ("a", "b", "a#2", "b#2"):
        game.done(step, {"n": 1})
    assert game.state.status is RunStatus.COMPLETED
    assert game.state.output.value == {"n": 4, "x": "in"}
    assert [d.steps for d in game.of(ev.GraphAdvanced)] == [("a",), ("b",), ("a#2",), ("b#2",), ()]
    assert len(game.decisions) == 2 + 4 + 5  # run.started and run.completed, the steps, the supersteps
    assert [sorted(d.state) for d in game.of(ev.GraphAdvanced)] == [["n", "x"], ["n"], ["n"], ["n"], ["n"]]


def test_concurrent_writers_merge_in_the_order_of_the_definition() -> None:
    nodes = [{"name": name, "function": "f"} for name in ("s", "late", "early")]
    edges = [{"from": "s", "to": "early"}, {"from": "s", "to": "late"}]
    spec = {"reducers": {"log": "append"}}
    game = Game({"nodes": nodes, "edges": edges, "entry_point": "s", "state": spec})
    game.done("s")
    assert game.of(ev.GraphAdvanced)[-1].steps == ("late", "early")
    game.done("early", {"log": "e", "who": "early"})
    game.done("late", {"log": "l", "who": "late"})
    assert game.state.output.value == {"log": ["l", "e"], "who": "early"}


def test_the_bound_on_supersteps_is_told() -> None:
    game = Game(ring(max_supersteps=2, state={"initial": {"n": 0}}))
    game.done("a")
    game.done("b")
    kind, message, _ = game.error()
    assert kind == "max_supersteps"
    assert "2 supersteps" in message and "would run a" in message


def test_an_edge_is_taken_as_often_as_it_may_be() -> None:
    graph = ring(state={"initial": {"n": 0}})
    graph["edges"][1]["max_iterations"] = 1
    game = Game(graph)
    for step in ("a", "b", "a#2", "b#2"):
        game.done(step, {})
    assert game.state.status is RunStatus.COMPLETED
    assert [d.taken for d in game.of(ev.GraphAdvanced) if d.taken] == [("b->a",)]


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
    game = Game(ring(state={"schema": schema, "reducers": {"log": "extend"}, "initial": {"n": 0}}))
    game.done("a", {})
    game.done("b", output)
    kind, message, step = game.error()
    assert kind in {"invalid_state", "undecidable"}
    assert said in message
    assert "b" in message.split(":")[0]
    assert step == "b"


def test_inputs_that_the_state_cannot_take_fail_it_at_the_start() -> None:
    game = Game(ring(state={"schema": {"properties": {"n": {"type": "integer"}}}}), {"n": "x"})
    assert "state.n" in game.error()[1]
    required = ring(state={"schema": {"required": ["n"]}})
    assert "has no 'n'" in Game(required).error()[1]


def test_a_condition_that_cannot_be_told_names_its_edge() -> None:
    game = Game(ring())
    game.done("a", {})
    game.done("b", {})
    kind, message, _ = game.error()
    assert (kind, "the edge b -> a" in message) == ("undecidable", True)


def test_writes_says_where_an_output_goes() -> None:
    graph = ring(state={"initial": {"n": 0}})
    graph["nodes"][0]["writes"] = "whole"
    graph["nodes"][1]["writes"] = {"n": "output.deep[0]", "all": "output"}
    game = Game(graph)
    game.done("a", [1, 2])
    game.done("b", {"deep": [7]})
    assert game.state.output.value == {"n": 7, "whole": [1, 2], "all": {"deep": [7]}}


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
    game = Game({"nodes": nodes, "edges": edges, "entry_point": "s", "state": {"initial": {"n": 0}}})
    game.done("s")
    game.failed("fail")
    game.done("good", {"n": 2})
    assert game.of(ev.GraphAdvanced)[-1].steps == ("after",)
    assert game.of(ev.StepSkipped)[0].step == "skip"
    game.done("after", {})
    assert game.state.output.value == {"n": 2}


def test_nodes_see_the_state_of_the_superstep_before() -> None:
    graph = ring(state={"initial": {"n": 0, "items": [1]}, "reducers": {"n": "sum"}})
    graph["nodes"][1] |= {"args": {"n": "state.n", "items": "state.items", "was": "a.output.n", "say": "n={{state.n}}"}}
    game = Game(graph)
    assert game.of(ev.StepScheduled)[0].inputs == {"state": {"n": 0, "items": [1]}}
    assert game.of(ev.StepScheduled)[0].config["state_args"] is True
    game.done("a", {"n": 2})
    assert game.of(ev.StepScheduled)[1].inputs == {"n": 2, "items": [1], "was": 2, "say": "n=2"}


def test_values_that_are_stored_out_of_line_are_fetched_when_they_are_looked_at() -> None:
    game = Game(ring(state={"initial": {"n": 0}}))
    ref = BlobRef("f" * 64, 100_000)
    assert game.done("a", ref=ref).needs == [ref]
    game.blobs[ref.sha256] = {"big": "x" * 100_000, "n": 9}
    game.go()
    assert game.of(ev.GraphAdvanced)[-1].state["n"].value == 9
    game.blobs.clear()
    big = BlobRef("e" * 64, 100_000)
    game.state.shared["big"] = Payload(ref=big)  # as the shell stores it
    game.done("b", {})
    assert game.decisions[-1].output.value["big"] == {"$blob": {"sha256": big.sha256, "size": 100_000}, "path": []}


def test_a_cancelled_graph_ends_and_a_paused_one_waits() -> None:
    game = Game(ring(state={"initial": {"n": 0}}))
    game.go(ev.RunPauseRequested(org="o", run="r", ts=1))
    game.done("a", {})
    assert not game.of(ev.GraphAdvanced)[1:]
    game.go(ev.RunResumeRequested(org="o", run="r", ts=1))
    assert game.of(ev.GraphAdvanced)[-1].steps == ("b",)
    game.go(ev.RunCancelRequested(org="o", run="r", ts=1))
    assert game.state.status is RunStatus.CANCELLED


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
    game = Game({"nodes": nodes, "edges": edges, "entry_point": "a"}, {"items": [1, 2]})
    game.done("a")
    assert game.of(ev.StepWaiting)[0].detail["message"] == "with 2?"
    game.done("each[1]", "two")
    game.done("each[0]", "one")
    assert game.state.status is RunStatus.WAITING
    game.go(ev.ApprovalGiven(org="o", run="r", ts=1, step="ask", decision="approve", by="ann"))
    assert game.state.shared["made"].value == ["one", "two"]
    game.done("end", {})
    assert game.state.output.value == {"items": [1, 2], "made": ["one", "two"], "ok": True}


def test_a_graph_whose_steps_were_undone_is_tried_again_from_its_beginning() -> None:
    graph = ring(state={"initial": {"n": 0}})
    graph["nodes"][0] |= {"compensate_with": {"type": "tool", "config": {"tool_name": "back"}}}
    graph["nodes"][1] |= {"policy": {"retry": {"max_attempts": 1}}}
    definition = parse_dict({"name": "w", **graph})
    game = Game(graph)
    game.done("a", {"n": 1})
    game.failed("b")
    game.done("a:undo", {})
    assert game.state.status is RunStatus.FAILED
    for seed in (
        forking.retry(game.state, definition, forking.Changes()),
        forking.fork(game.state, game.state, definition, "b"),
    ):
        assert (seed.steps, seed.position.superstep, seed.position.shared) == ({}, 0, {})


def test_an_active_node_waits_for_no_other() -> None:
    definition = parse_dict({"name": "w", **ring(state={"initial": {"n": 0}})})
    state = RunState("o", "r", status=RunStatus.RUNNING, superstep=1, active=("a",))
    told = explaining.explain(state, definition, explaining.Surroundings(1))
    assert [(item.step, item.kind) for item in told.waiting] == [("a", "scheduler")]


def test_a_subworkflow_and_a_prompt_are_given_the_keys_that_they_know() -> None:
    child = parse_dict(
        {
            "name": "child",
            "inputs": {"n": {"type": "integer"}},
            "dag": {"nodes": [{"id": "x", "type": "function", "config": {"function_name": "f"}}]},
        }
    )
    nodes = [{"name": "sub", "workflow": "child"}, {"name": "ask", "prompt": "p@1", "policy": {"timeout_ms": 500}}]
    graph = {"nodes": nodes, "edges": [{"from": "sub", "to": "ask"}], "entry_point": "sub"}
    game = Game(graph, {"n": 3, "other": "x"}, definitions={"child": child.canonical()})
    (_, started) = game.sends[0]
    assert (started.inputs.value, started.parent.step) == ({"n": 3}, "sub")
    game.go(
        ev.ChildEnded(
            org="o", run="r", ts=1, step="sub", attempt=1, child=started.run, status="completed",
            output=Payload(value={"made": 1}),
        )
    )  # fmt: skip
    asked = game.of(ev.StepScheduled)[0]
    assert (asked.step, asked.kind, asked.inputs) == ("ask", "llm", {"n": 3, "other": "x", "made": 1})
    timer = game.of(ev.TimerSet)[0]
    game.go(
        ev.TimerFired(
            org="o", run="r", ts=timer.fire_at, timer=timer.timer, kind=timer.kind, step=timer.step, attempt=1
        )
    )
    assert [d.step for d in game.of(ev.StepTimedOut)] == ["ask"]
    assert game.state.steps["ask"].attempt == 1
    assert [d.kind for d in game.of(ev.TimerSet)][-1] == "retry"


def test_a_wait_gives_nothing_to_the_state_unless_it_says_where() -> None:
    closed = {"schema": {"type": "object", "properties": {"at": {}}, "additionalProperties": False}}
    node: dict[str, Any] = {"name": "a", "wait": {"until": 500}}
    assert Game({"nodes": [node], "entry_point": "a", "state": closed}).state.output.value == {}
    node["writes"] = {"at": "output.until"}
    assert Game({"nodes": [node], "entry_point": "a", "state": closed}).state.output.value == {"at": 500}


REDUCERS = {
    "notes": "append", "lines": "extend", "n": "sum", "facts": "merge", "tags": "union", "best": "max",
}  # fmt: skip
BEGAN = {"notes": ["p"], "lines": ["l"], "n": 5, "facts": {"a": 1, "b": 1}, "tags": ["x"], "best": 3, "name": "old"}


def subgraph(**node: Any) -> Game:
    """A graph whose first superstep runs a subgraph beside a function."""
    state = {"reducers": REDUCERS, "initial": BEGAN}
    child = parse_dict({
        "name": "child", "entry_point": "c", "state": {"reducers": REDUCERS},
        "nodes": [{"name": "c", "function": "f"}], "edges": [],
    })  # fmt: skip
    nodes = [{"name": "start", "function": "f", "args": {}}, {"name": "beside", "function": "f", "args": {}},
             {"name": "sub", "workflow": "child", **node}]  # fmt: skip
    edges = [{"from": "start", "to": "beside"}, {"from": "start", "to": "sub"}]
    graph = {"entry_point": "start", "state": state, "nodes": nodes, "edges": edges}
    game = Game(graph, definitions={"child": child.canonical()})
    game.done("start", {})
    return game


def gives(game: Game, output: dict[str, Any], beside: dict[str, Any] | None = None) -> dict[str, Any]:
    """The state once the subgraph has ended."""
    game.done("beside", beside or {})
    game.go(
        ev.ChildEnded(
            org="o", run="r", ts=1, step="sub", attempt=1, child="c", status="completed", output=Payload(value=output)
        )
    )
    assert game.state.status is RunStatus.COMPLETED, game.state.error
    return {name: payload.value for name, payload in game.state.shared.items()}


def test_engine_12_what_a_subgraph_changed_of_the_state_counts_once() -> None:
    game = subgraph()
    (given,) = [e for _, e in game.sends if isinstance(e, ev.RunSubmitted)]
    assert given.inputs.value == BEGAN
    ended = {"notes": ["p", "c"], "lines": ["l", "m", "m"], "n": 8, "facts": {"a": 2, "b": 1}, "tags": ["x", "y"],
             "best": 7, "name": "new"}  # fmt: skip
    assert gives(game, ended) == {**ended, "notes": ["p", "c"]}


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
    assert gives(subgraph(), {**BEGAN, "lines": ["m"]})["lines"] == ["l", "m"]
