"""A step gives the run of its subworkflow a run lane, beside the one that the subworkflow's own definition names."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common.definition.parse import parse_dict
from agentflow_common.errors import InvalidError
from agentflow_common.events import LaneAsk, ParentRef, StepError
from agentflow_common.runs.explain import explain
from agentflow_common.runs.state import RunStatus, StepStatus
from agentflow_common.runs.waiting import Surroundings
from tests.support.definitions import child, function, in_order, subworkflow, workflow
from tests.support.run_driver import RunDriver

GIVEN, OWN = "run:o:acme", "run:o:own"
SKIPPED = StepError("skipped", "the run lane run:o:acme is full", retryable=False)


def parent(lane: Any, *before: Any, below: dict[str, Any] | None = None, **top: Any) -> RunDriver:
    """A run whose step `s` starts a subworkflow in this lane."""
    node = subworkflow("s", config={"workflow": "child", "run_lane": lane, **top.pop("config", {})})
    run = RunDriver(in_order(*before, node, **top))
    return run.submit({"customer": "acme"}, definitions=below or child(function("x")))


def submitted(run: RunDriver) -> ev.RunSubmitted:
    (event,) = [event for _, event in run.sends if isinstance(event, ev.RunSubmitted)]
    return event


def started(own: Any = None, given: LaneAsk | None = None, *nodes: Any, **fields: Any) -> RunDriver:
    """A run that a step has started: `own` is the lane of its definition, `given` the one of the step."""
    top = {} if own is None else {"run_lane": own}
    run = RunDriver(in_order(*(nodes or (function("x"),)), **top))
    return run.submit(given_lane=given or LaneAsk(GIVEN), parent=ParentRef("run_0", "s", 1), **fields)


def told(run: RunDriver, kind: type[ev.Event]) -> list[str]:
    """The lanes that the run has sent facts of this type, in order."""
    return [event.lane for _, event in run.sends if isinstance(event, kind)]


@pytest.mark.parametrize(
    ("lane", "asked"),
    [
        ("acme", LaneAsk(GIVEN)),
        ("{{customer}}", LaneAsk(GIVEN)),
        ({"key": "{{customer}}", "limit": 2, "rate": "30/m", "policy": "skip"}, LaneAsk(GIVEN, 2, 0.5, "skip")),
    ],
)
def test_a_step_gives_its_run_a_lane(lane: Any, asked: LaneAsk) -> None:
    run = parent(lane)
    assert submitted(run).given_lane == asked
    assert run.state.steps["s"].status is StepStatus.WAITING
    below = RunDriver(workflow(function("x"))).begin(submitted(run))
    assert below.of(ev.RunQueued) == [below.made[1]]
    assert (below.made[1].lane, below.made[1].policy) == (GIVEN, asked.policy)
    assert (below.status, told(below, ev.LaneRequested)) == (RunStatus.WAITING, [GIVEN])
    assert below.tell(ev.RunSlotGranted, lane=GIVEN).offered == ["x"]
    below.completes("x")
    assert told(below, ev.LaneReleased) == [GIVEN]
    below.check_log()


def test_the_key_may_read_the_output_of_a_step_and_the_step_waits_for_it() -> None:
    node = subworkflow("s", config={"workflow": "child", "run_lane": "{{a.output.customer}}"})
    run = RunDriver(workflow(function("a"), node)).submit(definitions=child(function("x")))
    assert run.offered == ["a"]
    run.completes("a", {"customer": 7})
    assert submitted(run).given_lane == LaneAsk("run:o:7")


def test_each_item_of_a_map_may_have_a_lane_of_its_own() -> None:
    body = {"type": "subworkflow", "config": {"workflow": "child", "run_lane": "{{item}}"}}
    node = {"id": "m", "type": "map", "config": {"over": ["a", "b"], "body": body}}
    run = RunDriver(workflow(node)).submit(definitions=child(function("x")))
    lanes = [event.given_lane.lane for _, event in run.sends if isinstance(event, ev.RunSubmitted) and event.given_lane]
    assert lanes == ["run:o:a", "run:o:b"]


def test_a_key_that_gives_no_name_fails_the_step_and_its_policy_decides() -> None:
    run = parent("{{customer * 100}}")
    assert (run.status, run.error.type) == (RunStatus.FAILED, "undecidable")
    assert run.error.message.startswith("s: run_lane.key: the key must be a text of 1 to 128 characters")
    tolerant = subworkflow("s", policy={"on_failure": "continue"}, config={"workflow": "child", "run_lane": "{{[]}}"})
    run = RunDriver(in_order(tolerant, function("b"))).submit(definitions=child(function("x")))
    assert run.offered == ["b"]


def test_a_detached_run_takes_the_slot_too() -> None:
    run = parent("{{customer}}", config={"detached": True})
    event = submitted(run)
    assert (event.given_lane, event.parent, event.lanes_above) == (LaneAsk(GIVEN), None, ())
    assert run.status is RunStatus.COMPLETED


def test_it_takes_both_lanes_one_after_the_other_and_gives_both_back() -> None:
    run = started({"key": "own", "limit": 3, "rate": "30/m", "policy": "skip"})
    assert [(event.lane, event.policy, event.following) for event in run.of(ev.RunQueued)] == [
        (GIVEN, "queue", LaneAsk(OWN, 3, 0.5, "skip"))
    ]
    assert run.state.awaits_slot
    run.tell(ev.RunSlotGranted, lane=GIVEN)
    assert [ev.event_type(event) for event in run.made] == ["run.queued"]
    asked = run.sent[-1][1]
    assert (asked.lane, asked.limit, asked.rate_per_s, asked.policy) == (OWN, 3, 0.5, "skip")
    assert (run.status, run.offered, run.state.slots) == (RunStatus.WAITING, [], (GIVEN,))
    run.tell(ev.RunSlotGranted, lane=GIVEN)  # the lane repeats its grant after a restart
    assert run.made == []
    assert run.tell(ev.RunSlotGranted, lane=OWN).offered == ["x"]
    run.completes("x")
    assert told(run, ev.LaneReleased) == [GIVEN, OWN]
    run.check_log()


def test_the_order_is_that_of_the_names_so_that_two_runs_can_not_wait_for_each_other() -> None:
    run = started("aaa")
    assert told(run, ev.LaneRequested) == ["run:o:aaa"]
    run.tell(ev.RunSlotGranted, lane="run:o:aaa")
    assert told(run, ev.LaneRequested) == ["run:o:aaa", GIVEN]


def test_if_both_are_one_lane_it_takes_one_slot_as_the_step_says() -> None:
    run = started({"key": "acme", "limit": 5}, LaneAsk(GIVEN, 2, None, "skip"))
    (queued,) = run.of(ev.RunQueued)
    assert (queued.lane, queued.policy, queued.following) == (GIVEN, "skip", None)
    assert run.tell(ev.RunSlotGranted, lane=GIVEN).offered == ["x"]


def test_it_shares_the_slots_of_the_runs_above_it() -> None:
    assert started(lanes_above=(GIVEN,)).offered == ["x"]
    both = started("own", lanes_above=(GIVEN, OWN))
    assert (both.offered, told(both, ev.LaneRequested)) == (["x"], [])
    one = started("own", lanes_above=(GIVEN,))
    assert told(one, ev.LaneRequested) == [OWN]
    nested = subworkflow("n")
    above = started("own", None, nested, definitions=child(function("y")))
    above.tell(ev.RunSlotGranted, lane=GIVEN).tell(ev.RunSlotGranted, lane=OWN)
    assert submitted(above).lanes_above == (GIVEN, OWN)


@pytest.mark.parametrize("kept", [0, 1])
def test_after_any_crash_it_asks_each_lane_once(kept: int) -> None:
    run = started("own").crash(keep=kept).decide()
    run.tell(ev.RunSlotGranted, lane=GIVEN).crash().decide()
    assert [event.lane for event in run.of(ev.RunQueued)] == [GIVEN, OWN]
    assert run.tell(ev.RunSlotGranted, lane=OWN).offered == ["x"]


def test_a_run_that_is_refused_ends_its_step_with_the_reason() -> None:
    below = started().tell(ev.RunSlotRefused, lane=GIVEN, error=SKIPPED)
    assert (below.status, below.state.steps, told(below, ev.LaneReleased)) == (RunStatus.CANCELLED, {}, [])
    (ended,) = [event for _, event in below.sends if isinstance(event, ev.ChildEnded)]
    assert (ended.status, ended.error) == ("cancelled", SKIPPED)
    run = parent("acme").child_ends("s", ended.status, error=ended.error)
    assert (run.status, run.error) == (RunStatus.FAILED, SKIPPED)
    tolerant = subworkflow("s", policy={"on_failure": "continue"}, config={"workflow": "child", "run_lane": "acme"})
    nodes = (tolerant, function("b", {"why": "{{s.error.type}}"}))
    run = RunDriver(in_order(*nodes)).submit(definitions=child(function("x")))
    run.child_ends("s", ended.status, error=ended.error)
    assert run.inputs("b") == {"why": "skipped"}


def test_a_second_lane_that_refuses_it_gives_the_first_slot_back() -> None:
    run = started("own").tell(ev.RunSlotGranted, lane=GIVEN)
    run.tell(ev.RunSlotRefused, lane=OWN, error=SKIPPED)
    assert (run.status, told(run, ev.LaneReleased)) == (RunStatus.CANCELLED, [GIVEN])


@pytest.mark.parametrize("granted", [0, 1, 2])
def test_a_cancel_gives_back_what_it_has_and_its_place(granted: int) -> None:
    run = started("own")
    for lane in (GIVEN, OWN)[:granted]:
        run.tell(ev.RunSlotGranted, lane=lane)
    run.cancels()
    assert (run.status, told(run, ev.LaneReleased)) == (RunStatus.CANCELLED, [GIVEN, OWN][: max(1, granted + 1)])


def test_a_paused_run_asks_for_its_second_slot_after_the_pause() -> None:
    run = started("own").tell(ev.RunPauseRequested)
    assert run.tell(ev.RunSlotGranted, lane=GIVEN).made == []
    run.tell(ev.RunResumeRequested)
    assert told(run, ev.LaneRequested) == [GIVEN, OWN]
    assert run.tell(ev.RunSlotGranted, lane=OWN).offered == ["x"]


def test_a_run_that_goes_on_as_a_new_one_hands_both_slots_on() -> None:
    following = {"id": "next", "type": "continue_as_new"}
    run = started("own", None, function("x"), following)
    run.tell(ev.RunSlotGranted, lane=GIVEN).tell(ev.RunSlotGranted, lane=OWN).completes("x")
    assert told(run, ev.LaneMoved) == [GIVEN, OWN]
    again = RunDriver(run.definition).begin(submitted(run))
    assert (again.offered, again.of(ev.RunQueued)) == (["x"], [])
    assert again.state.given_lane == LaneAsk(GIVEN)
    again.cancels()
    assert told(again, ev.LaneReleased) == [GIVEN, OWN]


def test_finally_nodes_run_only_if_the_run_had_all_of_its_slots() -> None:
    last = function("last", **{"finally": True})

    def begun() -> RunDriver:
        run = RunDriver(workflow(function("x"), last, run_lane="own"))
        return run.submit(given_lane=LaneAsk(GIVEN)).tell(ev.RunSlotGranted, lane=GIVEN)

    assert begun().cancels().status is RunStatus.CANCELLED
    run = begun()
    run.tell(ev.RunSlotGranted, lane=OWN).cancels()
    assert run.offered == ["x", "last"]


def test_why_names_each_lane_in_its_turn() -> None:
    run = started("own")

    def why() -> tuple[str, str, str]:
        (waiting,) = explain(run.state, run.definition, Surroundings(now_ms=5)).waiting
        return waiting.kind, waiting.on, waiting.text

    assert why() == ("lane", GIVEN, f"the run waits for a slot of lane {GIVEN}")
    run.apply(ev.RunSlotGranted(org="o", run="r", ts=1, lane=GIVEN))
    assert why() == ("scheduler", GIVEN, f"has its slot of lane {GIVEN}, and asks for one of another lane")
    run.decide()
    assert why() == ("lane", OWN, f"the run waits for a slot of lane {OWN}")


@pytest.mark.parametrize(
    ("lane", "place", "says"),
    [
        ({"key": "a", "rate": "0/h"}, ".rate", "out of range"),
        ("{{nobody}}", ".key", "nobody"),
        ("{{item}}", ".key", "item"),
        ({"key": "a", "policy": "wait"}, ".policy", "queue"),
        ({"limit": 2}, ".key", "missing"),
    ],
)
def test_a_lane_that_makes_no_sense_is_refused(lane: Any, place: str, says: str) -> None:
    node = subworkflow("s", config={"workflow": "child", "run_lane": lane})
    with pytest.raises(InvalidError, match="not valid") as caught:
        parse_dict(workflow(node, inputs={"customer": {"type": "string"}}))
    (problem,) = caught.value.problems
    assert problem.place.startswith(f"dag.nodes[0].config.run_lane{place}")
    assert says in f"{problem.message} {problem.fix}"


def test_only_subworkflows_are_given_a_lane() -> None:
    with pytest.raises(InvalidError, match="not valid") as caught:
        parse_dict(workflow(function("a", config={"run_lane": "acme"})))
    assert [problem.place for problem in caught.value.problems] == ["dag.nodes[0].config.run_lane"]


def test_in_the_short_form_of_a_graph_it_stands_beside_the_workflow() -> None:
    node = {"name": "s", "workflow": "child", "args": {}, "run_lane": "acme"}
    definition = parse_dict({"name": "w", "entry_point": "s", "state": {"schema": {}}, "nodes": [node], "edges": []})
    (made,) = definition.canonical()["dag"]["nodes"]
    assert made["config"]["run_lane"] == {"key": "acme"}
