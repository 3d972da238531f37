"""A run that ends early, at an `end` node: completed, failed or cancelled."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common.definition.parse import parse_dict, parse_text
from agentflow_common.errors import InvalidError
from agentflow_common.events import Payload, StepError
from agentflow_common.runs import fork as forking
from agentflow_common.runs.explain import explain
from agentflow_common.runs.fork import Changes
from agentflow_common.runs.state import RunStatus
from agentflow_common.runs.waiting import Surroundings
from tests.support.definitions import BODY, UNDO, child, edges, function, subworkflow, workflow
from tests.support.run_driver import RunDriver


def end(name: str = "stop", **fields: Any) -> dict[str, Any]:
    more = {key: fields.pop(key) for key in ("condition", "policy", "depends_on") if key in fields}
    return {"id": name, "type": "end", "config": fields, **more}


def beside(*nodes: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """`a` leads to `stop`; these nodes run beside it, and `later` comes after the first of them."""
    later = function("later", depends_on=[nodes[0]["id"]])
    return workflow(function("a"), end(depends_on=["a"], **fields), *nodes, later)


def test_the_run_completes_with_its_output_and_closes_everything_else() -> None:
    waits = {"id": "w", "type": "wait", "config": {"duration": "1h"}}
    many = {"id": "m", "type": "map", "config": {"over": [1, 2], "body": BODY}}
    run = (
        RunDriver(beside(function("b"), waits, many, output={"answer": "a.output.n"})).submit().completes("a", {"n": 7})
    )
    assert run.output == {"answer": 7}
    assert run.statuses == {
        "a": "completed", "stop": "completed", "b": "cancelled", "w": "cancelled", "m": "cancelled",
        "m[0]": "cancelled", "m[1]": "cancelled",
    }  # fmt: skip
    assert run.state.steps["b"].reason == "the run ended at stop"
    assert run.state.timers == {}
    run.check_log()


def test_without_an_output_the_run_has_that_of_the_workflow() -> None:
    definition = {**beside(function("b")), "outputs": {"n": "a.output", "b": "b.output"}}
    assert RunDriver(definition).submit().completes("a", 3).output == {"n": 3, "b": None}
    assert RunDriver(beside(function("b"))).submit().completes("a", 3).output == {"later": None}


def test_a_step_that_is_not_due_ends_nothing() -> None:
    definition = workflow(
        function("a"), end(depends_on=["a"], condition="a.output > 5"), function("b", depends_on=["a"])
    )
    run = RunDriver(definition).submit().completes("a", 1).completes("b", 2)
    assert (run.output, run.statuses["stop"]) == ({"b": 2}, "skipped")


def test_a_run_that_fails_there_has_its_error_and_is_compensated() -> None:
    error = {"type": "sold_out", "message": "{{a.output.item}} is sold out"}
    definition = beside(function("b"), status="failed", error=error)
    definition["dag"]["nodes"][0]["compensate_with"] = UNDO
    run = RunDriver(definition).submit().completes("a", {"item": "tea"})
    assert run.undone() == ["a"]
    run.completes("a:undo")
    assert (run.status, run.error) == (RunStatus.FAILED, StepError("sold_out", "tea is sold out", retryable=False))
    last = run.of(ev.RunFailed)[0]
    assert (last.step, last.compensated, last.uncompensated) == ("stop", ("a",), ())
    run.check_log()


def test_a_run_that_is_cancelled_there_is_compensated_too() -> None:
    definition = beside(function("b"), status="cancelled", error={"message": "not {{a.output}}"})
    definition["dag"]["nodes"][0]["compensate_with"] = UNDO
    run = RunDriver(definition).submit().completes("a", "today")
    assert (run.undone(), run.status) == (["a"], RunStatus.RUNNING)
    run.crash().decide().completes("a:undo")
    assert (run.status, run.state.cancel_reason) == (RunStatus.CANCELLED, "not today")
    assert run.of(ev.RunCancelled)[0].compensated == ("a",)
    run.check_log()


def test_the_message_is_a_text_whatever_it_refers_to() -> None:
    run = RunDriver(beside(function("b"), status="failed", error={"message": "a.output"})).submit().completes("a", [1])
    assert run.error == StepError("ended", "[1]", retryable=False)
    run = RunDriver(beside(function("b"), status="failed")).submit().completes("a")
    assert run.error == StepError("ended", "the run ended at stop", retryable=False)


def test_an_output_that_can_not_be_computed_fails_the_run() -> None:
    run = RunDriver(beside(function("b"), output={"n": "{{1 // a.output}}"})).submit().completes("a", 0)
    assert (run.error.type, run.statuses["stop"]) == ("undecidable", "failed")
    assert run.error.message.startswith("stop: output.n: ")


def test_an_output_that_is_stored_out_of_line_is_fetched() -> None:
    run = RunDriver(beside(function("b"), output={"all": "a.output"})).submit()
    run.completes("a", run.store({"n": [1, 2]}))
    assert (run.output, run.rounds) == ({"all": {"n": [1, 2]}}, 1)


@pytest.mark.parametrize("kept", range(6))
def test_a_crash_after_any_decision_ends_the_run_in_the_same_way(kept: int) -> None:
    definition = beside(function("b", policy={"on_failure": "continue"}), subworkflow("s"), output={"n": "a.output"})
    run = RunDriver(definition).submit(definitions=child()).completes("a", 1)
    assert [type(made).__name__ for made in run.made] == ["StepResolved", "StepCancelled", "StepCancelled", "TimerSet"]
    if kept < len(run.made):
        run.crash(kept).decide()
    assert "later" not in run.statuses
    run.child_ends("s", "cancelled")
    assert run.output == {"n": 1}
    assert run.statuses == {"a": "completed", "stop": "completed", "b": "cancelled", "s": "cancelled"}
    run.check_log()


def test_a_crash_begins_nothing_that_another_report_would_begin() -> None:
    run = RunDriver(beside(function("b"), output=1)).submit().completes("a")
    run.crash(1).apply(ev.StepCompleted(org="o", run="r", ts=1, step="b", attempt=1)).decide()
    assert (run.output, run.offered) == (1, ["a", "b"])


def test_it_waits_for_its_subworkflows_and_says_so() -> None:
    run = RunDriver(beside(subworkflow("s"), function("b"))).submit(definitions=child()).completes("a")
    assert [(key.name, type(fact)) for key, fact in run.sent] == [(run.state.steps["s"].child, ev.RunCancelRequested)]
    found = explain(run.state, run.definition, Surroundings(now_ms=run.now_ms, schedulers=1))
    assert [(item.step, item.kind) for item in found.waiting] == [("s", "subworkflow")]
    run.tell(ev.RunPauseRequested)
    assert run.status is RunStatus.PAUSED
    run.child_ends("s", "cancelled")
    assert run.status is RunStatus.PAUSED
    run.tell(ev.RunResumeRequested)
    assert run.output == {"b": None, "later": None}
    run.check_log()


def test_a_cancel_that_comes_while_it_waits_wins() -> None:
    run = RunDriver(beside(subworkflow("s"))).submit(definitions=child()).completes("a").cancels(reason="enough")
    run.child_ends("s", "cancelled")
    assert (run.status, run.state.cancel_reason) == (RunStatus.CANCELLED, "enough")


def test_a_parent_gets_the_output() -> None:
    run = RunDriver(beside(function("b"), output=["x"]))
    run.submit(parent=ev.ParentRef("run_p", "s", 1), depth=1).completes("a")
    told = [fact for _, fact in run.sent if isinstance(fact, ev.ChildEnded)]
    assert [(fact.status, fact.output) for fact in told] == [("completed", Payload(value=["x"]))]


def test_a_loop_of_edges_ends_at_its_second_visit() -> None:
    back = {"from": "b", "to": "a", "condition": "b.status == 'completed'", "max_iterations": 5}
    stop = end(condition="a.output > 1", output="a.output")
    last = function("b", condition="stop.status == 'skipped'")  # so that `stop` is in the loop
    run = RunDriver(workflow(function("a"), stop, last, edges=[*edges("a b", "a stop"), back])).submit()
    run.completes("a", 1).completes("b", 0).completes("a#2", 2)
    assert (run.output, run.statuses["stop"], run.statuses["stop#2"]) == (2, "skipped", "completed")
    run.check_log()


def test_a_graph_ends_in_the_middle_of_a_superstep() -> None:
    text = """
name: w
entry_point: a
nodes:
  - {name: a, function: f}
  - {name: b, function: f}
  - {name: stop, end: {output: state.n}, condition: state.n > 3}
edges: [{from: a, to: b}, {from: a, to: stop}, {from: b, to: a}]
state: {reducers: {n: sum}, initial: {n: 1}}
"""
    run = RunDriver(text).submit().completes("a", {"n": 1}).completes("b", {"n": 1}).completes("a#2", {"n": 1})
    assert (run.output, run.statuses["b#2"]) == (4, "cancelled")
    run.check_log()


# --- fork and retry ---


def seed_of(run: RunDriver, at: str) -> dict[str, str]:
    seed = forking.fork(run.state, run.state, run.definition, at)
    return {key: str(step.status) for key, step in seed.steps.items()}


def test_a_fork_decides_anew_whether_the_run_ends() -> None:
    run = RunDriver(beside(function("b"), condition="a.output > 5")).submit().completes("b", 1).completes("a", 9)
    assert run.statuses == {"a": "completed", "stop": "completed", "b": "completed", "later": "cancelled"}
    assert seed_of(run, "a") == {"b": "completed"}
    assert seed_of(run, "later") == {"a": "completed", "b": "completed"}


def test_a_retry_decides_anew_whether_the_run_fails() -> None:
    run = RunDriver(beside(function("b"), status="failed")).submit().completes("a")
    seed = forking.retry(run.state, run.definition, Changes())
    assert {key: str(step.status) for key, step in seed.steps.items()} == {"a": "completed"}
    cancelled = RunDriver(beside(function("b"), status="cancelled")).submit().completes("a")
    seed = forking.retry(cancelled.state, cancelled.definition, Changes())
    assert {key: str(step.status) for key, step in seed.steps.items()} == {"a": "completed"}


# --- mistakes in the definition ---


@pytest.mark.parametrize(
    ("node", "place", "message"),
    [
        (end(status="failed", output=1), "config.output", "a run that ends as failed has no output"),
        (end(error={"message": "x"}), "config.error", "a run that completes has no error"),
        (end(policy={"on_failure": "continue"}), "policy.on_failure", "can't continue without it"),
        (end(policy={"timeout_ms": 5}), "policy.timeout_ms", "has no attempts that could take too long"),
        (end(output={"x": "b.output"}), "config.output.x", "there is no such node"),
        (end(status="failed", error={"message": "{{c}}"}), "config.error.message", "neither an input nor a node"),
        (end(status="over"), "config.status", "use 'completed'"),
    ],
)
def test_a_mistake_is_refused_at_its_place(node: dict[str, Any], place: str, message: str) -> None:
    with pytest.raises(InvalidError) as caught:
        parse_dict(workflow(function("a"), node, inputs={"x": {"type": "any"}}))
    assert [(problem.place, message in problem.message) for problem in caught.value.problems] == [
        (f"dag.nodes[1].{place}", True)
    ]


def test_nothing_comes_after_it() -> None:
    with pytest.raises(InvalidError) as caught:
        parse_text("""
name: w
dag:
  nodes:
    - {id: stop, type: end}
    - {id: a, type: function, config: {function_name: f}}
    - {id: b, type: function, config: {function_name: f}, depends_on: [stop]}
  edges:
    - {from: stop, to: a}
""")
    places = [problem.place for problem in caught.value.problems]
    assert places == ["line 7, dag.nodes[2].depends_on[0]", "line 9, dag.edges[0]"]
