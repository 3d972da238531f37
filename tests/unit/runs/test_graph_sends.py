"""What the edges of a graph send, barriers, and values that take the place of an appended key, on the machine."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common.definition.parse import parse_dict
from agentflow_common.errors import InvalidError
from agentflow_common.runs import explain as explaining
from agentflow_common.runs import fork as forking
from agentflow_common.runs.state import RunStatus
from tests.support.run_driver import RunDriver


def function(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "function": "f", **more}


def graph(nodes: list[dict[str, Any]], edges: list[dict[str, Any]], **state: Any) -> dict[str, Any]:
    return {"name": "g", "entry_point": nodes[0]["name"], "nodes": nodes, "edges": edges, "state": state}


def drive(definition: dict[str, Any], inputs: dict[str, Any] | None = None, **fields: Any) -> RunDriver:
    return RunDriver(definition).at(1000).submit(inputs, **fields)


TASKS = [{"kind": "text", "part": "a"}, {"kind": "code", "part": "b"}, {"kind": "text", "part": "c"}]


def planner(*, edges: list[dict[str, Any]] | None = None, **worker: Any) -> dict[str, Any]:
    """A node that plans, two kinds of workers that get a task each, and one that gathers."""
    nodes = [function("plan"), function("read", **worker), function("review"), function("gather")]
    own = [
        {"from": "plan", "to": "read", "over": "plan.output.tasks", "condition": "item.kind == 'text'",
         "args": {"part": "{{item.part}}", "at": "{{index}}"}},
        {"from": "plan", "to": "review", "over": "state.tasks", "condition": "item.kind == 'code'"},
    ]  # fmt: skip
    ends = [{"from": "read", "to": "gather"}, {"from": "review", "to": "gather"}]
    return graph(nodes, edges or own + ends, reducers={"found": "append"}, initial={"found": []})


def test_an_edge_sends_one_visit_for_each_item_to_the_node_that_its_condition_names() -> None:
    run = drive(planner()).completes("plan", {"tasks": TASKS})
    assert run.of(ev.GraphAdvanced)[-1].steps == ("read", "read#2", "review")
    assert run.inputs("read") == {"part": "a", "at": 0}
    assert run.inputs("read#2") == {"part": "c", "at": 2}
    assert run.inputs("review") == {"item": TASKS[1]}
    run.completes("read#2", {"found": "c"}).completes("review", {"found": "b"})
    assert run.offered == ["plan", "read", "read#2", "review"], "the superstep waits for all of its visits"
    run.completes("read", {"found": "a"})
    assert run.of(ev.GraphAdvanced)[-1].steps == ("gather",)
    run.completes("gather", {})
    assert run.output == {"tasks": TASKS, "found": ["a", "c", "b"]}


def test_a_list_without_items_is_an_edge_that_is_not_taken() -> None:
    run = drive(planner()).completes("plan", {"tasks": []})
    assert run.status is RunStatus.COMPLETED


def test_what_is_sent_lies_over_the_arguments_of_the_node_and_its_templates_read_it() -> None:
    nodes = [function("plan"), function("read", args={"part": "none", "said": "read {{part}}", "n": "state.n"})]
    edges = [{"from": "plan", "to": "read", "args": {"part": "{{state.n}} of {{plan.output.all}}"}}]
    run = drive(graph(nodes, edges, initial={"n": 1})).completes("plan", {"n": 2, "all": 9})
    assert run.inputs("read") == {"part": "2 of 9", "said": "read 2 of 9", "n": 2}


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ({"name": "t", "map": {"over": "{{part}}", "item": "x", "body": {"type": "function", "config": {
            "function_name": "f", "inputs": {"x": "{{x}}", "n": "{{n}}"}}}}}, {"x": 7, "n": 3}),
        ({"name": "t", "loop": {"until": "iteration >= 1", "max_iterations": 1, "body": {"type": "function", "config": {
            "function_name": "f", "inputs": {"n": "{{n}}", "i": "{{iteration}}"}}}}}, {"n": 3, "i": 1}),
        ({"name": "t", "function": "f", "parallel": True, "for_each": "part", "args": {"part": [], "more": "{{n}}"}},
         {"part": 7, "more": 3, "n": 3}),
        ({"name": "t", "function": "f", "condition": "n == 3", "args": {}}, {"part": [7], "n": 3}),
    ],
)  # fmt: skip
def test_every_kind_of_node_reads_what_it_was_sent(node: dict[str, Any], said: dict[str, Any]) -> None:
    edges = [{"from": "plan", "to": "t", "args": {"part": [7], "n": "{{plan.output.n}}"}}]
    run = drive(graph([function("plan"), node], edges)).completes("plan", {"n": 3})
    assert run.inputs(run.offered[-1]) == said


def test_a_wait_and_a_condition_read_what_they_were_sent() -> None:
    nodes = [function("plan"), {"name": "t", "wait": "{{pause}}", "condition": "pause != 'none'"}]
    edges = [{"from": "plan", "to": "t", "over": ["5s", "none", "9s"], "item": "pause"}]
    run = drive(graph(nodes, edges)).completes("plan", {})
    assert run.statuses == {"plan": "completed", "t": "waiting", "t#2": "skipped", "t#3": "waiting"}
    assert [run.state.steps[key].until for key in ("t", "t#3")] == [6000, 10_000]


def test_compensations_undo_each_visit_with_what_it_was_sent() -> None:
    undo = {"type": "function", "config": {"function_name": "undo", "inputs": {"part": "{{part}}", "of": "{{output}}"}}}
    run = drive(planner(compensate_with=undo)).completes("plan", {"tasks": TASKS})
    run.completes("read", "a").completes("read#2", "c")
    run.cancels()
    run.completes("read#2:undo", {})
    assert run.inputs("read#2:undo") == {"part": "c", "of": "c"}
    assert run.inputs("read:undo") == {"part": "a", "of": "a"}


def test_a_crash_anywhere_begins_no_visit_twice_and_loses_none() -> None:
    for keep in range(8):
        run = drive(planner()).completes("plan", {"tasks": TASKS})
        run.crash(min(keep, len(run.decisions)))
        run.decide()
        assert sorted(run.offered) == ["plan", "read", "read#2", "review"]
        assert run.inputs("read#2") == {"part": "c", "at": 2}


def test_a_fork_at_a_visit_and_a_retry_give_it_what_it_was_sent() -> None:
    failing = planner(policy={"on_failure": "fail"})
    run = drive(failing).completes("plan", {"tasks": TASKS}).completes("read", {"found": "a"})
    before = run.refolded()
    run.fails("read#2")
    assert run.status is RunStatus.FAILED
    definition = parse_dict(failing)
    for seed in (
        forking.retry(run.state, definition, forking.Changes()),
        forking.fork(run.state, before, definition, "read#2"),
    ):
        again = RunDriver(failing).at(1000)
        again.submit(seed=ev.Payload(value=forking.encoded_steps(seed)), position=seed.position)
        assert again.inputs("read#2") == {"part": "c", "at": 2}
        assert "read" not in again.offered


def test_why_names_every_visit_of_a_superstep() -> None:
    run = drive(planner()).completes("plan", {"tasks": TASKS})
    told = explaining.explain(run.state, parse_dict(planner()), explaining.Surroundings(now_ms=2000))
    assert sorted(waiting.step for waiting in told.waiting) == ["read", "read#2", "review"]


@pytest.mark.parametrize(
    ("edge", "said"),
    [
        ({"over": "plan.output.n"}, ": `over` must be a list, it is a number"),
        ({"over": "plan.output.many"}, "`over` has 1,001 items, and a superstep sends 1,000: use a `map` node"),
        ({"args": {"a": "{{plan.output.n + 'x'}}"}}, "args.a"),
        ({"over": [1], "condition": "item.kind == 1"}, "item"),
    ],
)
def test_what_can_t_be_sent_fails_the_run_with_the_edge(edge: dict[str, Any], said: str) -> None:
    definition = graph([function("plan"), function("t")], [{"from": "plan", "to": "t", **edge}])
    run = drive(definition).completes("plan", {"n": 3, "many": list(range(1001))})
    (failed,) = run.of(ev.RunFailed)
    assert failed.step == "plan"
    assert failed.error.message.startswith("the edge plan -> t: ")
    assert said in failed.error.message


# --- barriers ---


def gate(*, back: bool = False) -> dict[str, Any]:
    """Two ways of different lengths to a barrier."""
    nodes = [function(name, args={}) for name in ("s", "short", "long", "longer", "gate")]
    nodes[-1]["barrier"] = True
    edges = [
        {"from": "s", "to": "short"}, {"from": "s", "to": "long"}, {"from": "long", "to": "longer"},
        {"from": "short", "to": "gate"}, {"from": "longer", "to": "gate"},
    ]  # fmt: skip
    return graph(nodes, [*edges, {"from": "gate", "to": "s", "max_iterations": 1}] if back else edges)


def test_a_barrier_runs_once_all_that_lead_to_it_have() -> None:
    run = drive(gate(back=True))
    for step in ("s", "short", "long", "longer", "gate", "s#2", "short#2", "long#2", "longer#2", "gate#2"):
        run.completes(step, {})
    assert run.status is RunStatus.COMPLETED
    advanced = [(d.steps, d.arrived) for d in run.of(ev.GraphAdvanced)][2:6]
    assert advanced == [
        (("longer",), {"gate": ("short",)}),
        (("gate",), {"gate": ()}),
        (("s#2",), {}),
        (("short#2", "long#2"), {}),
    ]


def test_a_barrier_that_is_never_met_does_not_run_and_a_retry_remembers_who_came() -> None:
    definition = gate()
    run = drive(definition).completes("s", {}).completes("short", {}).completes("long", {})
    run.fails("longer")
    seed = forking.retry(run.state, parse_dict(definition), forking.Changes())
    again = RunDriver(definition).at(1000)
    again.submit(seed=ev.Payload(value=forking.encoded_steps(seed)), position=seed.position)
    assert again.offered == ["longer"]
    again.completes("longer", {}).completes("gate", {})
    assert again.status is RunStatus.COMPLETED
    definition["edges"][2]["condition"] = "false"
    run = drive(definition).completes("s", {}).completes("short", {}).completes("long", {})
    assert run.status is RunStatus.COMPLETED
    assert "gate" not in run.state.steps


# --- values that take the place of what was appended ---


@pytest.mark.parametrize(
    ("given", "left"),
    [({"$replace": []}, []), ({"$replace": ["z"]}, ["z"]), ({"$replace": None}, None), ({"$replace": 1, "b": 2}, ...)],
)
def test_an_appended_key_is_cleared_or_replaced(given: Any, left: Any) -> None:
    definition = graph([function("a"), function("b")], [{"from": "a", "to": "b"}], reducers={"n": "append"})
    run = drive(definition).completes("a", {"n": "x"}).completes("b", {"n": given})
    assert run.output == {"n": ["x", given] if left is ... else left}


def test_others_of_the_superstep_add_to_what_replaced_a_value() -> None:
    nodes = [function("s", args={}), function("a"), function("b"), function("c")]
    edges = [{"from": "s", "to": name} for name in ("a", "b", "c")]
    run = drive(graph(nodes, edges, reducers={"n": "append"}, initial={"n": ["old"]})).completes("s", {})
    run.completes("a", {"n": "lost"}).completes("b", {"n": {"$replace": ["new"]}}).completes("c", {"n": "more"})
    assert run.output == {"n": ["new", "more"]}


# --- what is refused ---


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"over": 3}, "edges[0].over: `over` must be a list, or refer to one; it is a number"),
        ({"over": "tasks"}, 'edges[0].over: `over` must be a list, or refer to one; it is a text'),
        ({"over": [1], "item": "t"}, "edges[0].item: the name 't' is taken by a node"),
        ({"over": [1], "item": "index"}, "edges[0].item: the name 'index' is taken by the item's number"),
        ({"over": [1], "item": "state"}, "edges[0].item: 'state' can't be a name in templates"),
        ({"args": {"a-b": 1}}, "edges[0].args.a-b: 'a-b' can't be a name in templates"),
        ({"args": {"a": "{{tsk.output}}"}}, "edges[0].args.a: the template uses 'tsk', which is neither"),
        ({"args": {"a": "nobody.output"}}, "edges[0].args.a: 'nobody.output' refers to 'nobody'"),
        ({"to": "END", "args": {"a": 1}}, "edges[0]: END is where the graph ends: nothing can be sent there"),
    ],
)  # fmt: skip
def test_what_an_edge_can_t_send_is_refused_with_its_place(change: dict[str, Any], said: str) -> None:
    nodes = [function("plan"), function("t")]
    edges = [{"from": "plan", "to": "t", **change}, *([{"from": "plan", "to": "t"}] if "to" in change else [])]
    with pytest.raises(InvalidError) as caught:
        parse_dict(graph(nodes, edges))
    assert said in str(caught.value)


def test_only_graphs_send_and_have_barriers() -> None:
    nodes = [{"id": "a", "type": "function", "config": {"function_name": "f"}, "barrier": True}]
    with pytest.raises(InvalidError) as caught:
        parse_dict({"name": "w", "dag": {"nodes": nodes, "edges": [{"from": "a", "to": "a", "over": [1]}]}})
    assert [(problem.place, problem.fix) for problem in caught.value.problems[1:]] == [
        ("dag.nodes[0].barrier", "remove it: the node waits for all that lead to it"),
        ("dag.edges[0].over", "use a `map` node"),
    ]
    barrier = graph([function("a"), function("b", barrier=True)], [{"from": "a", "to": "b", "args": {"x": 1}}])
    with pytest.raises(InvalidError, match="'b' is a barrier, which runs once for all that leads to it"):
        parse_dict(barrier)
