"""Nodes that run when the run ends, however it ends: `finally: true`."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common.definition.parse import parse_dict, parse_text
from agentflow_common.errors import InvalidError
from agentflow_common.events import Payload, StepError
from agentflow_common.runs import fork as forking
from agentflow_common.runs.explain import Surroundings, explain
from agentflow_common.runs.fork import Changes
from agentflow_common.runs.state import RunStatus
from tests.support.definitions import BODY, CONTINUE, ONCE, UNDO, child, edges, function, subworkflow, workflow
from tests.support.events import base
from tests.support.run_driver import RunDriver

HOW = {"how": "{{outcome.status}}", "error": "{{outcome.error}}", "step": "{{outcome.step}}"}


def last(name: str = "z", inputs: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return function(name, HOW if inputs is None else inputs, **{"finally": True, "policy": ONCE, **more})


def test_it_runs_after_everything_and_the_run_completes_as_before() -> None:
    run = RunDriver(workflow(function("a"), function("b", depends_on=["a"]), last())).submit()
    run.completes("a", 1).completes("b", 2)
    assert (run.status, run.offered) == (RunStatus.RUNNING, ["a", "b", "z"])
    assert run.inputs("z") == {"how": "completed", "error": None, "step": ""}
    assert run.state.timers.keys() == {"finally"}
    assert run.timer("finally").fire_at == run.now_ms + 600_000
    assert run.completes("z", "clean").output == {"b": 2}
    assert [type(made).__name__ for made in run.decisions] == [
        "RunStarted", "StepScheduled", "StepScheduled", "RunFinishing", "TimerSet", "StepScheduled", "RunCompleted",
    ]  # fmt: skip
    run.check_log()


def test_it_runs_after_a_failure_and_its_compensations() -> None:
    first = function("a", compensate_with=UNDO)
    run = RunDriver(workflow(first, function("b", depends_on=["a"], policy=ONCE), last())).submit()
    run.completes("a").fails("b")
    assert (run.undone(), "z" in run.offered) == (["a"], False)
    run.completes("a:undo")
    assert run.inputs("z") == {"how": "failed", "error": {"type": "E", "message": "no"}, "step": "b"}
    run.fails("z")  # this changes nothing
    assert (run.status, run.error) == (RunStatus.FAILED, StepError("E", "no", retryable=False))
    (end,) = run.of(ev.RunFailed)
    assert (end.step, end.compensated, end.uncompensated) == ("b", ("a",), ())
    run.check_log()


def test_it_runs_after_a_cancel_and_a_deadline() -> None:
    reason = last(inputs={"how": "{{outcome.status}}: {{outcome.reason}}"})
    run = RunDriver(workflow(function("a"), reason)).submit().cancels(reason="enough")
    assert (run.inputs("z"), run.statuses["a"]) == ({"how": "cancelled: enough"}, "cancelled")
    run.completes("z")
    assert (run.status, run.state.cancel_reason) == (RunStatus.CANCELLED, "enough")
    run = RunDriver({**workflow(function("a"), last()), "deadline_ms": 50}).submit(deadline_ms=50).fires("deadline")
    assert run.inputs("z")["error"] == {"type": "deadline", "message": "the run did not end within 50 ms"}
    assert run.completes("z").status is RunStatus.FAILED
    run.check_log()


def test_it_runs_after_an_end_node() -> None:
    stop = {"id": "stop", "type": "end", "depends_on": ["a"], "config": {"output": "a.output"}}
    run = RunDriver(workflow(function("a"), stop, function("b"), last())).submit().completes("a", 4)
    assert (run.statuses["b"], run.inputs("z")["how"]) == ("cancelled", "completed")
    assert run.completes("z").output == 4
    failed = {**stop, "config": {"status": "failed", "error": {"type": "sold_out"}}}
    run = RunDriver(workflow(function("a"), failed, last())).submit().completes("a")
    assert run.inputs("z")["error"] == {"type": "sold_out", "message": "the run ended at stop"}
    assert run.completes("z").error.type == "sold_out"


def test_a_run_that_would_have_completed_fails_by_it_and_nothing_is_undone() -> None:
    first = function("a", compensate_with=UNDO)
    run = RunDriver(workflow(first, last(), last("y"))).submit().completes("a").fails("z")
    assert run.status is RunStatus.RUNNING  # one that fails stops no other
    run.completes("y")
    (end,) = run.of(ev.RunFailed)
    assert (end.step, end.error.type, end.compensated, end.uncompensated) == ("z", "E", (), ("a",))
    run.check_log()


def test_one_that_may_fail_changes_nothing() -> None:
    run = RunDriver(workflow(function("a"), last(policy=CONTINUE))).submit().completes("a", 1).fails("z")
    assert run.output == {"a": 1}


def test_they_wait_for_each_other_and_for_no_other_node() -> None:
    nodes = [
        function("a", policy=ONCE), function("b", depends_on=["a"]),
        last("y", inputs={"a": "a.output", "b": "b.output", "text": "{{b.status}}"}),
        last("z", depends_on=["y"], inputs={"y": "y.output"}), last("x", condition="outcome.status == 'completed'"),
        last("w", condition="outcome.error.type == 'E' && a.status == 'failed'"),
    ]  # fmt: skip
    run = RunDriver(workflow(*nodes)).submit().fails("a")
    assert (run.offered, run.statuses["x"]) == (["a", "y", "w"], "skipped")
    assert run.inputs("y") == {"a": None, "b": None, "text": "pending"}
    run.completes("y", 7)
    assert run.inputs("z") == {"y": 7}
    assert run.completes("w").completes("z").status is RunStatus.FAILED
    run.check_log()


def test_maps_loops_retries_waits_and_subworkflows_run_there() -> None:
    body = {"type": "function", "config": {"function_name": "f", "inputs": {"x": "{{item}} {{outcome.status}}"}}}
    nodes = [
        function("a"),
        {"id": "m", "type": "map", "finally": True, "config": {"over": [1, 2], "body": body}},
        {"id": "l", "type": "loop", "finally": True, "config": {"body": BODY, "until": "iteration == 2",
                                                              "max_iterations": 3}},
        {"id": "w", "type": "wait", "finally": True, "config": {"duration": "1s"}},
        subworkflow("s", **{"finally": True}),
        last("r", policy={"retry": {"max_attempts": 2, "initial_ms": 5}}),
    ]  # fmt: skip
    run = RunDriver(workflow(*nodes)).submit(definitions=child()).completes("a", 1)
    assert (run.inputs("m[0]"), run.inputs("m[1]")) == ({"x": "1 completed"}, {"x": "2 completed"})
    run.completes("m[0]").completes("m[1]").completes("l@1").completes("l@2").child_ends("s").fires("wait:w")
    run.fails("r", StepError("busy", "later")).fires("retry:r:1")
    assert run.status is RunStatus.RUNNING
    assert run.completes("r").output == {"a": 1}
    run.check_log()


def test_they_have_a_time_together() -> None:
    definition = {**workflow(function("a"), last(), last("y", depends_on=["z"]), last("x")), "finally_ms": "5s"}
    run = RunDriver(definition).submit().completes("a", 1).completes("x")
    assert run.timer("finally").fire_at == run.now_ms + 5_000
    run.fires("finally")
    assert (run.status, run.statuses["z"]) == (RunStatus.FAILED, "cancelled")
    text = "the nodes with `finally: true` did not end within 5000 ms: z, y"
    assert run.error == StepError("finally_timeout", text, retryable=False)
    run.check_log()
    run = RunDriver(definition).submit().cancels().fires("finally")
    assert (run.status, run.state.error) == (RunStatus.CANCELLED, None)
    run.check_log()


def test_one_that_ended_as_the_time_was_over_gives_its_slot_back() -> None:
    run = RunDriver(workflow(function("a"), last(lane="{{org}}-x"))).submit().completes("a", 1)
    run.tell(ev.SlotGranted, lane="o-x", step="z", attempt=1)
    run.apply(ev.StepCompleted(**base(run.state.run, run.now_ms), step="z", attempt=1)).fires("finally")
    assert run.output == {"a": 1}
    assert [type(fact) for _, fact in run.sent] == [ev.LaneReleased]
    run.check_log()


def test_a_time_that_is_over_waits_for_the_subworkflows() -> None:
    run = RunDriver(workflow(function("a"), subworkflow("s", **{"finally": True}))).submit(definitions=child())
    run.completes("a").fires("finally")
    assert (run.status, [type(fact) for _, fact in run.sent]) == (RunStatus.WAITING, [ev.RunCancelRequested])
    run.crash().decide().child_ends("s", "cancelled")
    assert run.error.type == "finally_timeout"
    run.check_log()


@pytest.mark.parametrize("begun", [False, True])
def test_a_cancel_by_force_skips_them(begun: bool) -> None:
    run = RunDriver(workflow(function("a", compensate_with=UNDO), last())).submit()
    if begun:
        run.completes("a")
        assert run.offered == ["a", "z"]
    run.cancels(force=True, reason="now")
    assert (run.status, run.state.cancel_reason) == (RunStatus.CANCELLED, "now")
    assert ("z" in run.statuses, run.of(ev.RunCancelled)[0].uncompensated) == (begun, ("a",))
    run.check_log()


def test_a_cancel_and_a_pause_come_too_late() -> None:
    run = RunDriver(workflow(function("a"), last(), last("y", depends_on=["z"]))).submit().completes("a", 1)
    run.cancels().tell(ev.RunPauseRequested)
    assert run.statuses["z"] == "scheduled"
    assert run.completes("z").completes("y").output == {"a": 1}
    run.check_log()


def test_a_paused_run_that_is_cancelled_runs_them() -> None:
    run = RunDriver(workflow(function("a"), last())).submit().tell(ev.RunPauseRequested).cancels()
    assert run.offered == ["a", "z"]
    assert run.completes("z").status is RunStatus.CANCELLED


def test_a_run_that_never_had_its_slot_runs_none() -> None:
    definition = {**workflow(function("a"), last()), "run_lane": "k"}
    run = RunDriver(definition).submit().cancels()
    assert (run.status, run.offered) == (RunStatus.CANCELLED, [])
    run = RunDriver(definition).submit().tell(ev.RunSlotGranted, lane="run:o:k").cancels()
    assert run.offered == ["a", "z"]
    assert [type(fact) for _, fact in run.sent] == [] and run.state.slot_granted
    run.completes("z")
    assert [type(fact) for _, fact in run.sent] == [ev.LaneReleased]


def test_only_the_last_run_of_a_chain_runs_them() -> None:
    again = {"id": "n", "type": "continue_as_new", "condition": "go", "depends_on": ["a"],
             "config": {"inputs": {"go": False}}}  # fmt: skip
    definition = {**workflow(function("a"), again, last()), "inputs": {"go": {"type": "boolean"}}}
    run = RunDriver(definition).submit({"go": True}).completes("a")
    assert (run.status, bool(run.state.continued_as), run.offered) == (RunStatus.COMPLETED, True, ["a"])
    assert RunDriver(definition).submit({"go": False}).completes("a").offered == ["a", "z"]


def test_a_parent_gets_the_output_once_they_are_over() -> None:
    run = RunDriver(workflow(function("a"), last())).submit(parent=ev.ParentRef("run_p", "s", 1), depth=1)
    run.completes("a", run.store("x" * 9))
    assert run.sent == []
    run.completes("z")
    told = [fact for _, fact in run.sent if isinstance(fact, ev.ChildEnded)]
    assert [(fact.status, fact.output) for fact in told] == [("completed", Payload(value={"a": "x" * 9}))]


def test_an_unknown_outcome_of_the_run_is_not_waited_for_again() -> None:
    ask = function("a", policy={"on_unknown": "ask"})
    wait = {"id": "w", "type": "wait", "finally": True, "config": {"duration": "1s"}}
    run = RunDriver(workflow(ask, wait)).submit().is_unknown("a").cancels()
    assert [waiting.steps for waiting in run.of(ev.RunWaiting)] == [("a",), ("w",)]
    assert run.fires("wait:w").status is RunStatus.CANCELLED


@pytest.mark.parametrize("kept", range(7))
def test_a_crash_after_any_decision_comes_to_the_same(kept: int) -> None:
    nodes = [function("a", policy=ONCE), function("b"), last(), last("y", depends_on=["z"])]
    run = RunDriver(workflow(*nodes), chain_steps=0).submit().fails("a")
    assert [type(made).__name__ for made in run.made] == ["StepCancelled", "RunFinishing", "TimerSet", "StepScheduled"]
    run.crash(kept if kept < 4 else None).decide()
    run.completes("b")  # the worker had not heard of it
    assert run.offered == ["a", "b", "z"]
    run.crash().decide().completes("z").crash(0).decide()
    assert run.offered == ["a", "b", "z", "y"]
    run.completes("y").crash(0 if kept == 6 else None).decide()
    assert (run.error.type, run.statuses) == (
        "E", {"a": "failed", "b": "cancelled", "z": "completed", "y": "completed"},
    )  # fmt: skip
    run.check_log()


def test_a_graph_runs_them_too() -> None:
    text = """
name: w
entry_point: a
nodes:
  - {name: a, function: f}
  - {name: b, function: f}
  - {name: z, function: f, finally: true, args: {n: state.n, how: "{{outcome.status}}"}}
  - {name: y, function: f, finally: true, depends_on: [z], args: {z: z.output}}
edges: [{from: a, to: b}, {from: b, to: a, max_iterations: 1}]
state: {reducers: {n: sum}, initial: {n: 1}}
"""
    run = RunDriver(text).submit()
    for step in ("a", "b", "a#2", "b#2"):
        run.completes(step, {"n": 1})
    assert run.inputs("z") == {"n": 5, "how": "completed"}
    run.crash().decide().completes("z", {"n": 100})
    assert run.inputs("y") == {"z": {"n": 100}}
    assert run.completes("y").output == {"n": 5}
    run.check_log()


def test_a_loop_of_edges_ends_before_them() -> None:
    back = {"from": "b", "to": "a", "condition": "b.output < 2", "max_iterations": 5}
    nodes = [function("a"), function("b"), last("z", inputs={"b": "b.output"})]
    run = RunDriver(workflow(*nodes, edges=[*edges("a b"), back])).submit()
    run.completes("a").completes("b", 1).completes("a#2").completes("b#2", 2)
    assert run.inputs("z") == {"b": 2}
    assert run.crash().decide().completes("z").output == {"b": 2}
    run.check_log()


def test_why_says_what_is_left_and_how_it_ends() -> None:
    run = RunDriver(workflow(function("a", policy=ONCE), last(), last("y", depends_on=["z"]))).submit()
    around = Surroundings(now_ms=run.now_ms, schedulers=1)
    assert [item.step for item in explain(run.state, run.definition, around).waiting] == ["a"]
    run.fails("a").tell(ev.RunPauseRequested)
    found = explain(run.state, run.definition, around)
    text = "the run will fail once its nodes with `finally: true` have ended, at the latest in 10 m"
    assert found.summary == text
    assert {item.step: item.kind for item in found.waiting} == {"z": "worker", "y": "dependency"}


# --- fork and retry ---


def test_a_retry_and_a_fork_run_them_again() -> None:
    run = RunDriver(workflow(function("a"), function("b", policy=ONCE), last())).submit().completes("a").fails("b")
    run.completes("z")
    for seed in (
        forking.retry(run.state, run.definition, Changes()), forking.fork(run.state, run.state, run.definition, "b"),
    ):  # fmt: skip
        assert {key: str(step.status) for key, step in seed.steps.items()} == {"a": "completed"}
        again = RunDriver(run.definition).submit(seed=Payload(value=forking.encoded_steps(seed)))
        assert again.completes("b", 1).completes("z").output == {"a": None, "b": 1}
        again.check_log()
    with pytest.raises(InvalidError, match="'z' runs when the run ends, so it runs again in every fork"):
        forking.fork(run.state, run.state, run.definition, "z")


def test_a_retry_of_a_run_that_failed_by_one_runs_only_these() -> None:
    run = RunDriver(workflow(function("a"), last())).submit().completes("a", 1).is_unknown("z")
    assert run.error.type == "outcome_unknown"
    seed = forking.retry(run.state, run.definition, Changes())
    again = RunDriver(run.definition).submit(seed=Payload(value=forking.encoded_steps(seed)))
    assert again.offered == ["z"]
    assert again.completes("z").output == {"a": 1}


# --- mistakes in the definition ---


@pytest.mark.parametrize(
    ("node", "place", "message"),
    [
        ({"id": "z", "type": "signal", "config": {"signal": "s"}}, "nodes[1].finally", "nobody waits for a signal"),
        ({"id": "z", "type": "approval"}, "nodes[1].finally", "nobody is asked once the run ends"),
        ({"id": "z", "type": "end"}, "nodes[1].finally", "the run ends already"),
        ({"id": "z", "type": "continue_as_new", "config": {"inputs": {"x": 1}}}, "nodes[1].finally", "has not ended"),
        (function("z", compensate_with=UNDO), "nodes[1].compensate_with", "nothing is undone after the end"),
        (function("z", policy={"on_unknown": "ask"}), "nodes[1].policy.on_unknown", "nobody is asked"),
        (function("z", depends_on=["a"]), "nodes[1].depends_on[0]", "'z' runs when the run ends, after all other"),
        (function("z", inputs={"x": "{{outcom.status}}"}), "nodes[1].config.inputs.x", "neither an input nor a node"),
    ],
)
def test_a_mistake_is_refused_at_its_place(node: dict[str, Any], place: str, message: str) -> None:
    with pytest.raises(InvalidError) as caught:
        parse_dict(workflow(function("a"), {**node, "finally": True}, inputs={"x": {"type": "any"}}))
    assert [(problem.place, message in problem.message) for problem in caught.value.problems] == [
        (f"dag.{place}", True)
    ]


def test_nothing_leads_from_one_to_another_node() -> None:
    with pytest.raises(InvalidError) as caught:
        parse_text("""
name: w
outputs: {z: z.output}
dag:
  nodes:
    - {id: z, type: function, finally: true, config: {function_name: f}}
    - {id: a, type: function, config: {function_name: f, inputs: {z: z.output}}}
""")
    assert [problem.place for problem in caught.value.problems] == ["line 3, outputs.z", "line 7, dag.nodes[1]"]
    with pytest.raises(InvalidError) as caught:
        parse_text("""
name: w
finally_ms: 1m
dag:
  nodes:
    - {id: z, type: function, config: {function_name: f}}
    - {id: outcome, type: function, config: {function_name: f}}
""")
    assert [problem.place for problem in caught.value.problems] == ["line 3, finally_ms"]
    with pytest.raises(InvalidError) as caught:
        parse_text("""
name: w
dag:
  nodes:
    - {id: z, type: function, finally: true, config: {function_name: f}}
    - {id: y, type: function, finally: true, config: {function_name: f}}
    - {id: outcome, type: function, config: {function_name: f}}
  edges:
    - {from: z, to: outcome}
    - {from: z, to: y}
    - {from: y, to: z, condition: y.output, max_iterations: 2}
""")
    assert [problem.place for problem in caught.value.problems] == [
        "line 7, dag.nodes[2].id", "line 9, dag.edges[0]", "line 11, dag.edges[2].max_iterations",
    ]  # fmt: skip


def test_a_circle_of_them_is_refused_in_a_graph_too() -> None:
    nodes = [
        {"name": "a", "function": "f"},
        {"name": "y", "function": "f", "finally": True, "depends_on": ["z"], "args": {}},
        {"name": "z", "function": "f", "finally": True, "args": {"y": "y.output"}},
    ]
    with pytest.raises(InvalidError, match="the nodes form a cycle: "):
        parse_dict({"name": "w", "entry_point": "a", "nodes": nodes})
