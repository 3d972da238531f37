"""Breakpoints: where a run stops, how it goes on, and what does not change by that."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common.events import Payload
from agentflow_common.runs.explain import Surroundings, explain
from agentflow_common.runs.state import RunStatus
from agentflow_common.runs.stops import Stops
from tests.support.definitions import BODY, edges, function, in_order, workflow
from tests.support.run_driver import RunDriver

DIAMOND = workflow(*map(function, "abcd"), edges=edges("a b", "a c", "b d", "c d"))


def drive(definition: dict[str, Any], *at: str, every: bool = False, **fields: Any) -> RunDriver:
    return RunDriver(definition).submit(break_at=at, break_every=every, **fields)


def goes_on(run: RunDriver, **fields: Any) -> RunDriver:
    """Somebody continues the run from its present stop."""
    assert run.state.stops is not None
    return run.tell(ev.RunContinueRequested, stop=run.state.stops.number, by="ana", **fields)


def stops(run: RunDriver) -> list[tuple[str, ...]]:
    return [event.steps for event in run.of(ev.RunStopped)]


def names(run: RunDriver) -> list[str]:
    """What was decided last."""
    return [ev.event_type(event) for event in run.made]


def test_a_run_stops_before_a_step_and_goes_on_when_it_is_continued() -> None:
    run = drive(in_order(*map(function, "abc")), "b").completes("a", 1)
    assert (run.status, run.offered, stops(run), names(run)) == (RunStatus.PAUSED, ["a"], [("b",)], ["run.stopped"])
    assert "b" not in run.state.steps
    goes_on(run)
    assert (run.status, run.offered, names(run)) == (RunStatus.RUNNING, ["a", "b"], ["run.resumed", "step.scheduled"])
    run.completes("b").completes("c")
    assert (run.status, stops(run)) == (RunStatus.COMPLETED, [("b",)])
    run.check_log()


def test_the_first_step_can_have_one() -> None:
    run = drive(in_order(function("a")), "a")
    assert names(run) == ["run.started", "run.stopped"]
    assert goes_on(run).completes("a").check_log().status is RunStatus.COMPLETED


def test_what_runs_beside_it_goes_on_to_its_end_and_nothing_else_begins() -> None:
    definition = workflow(*map(function, "abcd"), edges=edges("a b", "c d"))
    run = drive(definition, "b").completes("a")
    assert (run.status, run.statuses["c"]) == (RunStatus.PAUSED, "scheduled")
    run.completes("c", 7)
    assert (run.offered, run.made, run.state.steps["c"].output.value) == (["a", "c"], [], 7)  # type: ignore[union-attr]
    goes_on(run)
    assert run.offered == ["a", "c", "b", "d"]
    run.check_log()


@pytest.mark.parametrize("name", ["b", "c"])
def test_steps_that_are_due_beside_it_wait_whatever_their_order_is(name: str) -> None:
    run = drive(DIAMOND, name).completes("a")
    assert (run.offered, stops(run)) == (["a"], [(name,)])
    assert sorted(goes_on(run).offered) == ["a", "b", "c"]
    run.completes("b").completes("c").completes("d").check_log()
    assert run.status is RunStatus.COMPLETED


def test_step_by_step_steps_that_are_due_together_begin_together() -> None:
    run = drive(DIAMOND, every=True)
    goes_on(run, every=True).completes("a")
    assert stops(run) == [("a",), ("b", "c")]
    goes_on(run, every=True).completes("b")
    assert (run.status, run.offered) == (RunStatus.RUNNING, ["a", "b", "c"])
    run.completes("c")
    assert stops(run) == [("a",), ("b", "c"), ("d",)]
    goes_on(run, every=True).completes("d").check_log()
    assert run.status is RunStatus.COMPLETED


def test_continuing_without_steps_goes_to_the_next_breakpoint() -> None:
    run = drive(in_order(*map(function, "abcd")), "c", every=True)
    goes_on(run).completes("a").completes("b")
    assert stops(run) == [("a",), ("c",)]
    goes_on(run).completes("c").completes("d")
    assert run.status is RunStatus.COMPLETED


def test_continuing_up_to_a_step_stops_there_once() -> None:
    loop = [*edges("a b"), *edges("b a", condition="b.output < 2", max_iterations=3)]
    run = drive(workflow(*map(function, "ab"), edges=loop), "a")
    goes_on(run, to="b").completes("a")
    assert (stops(run), run.state.stops) == ([("a",), ("b",)], Stops(at=("a",), before=("b",), number=2))
    goes_on(run).completes("b", 1)
    assert stops(run) == [("a",), ("b",), ("a#2",)]  # `a` has a breakpoint: each visit stops
    goes_on(run).completes("a#2").completes("b#2", 2)
    assert (run.status, len(stops(run))) == (RunStatus.COMPLETED, 3)
    run.check_log()


def test_a_second_request_about_the_same_stop_changes_nothing() -> None:
    run = drive(in_order(*map(function, "ab")), every=True)
    goes_on(run, every=True).completes("a")
    run.tell(ev.RunContinueRequested, stop=1)
    assert (run.status, run.made, stops(run)) == (RunStatus.PAUSED, [], [("a",), ("b",)])


@pytest.mark.parametrize("keep", [0, 1, 2])
def test_a_crash_after_any_decision_passes_over_no_breakpoint(keep: int) -> None:
    run = drive(DIAMOND, "a", "b")
    run.crash(min(keep, len(run.made))).decide()
    assert (run.status, run.offered, len(stops(run))) == (RunStatus.PAUSED, [], 1)
    goes_on(run)
    run.crash(min(keep, len(run.made))).decide()
    assert (run.status, run.offered) == (RunStatus.RUNNING, ["a"])
    run.completes("a")
    run.crash(min(keep, len(run.made))).decide()
    assert (run.offered, stops(run)) == (["a"], [("a",), ("b",)])
    goes_on(run)
    run.crash(min(keep, len(run.made))).decide()
    assert run.offered in (["a", "b", "c"], ["a", "c", "b"])
    run.check_log()


def test_a_step_that_is_skipped_stops_nothing() -> None:
    run = drive(in_order(function("a"), function("b", condition="a.output > 1"), function("c")), "b").completes("a", 1)
    assert (run.statuses["b"], stops(run), run.statuses.get("c")) == ("skipped", [], "skipped")
    assert run.status is RunStatus.COMPLETED


@pytest.mark.parametrize(
    "node",
    [
        {"id": "n", "type": "wait", "config": {"duration": "1h"}},
        {"id": "n", "type": "signal", "config": {"signal": "s"}},
        {"id": "n", "type": "approval", "config": {"message": "?"}},
        {"id": "n", "type": "map", "config": {"over": [1, 2], "body": BODY}},
        {"id": "n", "type": "loop", "config": {"until": "true", "max_iterations": 2, "body": BODY}},
        {"id": "n", "type": "continue_as_new", "config": {"inputs": {}}},
        {"id": "n", "type": "end", "config": {}},
        function("n", lane="x-{{org}}"),
    ],
    ids=lambda node: node["type"],
)  # fmt: skip
def test_every_type_of_node_can_have_one(node: dict[str, Any]) -> None:
    run = drive(workflow(function("a"), node, edges=edges("a n")), "n").completes("a")
    assert (stops(run), names(run), run.sent, run.state.timers) == ([("n",)], ["run.stopped"], [], {})
    goes_on(run)
    assert "n" in run.state.steps or run.sent
    run.check_log()


def test_the_parts_of_a_step_stop_nothing() -> None:
    run = drive(workflow({"id": "n", "type": "map", "config": {"over": [1, 2], "body": BODY}}), every=True)
    goes_on(run, every=True)
    assert run.offered == ["n[0]", "n[1]"]
    run.completes("n[0]").completes("n[1]")
    assert (run.status, stops(run)) == (RunStatus.COMPLETED, [("n",)])


def test_another_attempt_stops_nothing() -> None:
    retry = {"retry": {"max_attempts": 2, "initial_ms": 10}}
    run = drive(in_order(function("a", policy=retry)), "a")
    goes_on(run).fails("a", ev.StepError("busy", "later")).fires("retry:a:1").completes("a")
    assert (run.status, len(stops(run))) == (RunStatus.COMPLETED, 1)


def test_a_join_that_stops_closes_the_others_only_when_it_begins() -> None:
    last = function("j", depends_on=["a", "b"], join="any")
    run = drive(workflow(function("a"), function("b"), last), "j").completes("a", 1)
    assert (stops(run), run.statuses) == ([("j",)], {"a": "completed", "b": "scheduled"})
    goes_on(run)
    assert run.statuses == {"a": "completed", "b": "cancelled", "j": "scheduled"}
    run.completes("j").check_log()


def test_a_loser_with_a_breakpoint_is_closed_and_stops_nothing() -> None:
    nodes = [function("a"), function("x", depends_on=["a"]), function("j", depends_on=["a", "x"], join="any")]
    run = drive(workflow(*nodes), "x").completes("a")
    assert (stops(run), run.statuses["x"], run.offered) == ([], "skipped", ["a", "j"])


def test_a_stopped_step_takes_neither_its_locks() -> None:
    definition = in_order(function("a"), function("b"), lock=[{"key": "k", "nodes": ["b"]}])
    run = drive(definition, "b").completes("a")
    assert (stops(run), run.sent, run.state.locks) == ([("b",)], [], None)
    goes_on(run)
    assert [ev.event_type(event) for _, event in run.sent] == ["lane.requested"]
    run.check_log()


def test_in_a_graph_no_node_of_the_superstep_begins() -> None:
    """As with `interrupt_before` of LangGraph."""
    nodes = [{"name": name, "function": "f"} for name in "abc"]
    arrows = [{"from": "a", "to": "b"}, {"from": "a", "to": "c"}]
    run = drive({"nodes": nodes, "edges": arrows, "entry_point": "a"}, "c").completes("a", {"n": 1})
    assert (run.offered, stops(run), run.state.shared["n"].value) == (["a"], [("c",)], 1)
    assert sorted(goes_on(run).offered) == ["a", "b", "c"]
    run.completes("b").completes("c").check_log()
    assert run.status is RunStatus.COMPLETED


# --- changed while the run goes on ---


def asked(run: RunDriver, *at: str, **fields: Any) -> RunDriver:
    return run.tell(ev.RunBreakRequested, at=at, by="ana", **fields)


def test_a_breakpoint_that_is_set_later_stops_the_run_and_is_a_decision() -> None:
    run = asked(drive(DIAMOND), "d")
    assert [(event.at, event.every) for event in run.of(ev.RunBreakpointsSet)] == [(("d",), False)]
    run.completes("a").completes("b").completes("c")
    assert stops(run) == [("d",)]
    assert goes_on(run).completes("d").check_log().status is RunStatus.COMPLETED


def test_one_is_removed_several_are_and_all_are() -> None:
    run = drive(DIAMOND, "b", "c", "d")
    asked(run, "c", remove=True)
    assert (run.state.stops or Stops()).at == ("b", "d")
    asked(run, every=True)
    assert run.state.stops == Stops(at=("b", "d"), every=True)
    asked(run, every=True, remove=True)
    assert run.state.stops == Stops(at=("b", "d"))
    asked(asked(run, every=True), remove=True)
    assert run.state.stops == Stops()
    run.completes("a").completes("b").completes("c").completes("d")
    assert (run.status, stops(run)) == (RunStatus.COMPLETED, [])
    run.check_log()


def test_a_step_that_has_begun_is_not_stopped_any_more() -> None:
    run = asked(drive(in_order(*map(function, "ab"))), "a").completes("a").completes("b")
    assert (run.status, stops(run)) == (RunStatus.COMPLETED, [])


def test_removing_the_breakpoint_does_not_continue_a_run_that_is_stopped_there() -> None:
    run = asked(drive(in_order(function("a")), "a"), remove=True)
    assert (run.status, run.offered) == (RunStatus.PAUSED, [])
    assert goes_on(run).offered == ["a"]


# --- rows of steps that one worker runs ---


def test_a_row_of_steps_ends_before_a_breakpoint() -> None:
    row = in_order(*map(function, "abcd"))
    assert [step.step for step in drive(row).of(ev.StepScheduled)[0].then] == ["b", "c", "d"]
    assert [step.step for step in drive(row, "c").of(ev.StepScheduled)[0].then] == ["b"]
    assert drive(row, "b").of(ev.StepScheduled)[0].then == ()
    stepping = goes_on(drive(row, every=True), every=True)
    assert stepping.of(ev.StepScheduled)[0].then == ()
    assert [step.step for step in goes_on(drive(row, every=True)).of(ev.StepScheduled)[0].then] == ["b", "c", "d"]


def test_a_breakpoint_that_comes_with_the_report_of_a_worker_is_written_down_before_it_goes_on() -> None:
    run = drive(in_order(*map(function, "abc")))
    run.apply(ev.RunBreakRequested(org="o", run="r", ts=1, at=("c",)))
    begun = ev.StepCompleted(org="o", run="r", ts=1, step="a", attempt=1, begun=ev.BegunStep("b", "function"))
    run.apply(begun)
    assert not run.run.worker_continues(begun)  # the decision that follows fences its next report
    assert names(run.decide()) == ["run.breakpoints_set"]
    assert run.run.worker_continues(begun)
    run.completes("b")
    assert stops(run) == [("c",)]


# --- with pauses, cancels and deadlines ---


def test_a_pause_and_a_stop_end_each_by_itself() -> None:
    run = drive(in_order(*map(function, "ab")), "b").completes("a").tell(ev.RunPauseRequested, by="bo")
    assert run.made == []
    goes_on(run)
    assert (run.status, run.offered) == (RunStatus.PAUSED, ["a"])
    assert run.tell(ev.RunResumeRequested).offered == ["a", "b"]
    run = drive(in_order(*map(function, "ab")), "b").tell(ev.RunPauseRequested).completes("a")
    assert stops(run) == []
    assert stops(run.tell(ev.RunResumeRequested)) == [("b",)]
    assert run.tell(ev.RunResumeRequested).status is RunStatus.PAUSED
    run.check_log()


def test_a_stopped_run_is_cancelled_and_its_deadline_ends_it() -> None:
    run = drive(in_order(*map(function, "ab")), "b").completes("a").cancels()
    assert (run.status, run.offered) == (RunStatus.CANCELLED, ["a"])
    run = drive(in_order(*map(function, "ab")), "b", deadline_ms=1_000).completes("a").fires("deadline")
    assert (run.status, run.error.type) == (RunStatus.FAILED, "deadline")
    run.check_log()


def test_a_node_that_runs_at_the_end_stops_nothing() -> None:
    last = {**function("z"), "finally": True}
    run = drive(workflow(function("a"), last), every=True)
    goes_on(run, every=True).completes("a")
    assert (run.offered, stops(run)) == (["a", "z"], [("a",)])


def test_a_slot_that_was_granted_beside_a_stop_goes_back() -> None:
    run = drive(workflow(function("a", lane="x-{{org}}"), function("b"), function("c"), edges=edges("b c")), "c")
    run.completes("b").tell(ev.SlotGranted, step="a", attempt=1, lane="x-o")
    assert (run.status, run.state.steps["a"].lane, run.offered) == (RunStatus.PAUSED, "", ["b"])
    goes_on(run)
    assert (run.state.steps["a"].lane, run.offered) == ("x-o", ["b", "c"])


def test_the_run_that_continues_this_one_has_its_breakpoints() -> None:
    again = {"id": "n", "type": "continue_as_new", "config": {"inputs": {}}}
    run = drive(in_order(function("a"), again), "a")
    goes_on(run).completes("a")
    (following,) = [event for _, event in run.sends if isinstance(event, ev.RunSubmitted)]
    assert (following.break_at, following.break_every) == (("a",), False)


def test_a_run_that_would_go_on_as_a_new_one_stops_at_a_later_breakpoint_too() -> None:
    again = {"id": "n", "type": "continue_as_new", "config": {"inputs": {}}}
    run = drive(workflow(function("a"), again))  # `n` is due, and waits for `a`
    assert stops(run.tell(ev.RunBreakRequested, at=("n",)).completes("a")) == [("n",)]
    assert goes_on(run).status is RunStatus.COMPLETED
    run = drive(workflow(function("a"), function("b", depends_on=["a"]), again), "b").completes("a")
    assert stops(goes_on(run, to="n")) == [("b",), ("n",)]
    assert goes_on(run).completes("b").check_log().status is RunStatus.COMPLETED


def test_why_says_where_the_run_is_stopped_and_how_it_goes_on() -> None:
    run = drive(DIAMOND, "b").completes("a")
    found = explain(run.state, run.definition, Surroundings(1))
    assert found.summary == "the run is stopped before b by a breakpoint (agentctl workflow continue r)"
    assert [(item.step, item.kind, item.text) for item in found.waiting] == [
        ("b", "breakpoint", "the run is stopped before b by a breakpoint"),
        ("c", "breakpoint", "the run is stopped before b by a breakpoint"),
        ("d", "dependency", "waits for b (pending), c (pending)"),
    ]
    run = drive(DIAMOND, every=True)
    assert explain(run.state, run.definition, Surroundings(1)).summary == (
        "the run is stopped before a as it goes step by step (agentctl workflow continue r)"
    )


# --- changed values ---


def test_what_follows_reads_the_changed_output_and_what_has_begun_keeps_the_old_one() -> None:
    reads = {"n": "a.output.n"}
    nodes = [function("a"), function("b", reads), function("c", reads), function("d", reads)]
    run = drive(workflow(*nodes, edges=edges("a b", "a c", "c d")), "d").completes("a", {"n": 1}).completes("c")
    assert (run.inputs("b"), run.inputs("c"), stops(run)) == ({"n": 1}, {"n": 1}, [("d",)])
    goes_on(run, outputs={"a": Payload(value={"n": 7})})
    assert (run.inputs("d"), run.inputs("b")) == ({"n": 7}, {"n": 1})
    assert run.state.stops == Stops(at=("d",), number=1, passed=("d",), changed={"a.output": "ana"})
    run.completes("b").completes("d").check_log()
    assert run.status is RunStatus.COMPLETED


def test_a_changed_output_decides_a_condition_that_was_looked_at_before() -> None:
    run = drive(in_order(function("a"), function("b", condition="a.output > 1")), "b").completes("a", 2)
    goes_on(run, outputs={"a": Payload(value=1)})
    assert (run.statuses["b"], run.status) == ("skipped", RunStatus.COMPLETED)
    run.check_log()


def test_only_a_completed_step_takes_another_output_and_only_at_the_present_stop() -> None:
    run = drive(workflow(function("a"), function("b"), function("c"), edges=edges("a c")), "c").completes("a", 1)
    goes_on(run, outputs={"b": Payload(value=5), "a": Payload(value=3)})
    run.tell(ev.RunContinueRequested, stop=1, outputs={"a": Payload(value=9)})
    assert (run.state.steps["a"].output, run.state.steps["b"].output) == (Payload(value=3), None)
    run.check_log()


@pytest.mark.parametrize("keep", [0, 1, 2])
def test_a_crash_loses_no_changed_value(keep: int) -> None:
    run = drive(in_order(function("a"), function("b", {"n": "a.output"})), "b").completes("a", 1)
    goes_on(run, outputs={"a": Payload(value=2)})
    run.crash(min(keep, len(run.made))).decide()
    assert run.inputs("b") == {"n": 2}
    run.check_log()


def test_the_shared_state_of_a_graph_is_changed_before_the_superstep() -> None:
    nodes = [{"name": "a", "function": "f"}, {"name": "b", "function": "f", "args": {"n": "state.n"}}]
    graph = {"nodes": nodes, "edges": [{"from": "a", "to": "b"}], "entry_point": "a"}
    run = drive({**graph, "state": {"initial": {"n": 0}, "reducers": {"n": "sum"}}}, "b").completes("a", {"n": 4})
    goes_on(run, state={"n": Payload(value=40), "new": Payload(value=[1])})
    assert run.inputs("b") == {"n": 40}
    run.completes("b", {"n": 2}).check_log()
    assert run.output == {"n": 42, "new": [1]}
    assert (run.state.stops or Stops()).changed == {"state.n": "ana", "state.new": "ana"}
