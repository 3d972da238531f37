"""Every field of a run's bookkeeping that is wrong is reported, by its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common.events import StepError
from agentflow_scheduler.runs.decisions import unbounded
from agentflow_scheduler.runs.invariants import check_invariants
from agentflow_scheduler.runs.run import Run
from tests.support.definitions import BODY, function, workflow
from tests.support.run_driver import RunDriver

DEFINITION = workflow(
    function("a"),
    function("b", depends_on=["a"]),
    {"id": "m", "type": "map", "config": {"over": [1, 2, 3], "concurrency": 1, "body": BODY}},
    {"id": "p", "type": "approval", "config": {"message": "go on?"}},
    function("k", lane="{{org}}-lane", lane_limit=1),
    {"id": "next", "type": "continue_as_new", "config": {"inputs": {}}},
)
UNCHECKED = {"state", "plan"} | {
    "broken",  # the engine's word on an error of its own
    "used_timers",  # what the engine has done
}


def begun(take: Callable[[str], bool] = unbounded) -> RunDriver:
    """A run in which `a` and a child of `m` are offered, `p` waits, `k` is queued, and `next` waits for all of them."""
    return RunDriver(DEFINITION, take=take).submit(run="run_1")


def advanced() -> RunDriver:
    """The run after `a` and `k` have completed."""
    return begun().completes("a").tell(ev.SlotGranted, step="k", attempt=1, lane="o-lane").completes("k")


def without_room() -> RunDriver:
    """The run while no pool has room."""
    return begun(lambda _pool: False)


def locked() -> RunDriver:
    """A run in which `a` waits for its lock."""
    return RunDriver(workflow(function("a"), lock={"key": "l", "nodes": ["a"]})).submit(run="run_1")


def put(field: str, value: Any) -> Callable[[Run], None]:
    return lambda run: setattr(run, field, value)


ALTERED: list[tuple[str, Callable[[], RunDriver], Callable[[Run], Any]]] = [
    ("dirty", without_room, lambda run: run.dirty.pop("a")),
    ("loop_exits", advanced, lambda run: run.loop_exits.update(a=None)),
    ("continuations", begun, lambda run: run.continuations.clear()),
    ("continuations", begun, lambda run: run.continuations.update(a=None)),
    ("lock_waits", locked, lambda run: run.lock_waits.clear()),
    ("next_children", begun, lambda run: run.next_children["m"].pop()),
    ("decided", advanced, lambda run: run.decided.pop("a")),
    ("decided", advanced, lambda run: run.decided.update(b=None)),
    ("decided", advanced, lambda run: run.decided.update(unknown=None)),
    ("in_flight", begun, lambda run: run.in_flight.pop("m[0]")),
    ("in_flight", begun, lambda run: run.in_flight.update(m=None)),
    ("external_waits", begun, lambda run: run.external_waits.pop("p")),
    ("in_superstep", begun, put("in_superstep", frozenset({"a"}))),
    ("released", advanced, lambda run: run.released.clear()),
    ("released", advanced, lambda run: run.released.update({("k", 2): None})),
    ("cancelled_children", begun, lambda run: run.cancelled_children.update({"run_2:5": None})),
    ("undecided_count", begun, put("undecided_count", 5)),
    ("blockers_left", begun, lambda run: run.blockers_left.update(b=0)),
    ("open_children", begun, lambda run: run.open_children.update(m=2)),
    ("open_children", begun, lambda run: run.open_children.pop("m")),
    ("failed_children", begun, lambda run: run.failed_children.update(m=1)),
    ("inner_children", begun, lambda run: run.inner_children.update(m=1)),
    ("ending_lost", begun, put("ending_lost", True)),
    ("ending_searched", begun, put("ending_searched", True)),
    ("past_help", begun, put("past_help", True)),
    ("faults", begun, put("faults", {"unknown": StepError("engine_error", "planted")})),
]


@pytest.mark.parametrize(("field", "make", "alter"), ALTERED, ids=lambda part: part if isinstance(part, str) else "")
def test_a_wrong_field_is_reported_by_its_name(
    field: str, make: Callable[[], RunDriver], alter: Callable[[Run], Any]
) -> None:
    run = make().run
    check_invariants(run)
    alter(run)
    with pytest.raises(AssertionError, match=rf"^run_1: {field}\b.* is .*, the state says "):
        check_invariants(run)


def test_every_field_is_checked() -> None:
    assert {field for field, _, _ in ALTERED} == set(Run.__struct_fields__) - UNCHECKED


def test_a_child_that_was_not_asked_to_end_in_a_grace_period_is_reported() -> None:
    driver = begun()
    driver.state.steps["p"].child = "run_2"  # as of a subworkflow
    run = driver.cancels(grace_ms=100).run
    assert list(run.cancelled_children) == ["run_2:100"]
    run.cancelled_children.clear()
    with pytest.raises(AssertionError, match="cancelled_children"):
        check_invariants(run)
