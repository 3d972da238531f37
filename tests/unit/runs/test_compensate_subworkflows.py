"""The node of a subworkflow that completed is undone; one that did not complete has undone its own steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common.events import StepError
from agentflow_common.runs.state import RunStatus
from tests.support.definitions import CONTINUE, ONCE, child, in_order, subworkflow, tool, workflow
from tests.support.run_driver import RunDriver

UNDO = {"type": "tool", "config": {"tool_name": "back", "tool_args": {"booking": "{{output.id}}"}}}
SUB = {"type": "subworkflow", "config": {"workflow": "child"}}
ALONE = subworkflow("sub", compensate_with=UNDO)
EACH = {"id": "sub", "type": "map", "config": {"over": [1, 2], "body": SUB}, "compensate_with": UNDO}
LOOP = {
    "id": "sub", "type": "loop", "config": {"body": SUB, "until": "iteration == 2", "max_iterations": 2},
    "compensate_with": UNDO,
}  # fmt: skip


def begin(definition: dict[str, Any]) -> RunDriver:
    return RunDriver(definition).submit(definitions=child())


def begin_beside(policy: dict[str, Any] | None = None) -> RunDriver:
    """Returns a run whose first step is done, with a subworkflow and another step under way."""
    return begin(
        workflow(
            tool("before", compensate_with=UNDO),
            {**ALONE, "depends_on": ["before"], "policy": policy or {}},
            tool("beside", policy=ONCE, depends_on=["before"]),
        )
    ).completes("before", {"id": "of before"})


def compensations(run: RunDriver) -> list[tuple[str, str]]:
    """Returns the compensations that were offered, each with the booking that it undoes."""
    return [(step, run.inputs(step)["booking"]) for step in run.offered if step.endswith(":undo")]


@pytest.mark.parametrize(
    ("node", "keys", "undone"),
    [
        (ALONE, ["sub"], [("sub:undo", "of sub")]),
        (EACH, ["sub[0]", "sub[1]"], [("sub[1]:undo", "of sub[1]"), ("sub[0]:undo", "of sub[0]")]),
        (LOOP, ["sub@1", "sub@2"], [("sub@2:undo", "of sub@2"), ("sub@1:undo", "of sub@1")]),
    ],
)
@pytest.mark.parametrize("cancelled", [False, True])
def test_what_completed_is_undone(
    node: dict[str, Any], keys: list[str], undone: list[tuple[str, str]], cancelled: bool
) -> None:
    run = begin(in_order(node, tool("pay", policy=ONCE)))
    for key in keys:
        run.child_ends(key, output={"id": f"of {key}"})
    if cancelled:
        run.cancels()
    else:
        run.fails("pay")
    for key, _ in undone:
        run.completes(key, {})
    assert compensations(run) == undone
    assert run.made[-1].compensated == tuple(key.removesuffix(":undo") for key, _ in undone)
    assert run.status is (RunStatus.CANCELLED if cancelled else RunStatus.FAILED)


@pytest.mark.parametrize("how", ["failed", "cancelled"])
def test_what_did_not_complete_is_not(how: str) -> None:
    run = begin(workflow({**ALONE, "policy": ONCE}))
    if how == "failed":
        error = StepError("timeout", "a step of it took too long")  # it may have taken effect, and was undone there
        run.child_ends("sub", "failed", error=error)
    else:
        run.cancels().child_ends("sub", "cancelled")
    assert compensations(run) == []
    assert run.status is RunStatus(how)


@pytest.mark.parametrize(
    "end", [lambda run: run.fails("beside"), lambda run: run.cancels()], ids=["failed", "cancelled"]
)
def test_engine_04_a_run_waits_for_its_subworkflow_and_then_undoes_its_own_steps(
    end: Callable[[RunDriver], RunDriver],
) -> None:
    run = begin_beside()
    end(run)
    assert run.undone() == []
    compensating = run.made[-2]
    assert isinstance(compensating, ev.RunCompensating)
    assert compensating.children == ("sub",)
    assert compensating.steps == ()
    assert run.crash().decide().made == [], "a crash changes nothing"
    assert run.child_ends("sub", "cancelled").undone() == ["before"]
    run.completes("before:undo")
    assert run.made[-1].compensated == ("before",)
    assert run.status.terminal


def test_engine_04_a_subworkflow_that_completed_before_its_cancel_came_is_undone_as_a_whole() -> None:
    run = begin_beside().cancels().child_ends("sub", output={"id": "of sub"})
    assert compensations(run) == [("sub:undo", "of sub")]
    assert run.completes("sub:undo").undone() == ["before"]


def test_engine_04_a_run_that_went_on_in_the_place_of_a_subworkflow_is_waited_for() -> None:
    run = begin_beside().cancels()
    assert run.child_ends("sub", "continued", child="d").made == []
    assert run.state.undoing == {"sub/1": "d"}
    assert run.child_ends("sub", "failed", child="d").undone() == ["before"]


def test_engine_04_a_forced_cancel_waits_for_nobody_and_is_passed_on() -> None:
    run = begin_beside().cancels()
    (child_run,) = run.state.undoing.values()
    run.cancels(force=True)
    assert isinstance(run.made[-1], ev.RunCancelled)
    assert run.made[-1].uncompensated == ("before",)
    passed_on = [(key.name, event.force) for key, event in run.sent if isinstance(event, ev.RunCancelRequested)]
    assert passed_on == [(child_run, True)]


def test_engine_04_the_wait_for_subworkflows_has_an_end_and_says_what_it_left() -> None:
    run = begin_beside().cancels()
    below = begin_beside()
    below.state.depth = 1
    below.cancels()
    parent_waits_ms = run.state.timers["children"].fire_at - run.now_ms
    assert below.state.timers["children"].fire_at - below.now_ms < parent_waits_ms, "it gives up before its parent does"
    assert run.fires("children").undone() == ["before"]
    run.completes("before:undo")
    assert run.made[-1].compensated == ("before",)
    assert run.made[-1].uncompensated == ("sub",)


def test_engine_04_a_subworkflow_that_took_too_long_is_waited_for_at_the_end() -> None:
    run = begin_beside({**CONTINUE, "timeout_ms": 1000}).fires("timeout:sub:1")
    run.completes("beside", {"id": "of beside"})
    assert not run.status.terminal, "all its steps are over"
    run.child_ends("sub", "cancelled")
    assert isinstance(run.made[-1], ev.RunCompleted)


def test_engine_04_of_two_subworkflows_that_completed_for_one_step_the_end_names_the_one_that_stays() -> None:
    run = begin_beside({"timeout_ms": 1000, "retry": {"max_attempts": 2, "initial_ms": 0}}).fires("timeout:sub:1")
    run.child_ends("sub", output={"id": "the first"}, attempt=1)  # before its cancel came
    assert run.state.steps["sub"].attempt == 2
    run.child_ends("sub", output={"id": "the second"}, attempt=2)
    run.fails("beside")
    assert compensations(run) == [("sub:undo", "the second")]
    run.completes("sub:undo").completes("before:undo")
    assert run.made[-1].compensated == ("before",)
    assert run.made[-1].uncompensated == ("sub",)
