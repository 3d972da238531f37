"""A run has the locks around its nodes from before the first of these begins until all have ended."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common.definition.parse import parse_dict
from agentflow_common.events import Payload, StepError
from agentflow_common.lanes.fold import key_of_lane
from agentflow_common.runs.state import RunStatus
from tests.support.definitions import CONTINUE, UNDO, child, edges, function, in_order, subworkflow, workflow
from tests.support.run_driver import RunDriver

LANE = "lock:o:acme"
FULL = StepError("lane_full", "too many wait")


def locked(*nodes: str, key: str = "{{customer}}") -> dict[str, Any]:
    return {"key": key, "nodes": list(nodes)}


def begun(definition: Any, **inputs: Any) -> RunDriver:
    return RunDriver(definition).submit({"customer": "acme", **inputs})


def given(run: RunDriver, lane: str = LANE, attempt: int = 1) -> RunDriver:
    return run.tell(ev.RunSlotGranted, lane=lane, attempt=attempt)


def said(run: RunDriver) -> list[tuple[str, str]]:
    """What the run has told its locks last, by name."""
    facts = [event for _, event in run.sent if isinstance(event, ev.LaneRequested | ev.LaneReleased)]
    return [(ev.event_type(event), event.lane) for event in facts]


def offers(run: RunDriver) -> list[str]:
    """The steps that workers were offered last."""
    return [event.step for event in run.made if isinstance(event, ev.StepScheduled)]


def types(run: RunDriver) -> list[str]:
    return [ev.event_type(event) for event in run.made]


ASKED, RELEASED = ("lane.requested", LANE), ("lane.released", LANE)


def test_a_lock_is_taken_before_the_first_of_its_nodes_and_given_back_after_the_last() -> None:
    run = begun(in_order(*map(function, "abcd"), lock=locked("b", "c")))
    assert (offers(run), said(run)) == (["a"], [])
    run.completes("a")
    assert types(run) == ["run.locking", "run.waiting"]
    assert (said(run), run.status) == ([ASKED], RunStatus.WAITING)
    (to, asked) = run.sent[0]
    assert to == key_of_lane(LANE)
    assert (asked.holder_org, asked.holder_run, asked.step, asked.attempt, asked.limit) == ("o", "r", "", 1, 1)
    given(run)
    assert types(run) == ["run.resumed", "step.scheduled"]
    assert said(run.completes("b")) == []
    run.completes("c")
    assert types(run) == ["step.scheduled", "run.unlocked"]
    assert (offers(run), said(run)) == (["d"], [RELEASED])
    assert said(run.completes("d")) == []
    assert run.status is RunStatus.COMPLETED
    run.check_log()


def test_a_worker_goes_on_by_itself_up_to_the_end_of_the_nodes_under_a_lock() -> None:
    run = begun(in_order(*map(function, "abcd"), lock=locked("b", "c")))
    assert run.of(ev.StepScheduled)[-1].then == ()
    given(run.completes("a"))
    assert [step.step for step in run.of(ev.StepScheduled)[-1].then] == ["c"]


def test_nodes_beside_each_other_share_the_lock() -> None:
    run = begun(workflow(function("a"), function("b"), lock=locked("a", "b")))
    assert run.made == run.of(ev.RunStarted) + run.of(ev.RunLocking) + run.of(ev.RunWaiting)
    assert len(run.of(ev.RunLocking)) == 1
    assert offers(given(run)) == ["a", "b"]
    assert said(run.completes("a")) == []
    assert said(run.completes("b")) == [RELEASED]


def test_other_nodes_do_not_wait_for_the_lock() -> None:
    run = begun(workflow(function("a"), function("b"), lock=locked("a")))
    assert (offers(run), run.status) == (["b"], RunStatus.RUNNING)
    run.completes("b")
    assert (types(run), run.status) == (["run.waiting"], RunStatus.WAITING)
    assert offers(given(run)) == ["a"]


def test_it_asks_once_however_often_its_scheduler_dies() -> None:
    run = begun(in_order(function("a"), function("b"), lock=locked("a")))
    assert run.crash().decide().made == []
    assert run.crash(keep=2).decide().made == []
    assert offers(given(run).crash(keep=0).decide()) == ["a"]
    assert given(run).made == []
    run.completes("a").crash(keep=0).decide()
    assert said(run) == [RELEASED]
    assert len(run.of(ev.RunLocking)) == 1


def test_a_node_that_is_skipped_takes_no_lock() -> None:
    run = begun(workflow(function("a", condition="customer == 'other'"), function("b"), lock=locked("a")))
    assert (offers(run), run.of(ev.RunLocking)) == (["b"], [])


def test_a_retry_and_a_failure_that_is_tolerated_keep_to_the_lock() -> None:
    run = given(begun(in_order(function("a", policy=CONTINUE), function("b"), lock=locked("a"))))
    run.fails("a")
    assert (offers(run), said(run)) == (["b"], [RELEASED])
    again = given(begun(workflow(function("a", policy={"retry": {"max_attempts": 2}}), lock=locked("a"))))
    assert said(again.fails("a", StepError("busy", "later"))) == []
    again.fires("retry:a:1")
    assert (offers(again), said(again)) == (["a"], [])
    again.completes("a")
    assert (again.status, said(again)) == (RunStatus.COMPLETED, [RELEASED])


def test_a_run_that_fails_or_is_cancelled_gives_the_lock_back_after_its_compensations() -> None:
    definition = in_order(function("a", compensate_with=UNDO), function("b"), lock=locked("a", "b"))
    for end in ("fails", "cancels"):
        run = given(begun(definition)).completes("a")
        assert said(run.fails("b") if end == "fails" else run.cancels()) == []
        run.completes("a:undo")
        assert run.status.terminal
        assert said(run) == [RELEASED]


def test_a_run_that_ends_while_it_waits_leaves_the_queue() -> None:
    forced = {"force": True}
    for fields in ({}, forced):
        run = begun(workflow(function("a"), lock=locked("a"))).cancels(**fields)
        assert (run.status, said(run)) == (RunStatus.CANCELLED, [RELEASED])
    late = RunDriver(workflow(function("a"), lock=locked("a", key="acme"))).submit(deadline_ms=500).fires("deadline")
    assert (late.status, said(late)) == (RunStatus.FAILED, [RELEASED])


def test_an_end_node_gives_the_lock_back() -> None:
    stop = {"id": "stop", "type": "end", "config": {"status": "completed"}}
    run = given(begun(workflow(function("a"), function("b"), stop, edges=edges("b stop"), lock=locked("a"))))
    run.completes("b")
    assert (run.status, said(run)) == (RunStatus.COMPLETED, [RELEASED])


def test_a_run_that_may_not_even_wait_fails() -> None:
    run = begun(workflow(function("a"), lock=locked("a"))).tell(ev.RunSlotRefused, lane=LANE, error=FULL)
    assert (run.status, run.error, said(run)) == (RunStatus.FAILED, FULL, [])


def test_an_answer_that_comes_late_or_from_another_lock_counts_for_nothing() -> None:
    run = begun(workflow(function("a"), lock=locked("a")))
    assert offers(given(run, "lock:o:other")) == []
    assert offers(given(run, attempt=2)) == []
    run.cancels()
    assert run.tell(ev.RunSlotGranted, lane=LANE).made == []
    assert run.tell(ev.RunSlotRefused, lane=LANE, error=FULL).made == []


def test_a_paused_run_keeps_its_lock_and_begins_after_the_pause() -> None:
    run = begun(in_order(function("a"), function("b"), lock=locked("a"))).tell(ev.RunPauseRequested)
    assert (types(run), given(run).made) == (["run.paused"], [])
    assert offers(run.tell(ev.RunResumeRequested)) == ["a"]
    run.tell(ev.RunPauseRequested)
    assert said(run.completes("a")) == []
    run.tell(ev.RunResumeRequested)
    assert (offers(run), said(run)) == (["b"], [RELEASED])


def test_all_locks_are_taken_before_the_first_node_in_the_order_of_their_names() -> None:
    locks = [locked("b", key="zoo"), locked("a", "b", key="{{customer}}"), locked("a", key="zoo")]
    run = begun(in_order(function("a"), function("b"), function("c"), lock=locks))
    assert said(run) == [("lane.requested", "lock:o:acme")]
    assert run.of(ev.RunLocking)[0].lanes == ("lock:o:zoo", "lock:o:acme", "lock:o:zoo")
    given(run)
    assert (types(run), said(run)) == (["run.locking"], [("lane.requested", "lock:o:zoo")])
    assert offers(given(run, "lock:o:zoo")) == ["a"]
    assert said(run.completes("a")) == []
    run.completes("b")
    assert said(run) == [("lane.released", "lock:o:acme"), ("lane.released", "lock:o:zoo")]


def test_each_lock_is_given_back_once_its_own_nodes_have_ended() -> None:
    locks = [locked("a", key="one"), locked("b", key="two")]
    run = begun(in_order(function("a"), function("b"), lock=locks))
    given(given(run, "lock:o:one"), "lock:o:two").completes("a")
    assert (offers(run), said(run)) == (["b"], [("lane.released", "lock:o:one")])
    assert said(run.completes("b")) == [("lane.released", "lock:o:two")]


LOOP = {
    "dag": {
        "nodes": [function("a"), function("b"), function("c")],
        "edges": [*edges("a b", "b c"), *edges("b a", condition="b.output.again", max_iterations=3)],
    }
}


def test_a_lock_whose_nodes_are_over_before_it_is_taken_goes_back_once_the_run_has_all_of_them() -> None:
    nodes = [function("a", condition="false"), function("b")]
    run = RunDriver(workflow(*nodes, lock=[locked("a", key="left"), locked("b", key="right")])).submit()
    assert (run.statuses["a"], said(run)) == ("skipped", [("lane.requested", "lock:o:left")])
    run.crash().decide()
    assert said(given(run, "lock:o:left")) == [("lane.requested", "lock:o:right")]
    given(run, "lock:o:right")
    assert (offers(run), said(run)) == (["b"], [("lane.released", "lock:o:left")])
    assert said(run.completes("b")) == [("lane.released", "lock:o:right")]
    assert run.check_log().status is RunStatus.COMPLETED


def test_in_a_loop_the_lock_is_kept_while_all_of_its_nodes_are_in_it() -> None:
    run = given(begun({**LOOP, "lock": locked("a", "b")}))
    run.completes("a").completes("b", {"again": True})
    assert (offers(run), said(run)) == (["a#2"], [])
    run.completes("a#2").completes("b#2", {"again": False})
    assert (offers(run), said(run)) == (["c"], [RELEASED])


def test_in_a_loop_the_lock_is_taken_again_for_each_visit() -> None:
    run = given(begun({**LOOP, "lock": locked("a")})).completes("a")
    assert (offers(run), said(run)) == (["b"], [RELEASED])
    run.completes("b", {"again": True})
    assert said(run) == [ASKED]
    assert run.sent[0][1].attempt == 2
    assert offers(given(run, attempt=1)) == []  # the lane repeats what it said before
    assert offers(given(run, attempt=2)) == ["a#2"]
    run.completes("a#2")
    assert (run.sent[0][1].attempt, said(run)) == (2, [RELEASED])


def test_in_a_workflow_with_loops_locks_are_given_back_together() -> None:
    run = begun({**LOOP, "lock": [locked("a", key="one"), locked("c", key="two")]})
    given(given(run, "lock:o:one"), "lock:o:two").completes("a")
    assert said(run) == []
    run.completes("b", {"again": True})
    assert offers(run) == ["a#2"]
    run.completes("a#2").completes("b#2", {"again": False}).completes("c")
    assert said(run) == [("lane.released", "lock:o:one"), ("lane.released", "lock:o:two")]


def test_a_key_may_use_what_a_step_before_it_gave() -> None:
    run = RunDriver(workflow(function("find"), function("a"), lock=locked("a", key="{{find.output.account}}"))).submit()
    assert offers(run) == ["find"]
    run.completes("find", {"account": 42})
    assert said(run) == [("lane.requested", "lock:o:42")]


@pytest.mark.parametrize("key", ["{{customer * 200}}", "{{1 // 0}}", "{{[1]}}"])
def test_a_key_that_gives_no_name_fails_its_step(key: str) -> None:
    run = begun(workflow(function("a"), lock=locked("a", key=key)))
    assert (run.status, run.error.type) == (RunStatus.FAILED, "undecidable")
    assert run.error.message.startswith("a: lock[0].key: ")


def test_a_key_may_look_into_inputs_that_are_stored_out_of_line() -> None:
    run = RunDriver(workflow(function("a"), lock=locked("a", key="{{n}}")))
    run.submit(run.store({"n": 7}))
    assert (run.rounds, said(run)) == (1, [("lane.requested", "lock:o:7")])


def test_a_subworkflow_under_the_lock_shares_it() -> None:
    below = child(function("x"), lock=locked("x", key="acme"))
    parent = begun(workflow(subworkflow("s"), subworkflow("t"), lock=locked("s")))
    assert [event.lanes_above for _, event in parent.sent if isinstance(event, ev.RunSubmitted)] == []
    parent = RunDriver(workflow(subworkflow("s"), function("f"), edges=edges("f s"), lock=locked("s", key="acme")))
    parent.submit()
    parent.state.definitions = below
    given(parent.completes("f"))
    submitted = next(event for _, event in parent.sent if isinstance(event, ev.RunSubmitted))
    assert submitted.lanes_above == (LANE,)
    run = RunDriver(parse_dict(below["child"])).begin(submitted)
    assert (offers(run), said(run)) == (["x"], [])
    run.completes("x")
    assert [type(event) for _, event in run.sent] == [ev.ChildEnded]


def test_a_lock_outlasts_a_subworkflow_that_still_undoes_its_steps() -> None:
    node = subworkflow("s", policy={"timeout_ms": 100, **CONTINUE})
    parent = RunDriver(in_order(function("f"), node, function("b"), lock=locked("s", key="acme"))).submit()
    parent.state.definitions = child()
    given(parent.completes("f")).fires("timeout:s:1")
    assert (offers(parent), said(parent)) == (["b"], [])
    parent.tell(ev.ChildEnded, step="s", attempt=1, child=parent.state.steps["s"].child, status="cancelled")
    assert said(parent) == [RELEASED]


def test_a_run_that_goes_on_as_a_new_one_gives_its_lock_back() -> None:
    following = {"id": "next", "type": "continue_as_new", "depends_on": ["a"], "config": {"inputs": {"customer": "x"}}}
    run = begun(workflow(function("a"), function("b", depends_on=["a"]), following, lock=locked("a", "b")))
    assert offers(given(run).completes("a")) == ["b"]
    run.completes("b")
    assert run.state.continued_as
    assert said(run) == [RELEASED]
    submitted = next(event for _, event in run.sent if isinstance(event, ev.RunSubmitted))
    assert submitted.lanes_above == ()


def test_a_run_does_not_go_on_as_a_new_one_while_a_node_waits_for_a_lock() -> None:
    following = {"id": "next", "type": "continue_as_new", "depends_on": ["a"], "config": {"inputs": {"customer": "x"}}}
    run = begun(workflow(function("a"), function("b"), following, lock=locked("b"))).completes("a")
    assert (run.status, run.state.continued_as) == (RunStatus.WAITING, "")
    given(run).completes("b")
    assert run.state.continued_as


def test_a_forked_run_takes_the_lock_for_what_it_has_left() -> None:
    kept = {"a": {"status": "completed", "attempt": 1, "output": {"value": 1}}}
    definition = in_order(function("a"), function("b"), lock=locked("a", "b", key="acme"))
    run = RunDriver(definition).submit(seed=Payload(value=kept))
    assert said(run) == [ASKED]
    run = RunDriver(in_order(function("a"), function("b"), lock=locked("a", key="acme"))).submit(
        seed=Payload(value=kept)
    )
    assert (offers(run), said(run)) == (["b"], [])


def test_a_node_that_lost_a_race_while_it_waited_leaves_the_queue() -> None:
    first = function("first", depends_on=["a", "b"], join="any")
    run = begun(workflow(function("a"), function("b"), first, lock=locked("a"))).completes("b")
    assert (run.statuses["a"], offers(run), said(run)) == ("skipped", ["first"], [RELEASED])
    assert given(run).made == []
    assert run.completes("first").status is RunStatus.COMPLETED


def test_a_node_that_starts_early_waits_for_its_lock_alone() -> None:
    first = function("first", depends_on=["a", "b"], join="any")
    run = begun(workflow(function("a"), function("b"), first, lock=locked("first"))).completes("b")
    assert (run.statuses["a"], offers(run), said(run)) == ("cancelled", [], [ASKED])
    assert run.crash().decide().made == []
    assert offers(given(run)) == ["first"]


def test_a_run_lane_and_a_lock_go_together() -> None:
    run = begun(in_order(function("a"), function("b"), lock=locked("a"), run_lane="{{customer}}"))
    assert said(run) == [("lane.requested", "run:o:acme")]
    run.tell(ev.RunSlotGranted, lane="run:o:acme")
    assert said(run) == [ASKED]
    assert run.crash().decide().made == []
    given(run).completes("a")
    assert said(run) == [RELEASED]
    run.completes("b")
    assert said(run) == [("lane.released", "run:o:acme")]


def test_a_step_can_not_name_a_lock_as_its_lane() -> None:
    run = RunDriver(workflow(function("a", lane="{{'lock:o:acme'}}"))).submit()
    assert run.error.message == "a: lane: keys that begin with 'lock:' are those of locks: 'lock:o:acme'"
