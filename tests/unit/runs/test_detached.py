"""Subworkflows that are started and not waited for: `detached: true`."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common.definition.parse import parse_dict
from agentflow_common.errors import InvalidError
from agentflow_common.events import Payload
from agentflow_common.runs import fork as forking
from agentflow_common.runs.fork import Changes
from agentflow_common.runs.state import RunStatus
from tests.support.definitions import ONCE, UNDO, child, function, workflow
from tests.support.run_driver import RunDriver

CONFIG: dict[str, Any] = {"workflow": "child", "detached": True}
BODY = {"type": "subworkflow", "config": CONFIG}


def free(name: str = "s", **more: Any) -> dict[str, Any]:
    return {"id": name, "type": "subworkflow", "config": {**CONFIG, **more.pop("config", {})}, **more}


def started(run: RunDriver) -> list[ev.RunSubmitted]:
    return [fact for _, fact in run.sends if isinstance(fact, ev.RunSubmitted)]


def test_the_step_completes_as_soon_as_the_run_is_started() -> None:
    after = function("a", inputs={"run": "s.output.run"}, depends_on=["s"])
    definition = workflow(free(config={"inputs": {"n": 5}}), after)
    run = RunDriver(definition).submit(definitions=child(), budget_nano=900, tags={"team": "x"})
    (event,) = started(run)
    assert [type(made).__name__ for made in run.made] == ["RunStarted", "StepResolved", "StepScheduled"]
    assert run.inputs("a") == {"run": event.run}
    assert (event.parent, event.lanes_above, event.depth) == (None, (), 1)
    assert event.origin == ev.OriginRef(run.state.run, "detached", "s")
    assert (event.inputs, event.budget_nano, event.tags) == (Payload(value={"n": 5}), 900, {"team": "x"})
    run.completes("a", 1)
    assert (run.output, run.state.timers) == ({"a": 1}, {})
    run.check_log()


def test_it_outlives_a_cancel_a_failure_and_a_deadline() -> None:
    for end in (lambda run: run.cancels(), lambda run: run.fails("a"), lambda run: run.fires("deadline")):
        run = RunDriver(workflow(free(), function("a", policy=ONCE))).submit(definitions=child(), deadline_ms=50)
        end(run)
        assert run.status in {RunStatus.CANCELLED, RunStatus.FAILED}
        assert not [fact for _, fact in run.sends if isinstance(fact, ev.RunCancelRequested)]
        run.check_log()


def test_it_takes_a_slot_of_its_own() -> None:
    run = RunDriver({**workflow(free()), "run_lane": "k"}).submit(definitions=child())
    run.tell(ev.RunSlotGranted, lane="run:o:k")
    assert [(event.parent, event.lanes_above) for event in started(run)] == [(None, ())]
    assert run.status is RunStatus.COMPLETED


def test_the_run_itself_reports_to_nobody() -> None:
    parent = RunDriver(workflow(free())).submit(definitions=child())
    (event,) = started(parent)
    run = RunDriver(parse_dict(child()["child"])).begin(event)
    assert run.completes("x").sends == []
    assert run.status is RunStatus.COMPLETED


def test_maps_and_loops_start_many() -> None:
    nodes = [
        {"id": "m", "type": "map", "config": {"over": [1, 2, 3], "concurrency": 1, "body": BODY}},
        {"id": "l", "type": "loop", "config": {"body": BODY, "until": "iteration == 2", "max_iterations": 3}},
        {"id": "p", "type": "subworkflow", "config": {**CONFIG, "parallel": True, "inputs": {"n": [7, 8]}}},
    ]
    run = RunDriver(workflow(*nodes)).submit(definitions=child())
    runs = {event.origin.step: event.run for event in started(run) if event.origin}
    assert sorted(runs) == ["l@1", "l@2", "m[0]", "m[1]", "m[2]", "p[0]", "p[1]"]
    assert len(started(run)) == len(set(runs.values())) == 7
    assert run.output["m"] == [{"run": runs[f"m[{index}]"]} for index in range(3)]
    assert run.output["l"] == {"run": runs["l@2"]}
    assert run.state.timers == {}
    run.check_log()


@pytest.mark.parametrize("kept", range(4))
def test_a_crash_starts_none_twice_and_loses_none(kept: int) -> None:
    run = RunDriver(workflow(function("a"), free(depends_on=["a"]), function("b", depends_on=["s"]))).submit(
        definitions=child()
    )
    run.completes("a")
    made = len(run.made)
    first = [event.run for event in started(run)]
    run.crash(min(kept, made)).decide()
    again = {event.run for event in started(run)}
    assert (again, run.offered[-1]) == (set(first), "b")
    assert sum(isinstance(event, ev.StepResolved) for _, event in run.log) == 1
    run.check_log()


def test_a_subworkflow_that_can_not_be_started_fails_its_step() -> None:
    run = RunDriver(workflow(free())).submit()
    assert (run.status, run.error.type) == (RunStatus.FAILED, "undecidable")
    assert "was not pinned" in run.error.message


def test_a_graph_keeps_its_state() -> None:
    text = """
name: w
entry_point: a
nodes:
  - {name: a, workflow: child, detached: true}
  - {name: b, workflow: child, detached: true, args: {n: state.n}, writes: {started: output.run}}
edges: [{from: a, to: b}]
state: {initial: {n: 1}}
"""
    run = RunDriver(text).submit(definitions=child())
    second = started(run)[1]
    assert run.output == {"n": 1, "started": second.run}
    assert second.inputs == Payload(value={"n": 1})


def test_a_retry_starts_it_not_again_and_a_fork_at_it_starts_another() -> None:
    definition = workflow(free(), function("a", depends_on=["s"], policy=ONCE))
    run = RunDriver(definition).submit(definitions=child()).fails("a")
    seed = forking.retry(run.state, run.definition, Changes())
    again = RunDriver(run.definition).submit(seed=Payload(value=forking.encoded_steps(seed)), definitions=child())
    assert (started(again), again.offered) == ([], ["a"])
    assert forking.fork(run.state, run.state, run.definition, "s").steps == {}


def test_a_part_that_a_retry_takes_up_again_starts_its_run() -> None:
    many = {"id": "m", "type": "map", "config": {"over": [1, 2], "body": BODY}}
    run = RunDriver(workflow(many, function("a", depends_on=["m"]))).submit(definitions=child()).completes("a")
    seed = forking.fork(run.state, run.state, run.definition, "m[1]")
    again = RunDriver(run.definition).submit(seed=Payload(value=forking.encoded_steps(seed)), definitions=child())
    assert [event.origin.step for event in started(again) if event.origin] == ["m[1]"]
    assert again.offered == ["a"]
    again.check_log()


@pytest.mark.parametrize(
    ("node", "place", "message"),
    [
        (free(compensate_with=UNDO), "compensate_with", "so its step has nothing to undo"),
        (free(policy={"timeout_ms": 5}), "policy.timeout_ms", "over as soon as the detached run has started"),
    ],
)
def test_what_means_nothing_is_refused(node: dict[str, Any], place: str, message: str) -> None:
    with pytest.raises(InvalidError) as caught:
        parse_dict(workflow(node))
    assert [(problem.place, message in problem.message) for problem in caught.value.problems] == [
        (f"dag.nodes[0].{place}", True)
    ]
