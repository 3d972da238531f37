"""Nodes that start when some of the nodes before them have completed, and cancel the others: `join: any`, `join: 2`."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common.definition.parse import parse_dict
from agentflow_common.errors import InvalidError
from agentflow_common.runs import fork as forking
from agentflow_common.runs.explain import Surroundings, explain
from agentflow_common.runs.fork import Changes
from agentflow_common.runs.state import RunStatus
from tests.support.definitions import BODY, CONTINUE, ONCE, UNDO, child, edges, function, subworkflow, workflow
from tests.support.run_driver import RunDriver

SIGNAL = {"id": "s", "type": "signal", "config": {"signal": "go"}}
WAIT = {"id": "w", "type": "wait", "config": {"duration": "1h"}}
PEOPLE = {"id": "p", "type": "approval", "config": {"message": "?"}}


def race(
    *racers: dict[str, Any], join: Any = "any", after: tuple[dict[str, Any], ...] = (), **more: Any
) -> dict[str, Any]:
    last = function("j", depends_on=[node["id"] for node in racers], join=join, **more)
    return workflow(*racers, last, *after)


def test_the_first_that_completes_starts_it_and_the_others_are_cancelled() -> None:
    run = RunDriver(race(function("a"), function("b"), SIGNAL, WAIT, PEOPLE, inputs={"a": "a.output", "b": "b.output"}))
    run.submit().completes("b", 3)
    assert run.statuses == {
        "a": "cancelled", "b": "completed", "s": "cancelled", "w": "cancelled", "p": "cancelled", "j": "scheduled",
    }  # fmt: skip
    assert (run.inputs("j"), run.state.steps["a"].reason) == ({"a": None, "b": 3}, "j started without it")
    assert [made.lost_to for made in run.of(ev.StepCancelled)] == ["j"] * 4
    assert run.completes("j", "done").output == {"j": "done"}
    run.check_log()


def test_a_signal_wins_against_a_wait_and_a_wait_against_a_signal() -> None:
    run = RunDriver(race(SIGNAL, WAIT)).submit().tell(ev.SignalReceived, name="go")
    assert (run.statuses["s"], run.statuses["w"], run.offered) == ("completed", "cancelled", ["j"])
    assert run.state.timers == {}
    run = RunDriver(race(SIGNAL, WAIT)).submit().fires("wait:w")
    assert (run.statuses["s"], run.statuses["w"], run.offered) == ("cancelled", "completed", ["j"])


def test_a_number_waits_for_so_many() -> None:
    run = RunDriver(race(function("a"), function("b"), function("c"), join=2)).submit().completes("a")
    assert run.offered == ["a", "b", "c"]
    run.completes("c")
    assert (run.offered, run.statuses["b"]) == (["a", "b", "c", "j"], "cancelled")
    run.completes("b", 1)  # its worker's report comes too late
    assert run.statuses["b"] == "cancelled"
    run.completes("j").check_log()
    assert run.status is RunStatus.COMPLETED


def test_a_step_that_failed_does_not_count() -> None:
    run = RunDriver(race(function("a", policy=CONTINUE), function("b"))).submit().fails("a")
    assert run.offered == ["a", "b"]
    assert run.completes("b").offered == ["a", "b", "j"]


def test_if_too_few_can_complete_it_is_skipped() -> None:
    run = RunDriver(
        race(function("a", policy=CONTINUE), function("b", policy=CONTINUE), function("c"), join=2)
    ).submit()
    run.fails("a").completes("c").fails("b")
    assert (run.status, run.statuses["j"]) == (RunStatus.COMPLETED, "skipped")
    assert run.state.steps["j"].reason == "2 of the 3 nodes before it had to complete, 1 did"
    run.check_log()


def test_a_racer_that_fails_the_run_fails_it() -> None:
    run = RunDriver(race(function("a", policy=ONCE), function("b"))).submit().fails("a")
    assert (run.status, run.of(ev.RunFailed)[0].step) == (RunStatus.FAILED, "a")


def test_an_edge_whose_condition_is_false_does_not_count() -> None:
    conditional = edges("a j", condition="a.output > 5")
    definition = workflow(function("a"), function("b"), function("j", join="any"), edges=[*conditional, *edges("b j")])
    assert RunDriver(definition).submit().completes("a", 9).offered == ["a", "b", "j"]
    run = RunDriver(definition).submit().completes("a", 1)
    assert run.offered == ["a", "b"]
    assert run.completes("b").offered == ["a", "b", "j"]


def test_what_leads_only_to_the_join_is_closed_and_what_others_need_goes_on() -> None:
    nodes = [function(name) for name in ("a", "b1", "c1", "other")]
    later = [function("b2", depends_on=["b1"]), function("c2", depends_on=["c1"])]
    join = function("j", depends_on=["a", "b2", "c2"], join="any")
    definition = workflow(*nodes, *later, join, edges=edges("c1 other"))
    run = RunDriver(definition, chain_steps=0).submit().completes("a")
    assert run.statuses == {"a": "completed", "b1": "cancelled", "b2": "skipped", "c1": "scheduled", "c2": "skipped",
                            "j": "scheduled"}  # fmt: skip
    run.completes("c1").completes("other", 1).completes("j", 2)
    assert run.output == {"other": 1, "j": 2}
    run.check_log()


def test_parts_subworkflows_lanes_and_retries_are_closed_too() -> None:
    many = {"id": "m", "type": "map", "config": {"over": [1, 2], "body": BODY}}
    racers = [
        many, subworkflow("s"), function("l", lane="{{org}}-x", lane_limit=1),
        function("r", policy={"retry": {"max_attempts": 3, "initial_ms": 500}}), function("a"),
    ]  # fmt: skip
    run = RunDriver(race(*racers)).submit(definitions=child())
    run.fails("r", ev.StepError("busy", "later")).completes("m[0]").completes("a")
    assert run.statuses == {
        "m": "cancelled", "m[0]": "completed", "m[1]": "cancelled", "s": "cancelled", "l": "cancelled",
        "r": "cancelled", "a": "completed", "j": "scheduled",
    }  # fmt: skip
    assert sorted(type(fact).__name__ for _, fact in run.sent) == ["LaneReleased", "RunCancelRequested"]
    assert run.completes("j").status is RunStatus.RUNNING  # its subworkflow has yet to undo
    assert run.child_ends("s", "cancelled").status is RunStatus.COMPLETED
    run.check_log()


def test_an_outcome_that_a_person_was_to_decide_is_not_waited_for() -> None:
    run = RunDriver(race(function("a", policy={"on_unknown": "ask"}), function("b"))).submit().is_unknown("a")
    assert run.statuses["a"] == "outcome_unknown"
    run.completes("b").completes("j")
    assert (run.status, run.statuses["a"]) == (RunStatus.COMPLETED, "cancelled")
    run.check_log()


def test_what_it_reads_beside_its_edges_is_waited_for() -> None:
    definition = race(function("a"), function("b"), inputs={"x": "c.output"}, after=(function("c"),))
    run = RunDriver(definition).submit().completes("a")
    assert (run.offered, run.statuses["b"]) == (["a", "b", "c"], "scheduled")
    run.completes("c", 4)
    assert (run.inputs("j"), run.statuses["b"]) == ({"x": 4}, "cancelled")


def test_a_join_whose_own_condition_is_false_is_skipped_with_its_losers() -> None:
    run = RunDriver(race(function("a"), function("b"), condition="a.output > 5")).submit().completes("a", 1)
    assert (run.status, run.statuses) == (RunStatus.COMPLETED, {"a": "completed", "b": "cancelled", "j": "skipped"})


@pytest.mark.parametrize("kept", range(4))
def test_a_crash_after_any_decision_comes_to_the_same(kept: int) -> None:
    racers = [function("a"), function("b"), SIGNAL]
    run = RunDriver(race(*racers), chain_steps=0).submit().completes("a")
    assert [type(made).__name__ for made in run.made] == ["StepCancelled", "StepCancelled", "StepScheduled"]
    run.crash(kept if kept < 3 else None).decide()
    assert run.statuses == {"a": "completed", "b": "cancelled", "s": "cancelled", "j": "scheduled"}
    assert run.completes("j", 1).output == {"j": 1}
    run.check_log()


def test_a_worker_does_not_go_on_by_itself_past_a_join() -> None:
    definition = workflow(
        function("a"), function("b", depends_on=["a"]), function("c", depends_on=["b"]),
        function("j", depends_on=["a", "c"], join="any"),
    )  # fmt: skip
    run = RunDriver(definition).submit()
    assert run.of(ev.StepScheduled)[0].then == ()
    run.completes("a")
    assert run.statuses == {"a": "completed", "b": "skipped", "c": "skipped", "j": "scheduled"}
    assert run.offered == ["a", "j"]


def test_a_run_that_fails_later_undoes_a_loser_that_may_have_acted() -> None:
    run = RunDriver(race(function("a"), function("b", compensate_with=UNDO), policy=ONCE)).submit()
    run.completes("a").fails("j")
    assert run.undone() == ["b"]


def test_pause_and_cancel() -> None:
    run = RunDriver(race(function("a"), function("b"))).submit().tell(ev.RunPauseRequested).completes("a")
    assert run.statuses == {"a": "completed", "b": "scheduled"}
    run.tell(ev.RunResumeRequested)
    assert run.statuses == {"a": "completed", "b": "cancelled", "j": "scheduled"}
    run.cancels()
    assert (run.status, run.statuses["j"]) == (RunStatus.CANCELLED, "cancelled")


def test_why_says_how_many_of_which_are_missing() -> None:
    run = RunDriver(race(function("a"), function("b"), SIGNAL, join=2)).submit().completes("a")
    found = explain(run.state, run.definition, Surroundings(now_ms=run.now_ms, schedulers=1))
    texts = {item.step: item.text for item in found.waiting}
    assert texts["j"] == "waits for 1 of b (scheduled), s (waiting)"


# --- fork and retry ---


def failed_after_the_race() -> RunDriver:
    return RunDriver(race(function("a"), function("b"), policy=ONCE)).submit().completes("a").fails("j")


def kept(seed: forking.Seed) -> dict[str, str]:
    return {key: str(step.status) for key, step in seed.steps.items()}


def test_a_retry_keeps_the_race_as_it_ended() -> None:
    run = failed_after_the_race()
    seed = forking.retry(run.state, run.definition, Changes())
    assert kept(seed) == {"a": "completed", "b": "cancelled"}
    again = RunDriver(run.definition).submit(seed=ev.Payload(value=forking.encoded_steps(seed)))
    assert again.offered == ["j"]
    assert again.completes("j", 1).output == {"j": 1}
    again.check_log()


def test_a_fork_at_the_join_keeps_the_race_and_one_at_the_winner_races_again() -> None:
    run = failed_after_the_race()
    assert kept(forking.fork(run.state, run.state, run.definition, "j")) == {"a": "completed", "b": "cancelled"}
    assert kept(forking.fork(run.state, run.state, run.definition, "a")) == {}
    with pytest.raises(InvalidError, match="'b' was not needed: 'j' started without it: fork at j"):
        forking.fork(run.state, run.state, run.definition, "b")


def test_a_loser_that_was_undone_does_not_race_again() -> None:
    run = RunDriver(race(function("a"), function("b", compensate_with=UNDO), policy=ONCE)).submit()
    run.completes("a").fails("j").completes("b:undo")
    assert kept(forking.retry(run.state, run.definition, Changes())) == {"a": "completed", "b": "cancelled"}


# --- mistakes in the definition ---


@pytest.mark.parametrize("join", ["some", 0, True, -1, 1.5, None, []])
def test_a_join_is_all_any_or_a_number(join: Any) -> None:
    with pytest.raises(InvalidError, match="write `all`, `any`, or the number of edges"):
        parse_dict(race(function("a"), function("b"), join=join))


@pytest.mark.parametrize(
    ("definition", "place", "message"),
    [
        (race(function("a"), function("b"), join=3), "dag.nodes[2].join",
         "'j' needs 3 of the nodes before it, and 2 edges lead"),
        (race(function("a")), "dag.nodes[1].join", "'j' needs 1 of the nodes before it, and 1 edge leads"),
        (
            workflow(
                function("a"), function("b"), function("j", join="any"),
                edges=[*edges("a j", condition="b.output > a.output"), *edges("b j")],
            ),
            "dag.edges[0].condition", "the condition reads 'b', which need not be decided when 'j' starts",
        ),
        (
            workflow(
                function("a"), function("b"), function("c"), function("j", join="any", depends_on=["b", "c"]),
                edges=[*edges("a b"), {"from": "b", "to": "a", "condition": "b.output", "max_iterations": 2}],
            ),
            "dag.nodes[3].join", "'a' is in the loop b->a, and a join can't cancel a part of a loop of edges",
        ),
    ],
)  # fmt: skip
def test_a_join_that_can_not_be_met_is_refused(definition: dict[str, Any], place: str, message: str) -> None:
    with pytest.raises(InvalidError) as caught:
        parse_dict(definition)
    assert [(problem.place, message in problem.message) for problem in caught.value.problems] == [(place, True)]


def test_a_graph_has_nothing_to_join() -> None:
    nodes = [{"name": "a", "function": "f", "join": "any"}]
    with pytest.raises(InvalidError, match="it has nothing to join"):
        parse_dict({"name": "w", "entry_point": "a", "nodes": nodes})
