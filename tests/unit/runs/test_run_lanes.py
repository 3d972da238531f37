"""A run takes a slot of its run lane before its first step, and gives it back when it ends."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common.definition.parse import parse_dict
from agentflow_common.events import ParentRef, Payload, StepError
from agentflow_common.lanes.fold import key_of_lane
from agentflow_common.runs.state import RunStatus
from tests.support.definitions import UNDO, child, function, in_order, subworkflow, workflow
from tests.support.run_driver import RunDriver

LANE = "run:o:acme"
SKIPPED = StepError("skipped", "the run lane run:o:acme is full", retryable=False)


def in_lane(*nodes: Any, **lane: Any) -> RunDriver:
    """A run whose lane is named by its input, and that has asked for a slot."""
    run_lane = {"key": "{{customer}}", **lane} if lane else "{{customer}}"
    definition = in_order(*(nodes or (function("a"),)), run_lane=run_lane)
    return RunDriver(definition).submit({"customer": "acme"})


def granted(run: RunDriver) -> RunDriver:
    return run.tell(ev.RunSlotGranted, lane=LANE)


def said(run: RunDriver) -> list[Any]:
    """What the run has told its lane last."""
    return [event for to, event in run.sent if to == key_of_lane(LANE)]


def types(run: RunDriver) -> list[str]:
    return [ev.event_type(event) for event in run.made]


def test_a_run_asks_for_a_slot_before_its_first_step() -> None:
    run = in_lane(limit=2, rate="30/m", policy="skip")
    assert types(run) == ["run.started", "run.queued"]
    assert run.status is RunStatus.WAITING
    (asked,) = said(run)
    assert isinstance(asked, ev.LaneRequested)
    assert (asked.lane, asked.holder_org, asked.holder_run, asked.step, asked.attempt) == (LANE, "o", "r", "", 1)
    assert (asked.limit, asked.rate_per_s, asked.policy) == (2, 0.5, "skip")
    assert granted(run).offered == ["a"]
    assert types(run) == ["run.resumed", "step.scheduled"]
    run.completes("a")
    assert run.status is RunStatus.COMPLETED
    assert [type(event) for event in said(run)] == [ev.LaneReleased]
    run.check_log()


def test_it_asks_once_however_often_its_scheduler_dies() -> None:
    run = in_lane().crash(keep=1).decide()
    assert types(run) == ["run.queued"]
    assert run.crash().decide().made == []
    assert granted(run).crash(keep=0).decide().offered == ["a"]
    assert granted(run).made == []
    assert len(run.of(ev.RunQueued)) == 1


def test_a_failure_gives_the_slot_back_after_the_compensation() -> None:
    run = granted(in_lane(function("a", compensate_with=UNDO), function("b"))).completes("a")
    assert said(run.fails("b")) == []
    run.completes("a:undo")
    assert run.status is RunStatus.FAILED
    assert [type(event) for event in said(run)] == [ev.LaneReleased]


def test_a_cancel_gives_the_slot_or_the_place_in_the_queue_back() -> None:
    for run in (in_lane(), granted(in_lane())):
        run.cancels(reason="enough")
        assert run.status is RunStatus.CANCELLED
        assert [type(event) for event in said(run)] == [ev.LaneReleased]


def test_a_deadline_ends_a_run_that_waits_for_its_slot() -> None:
    run = RunDriver(workflow(function("a"), run_lane="acme")).submit(deadline_ms=500)
    run.fires("deadline")
    assert (run.status, run.error.type) == (RunStatus.FAILED, "deadline")
    assert [type(event) for event in said(run)] == [ev.LaneReleased]


def test_a_run_that_its_lane_refuses_is_cancelled_with_the_reason() -> None:
    run = in_lane().tell(ev.RunSlotRefused, lane=LANE, error=SKIPPED)
    (end,) = run.made
    assert isinstance(end, ev.RunCancelled)
    assert (end.error, end.reason) == (SKIPPED, SKIPPED.message)
    assert run.state.error == SKIPPED
    assert said(run) == []
    assert run.state.steps == {}


def test_a_run_that_may_not_even_wait_fails() -> None:
    run = in_lane().tell(ev.RunSlotRefused, lane=LANE, error=StepError("lane_full", "too many wait"))
    assert (run.status, run.error.type) == (RunStatus.FAILED, "lane_full")


def test_an_answer_that_comes_late_or_from_another_lane_counts_for_nothing() -> None:
    run = in_lane().tell(ev.RunSlotGranted, lane="run:o:other")
    assert not run.state.slot_granted
    granted(run).tell(ev.RunSlotRefused, lane=LANE, error=SKIPPED)
    assert run.status is RunStatus.RUNNING


def test_a_paused_run_keeps_its_place_and_begins_after_the_pause() -> None:
    run = in_lane().tell(ev.RunPauseRequested)
    assert (types(run), said(run)) == (["run.paused"], [])
    assert run.tell(ev.RunResumeRequested).status is RunStatus.WAITING
    assert types(run) == ["run.resumed", "run.waiting"]
    run.tell(ev.RunPauseRequested)
    assert granted(run).made == []
    assert run.tell(ev.RunResumeRequested).offered == ["a"]


def test_a_run_that_was_paused_at_once_asks_after_the_pause() -> None:
    run = RunDriver(workflow(function("a"), run_lane="acme"))
    run.start(run.submission()).apply(ev.RunPauseRequested(org="o", run="r", ts=1)).decide()
    assert types(run) == ["run.started", "run.paused"]
    assert types(run.tell(ev.RunResumeRequested)) == ["run.resumed", "run.queued"]


@pytest.mark.parametrize("key", ["{{customer}}", "{{customer * 200}}", "{{1 // 0}}", "{{nobody.name}}"])
def test_a_key_that_gives_no_name_fails_the_run(key: str) -> None:
    inputs = {"customer": "" if key == "{{customer}}" else "x"}
    run = RunDriver(workflow(function("a"), run_lane=key)).submit(inputs)
    assert (run.status, run.error.type) == (RunStatus.FAILED, "undecidable")
    assert run.error.message.startswith("run_lane.key: ")
    assert run.sends == []


def test_a_key_may_be_a_number_and_may_look_into_inputs_that_are_stored_out_of_line() -> None:
    run = RunDriver(workflow(function("a"), run_lane="{{n}}"))
    run.submit(run.store({"n": 7}))
    assert run.rounds == 1
    assert run.state.run_lane == "run:o:7"


def test_a_run_that_goes_on_as_a_new_one_hands_its_slot_on() -> None:
    following = {"id": "next", "type": "continue_as_new", "config": {"inputs": {"customer": "other"}}}
    run = granted(in_lane(function("a"), following)).completes("a")
    (moved,) = said(run)
    successor = run.state.continued_as
    assert isinstance(moved, ev.LaneMoved)
    assert (moved.holder_run, moved.to_run) == ("r", successor)
    submitted = next(event for _, event in run.sent if isinstance(event, ev.RunSubmitted))
    assert submitted.slot == LANE
    again = RunDriver(run.definition).begin(submitted)
    assert again.offered == ["a"]
    assert again.of(ev.RunQueued) == []
    again.cancels()
    released = next(event for _, event in again.sent if isinstance(event, ev.LaneReleased))
    assert (released.lane, released.holder_run) == (LANE, successor)


def test_a_subworkflow_in_the_lane_of_its_parent_shares_the_slot() -> None:
    below = child(function("x"), run_lane="{{customer}}")
    parent = in_lane(subworkflow("s", config={"workflow": "child", "inputs": {"customer": "acme"}}))
    parent.state.definitions = below
    submitted = next(event for _, event in granted(parent).sent if isinstance(event, ev.RunSubmitted))
    assert submitted.lanes_above == (LANE,)
    run = RunDriver(parse_dict(below["child"])).begin(submitted)
    assert run.offered == ["x"]
    run.completes("x")
    assert [type(event) for _, event in run.sends] == [ev.ChildEnded]


def test_a_subworkflow_in_another_lane_asks_for_a_slot_of_its_own() -> None:
    definition = workflow(function("x"), run_lane="below")
    run = RunDriver(definition).submit(lanes_above=(LANE,), parent=ParentRef("run_0", "s", 1))
    assert run.state.run_lane == "run:o:below"
    run.tell(ev.RunSlotRefused, lane="run:o:below", error=SKIPPED)
    ended = next(event for _, event in run.sent if isinstance(event, ev.ChildEnded))
    assert (ended.status, ended.error) == ("cancelled", SKIPPED)


def test_a_step_can_not_name_a_run_lane() -> None:
    run = RunDriver(workflow(function("a", lane="{{'run:o:acme'}}"))).submit()
    assert run.error.type == "undecidable"
    assert run.error.message == "a: lane: keys that begin with 'run:' are those of run lanes: 'run:o:acme'"


def test_a_forked_run_asks_for_a_slot_of_its_own() -> None:
    kept = {"a": {"status": "completed", "attempt": 1, "output": {"value": 1}}}
    run = RunDriver(in_order(function("a"), function("b"), run_lane="acme")).submit(seed=Payload(value=kept))
    assert types(run) == ["run.started", "run.queued"]
    assert granted(run).offered == ["b"]
