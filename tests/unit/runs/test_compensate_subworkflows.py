"""The node of a subworkflow that completed is undone; one that did not complete has undone its own steps."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common.definition.parse import parse_dict
from agentflow_common.events import Payload, StepError
from agentflow_common.runs.fold import new_state
from agentflow_common.runs.state import RunStatus
from agentflow_scheduler.runs.plan import Plans
from agentflow_scheduler.runs.run import Run
from tests.support.deciding import decide

UNDO = {"type": "tool", "config": {"tool_name": "back", "tool_args": {"booking": "{{output.id}}"}}}
SUB = {"type": "subworkflow", "config": {"workflow": "child"}}
ALONE = {"id": "sub", **SUB, "compensate_with": UNDO}
EACH = {"id": "sub", "type": "map", "config": {"over": [1, 2], "body": SUB}, "compensate_with": UNDO}
LOOP = {
    "id": "sub", "type": "loop", "config": {"body": SUB, "until": "iteration == 2", "max_iterations": 2},
    "compensate_with": UNDO,
}  # fmt: skip


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
    pay = {"id": "pay", "type": "tool", "config": {"tool_name": "pay"}, "policy": {"retry": {"max_attempts": 1}}}
    raw = parse_dict({"name": "w", "dag": {"nodes": [node, pay], "edges": [{"from": "sub", "to": "pay"}]}}).canonical()
    made, run = play(raw, keys)
    if cancelled:
        made += tell(run, ev.RunCancelRequested(org="o", run="r", ts=1))
    else:
        error = StepError("E", "no money", False)
        made += tell(run, ev.StepFailed(org="o", run="r", ts=1, step="pay", attempt=1, error=error))
    for key, _ in undone:
        made += tell(run, ev.StepCompleted(org="o", run="r", ts=1, step=key, attempt=1, output=Payload(value={})))
    assert [(d.step, d.inputs["booking"]) for d in made if getattr(d, "step", "").endswith(":undo")] == undone
    assert made[-1].compensated == tuple(key.removesuffix(":undo") for key, _ in undone)
    assert run.state.status is (RunStatus.CANCELLED if cancelled else RunStatus.FAILED)


@pytest.mark.parametrize("how", ["failed", "cancelled"])
def test_what_did_not_complete_is_not(how: str) -> None:
    raw = parse_dict({"name": "w", "dag": {"nodes": [{**ALONE, "policy": {"retry": {"max_attempts": 1}}}]}}).canonical()
    made, run = play(raw, [])
    if how == "failed":
        error = StepError("timeout", "a step of it took too long")  # it may have taken effect, and was undone there
        fact = ev.ChildEnded(
            org="o", run="r", ts=1, step="sub", attempt=1, child="c", status="failed", error=error, cost_nano=0
        )
        made += tell(run, fact)
    else:
        made += tell(run, ev.RunCancelRequested(org="o", run="r", ts=1))
        made += tell(run, ended("sub", "cancelled"))
    assert not [d for d in made if getattr(d, "step", "").endswith(":undo")]
    assert run.state.status is RunStatus(how)


BEFORE = {"id": "before", "type": "tool", "config": {"tool_name": "t"}, "compensate_with": UNDO}
BESIDE = {"id": "beside", "type": "tool", "config": {"tool_name": "t"}, "policy": {"retry": {"max_attempts": 1}}}


def begun(policy: dict[str, Any] | None = None) -> Run:
    """A run whose first step is done, with a subworkflow and another step under way."""
    sub = {**ALONE, "depends_on": ["before"], "policy": policy or {}}
    beside = {**BESIDE, "depends_on": ["before"]}
    raw = parse_dict({"name": "w", "dag": {"nodes": [BEFORE, sub, beside]}}).canonical()
    _, run = play(raw, [])
    tell(run, completed("before"))
    return run


def completed(step: str) -> ev.StepCompleted:
    return ev.StepCompleted(org="o", run="r", ts=1, step=step, attempt=1, output=Payload(value={"id": f"of {step}"}))


def ended(step: str, status: str, attempt: int = 1, child: str = "c", **more: Any) -> ev.ChildEnded:
    return ev.ChildEnded(org="o", run="r", ts=1, step=step, attempt=attempt, child=child, status=status, **more)


def undone_of(made: list[Any]) -> list[str]:
    return [d.step.removesuffix(":undo") for d in made if isinstance(d, ev.StepScheduled) and d.step.endswith(":undo")]


def failed(step: str) -> ev.StepFailed:
    return ev.StepFailed(org="o", run="r", ts=1, step=step, attempt=1, error=StepError("E", "no", retryable=False))


CANCEL = ev.RunCancelRequested(org="o", run="r", ts=1)
FORCE = ev.RunCancelRequested(org="o", run="r", ts=1, force=True)


@pytest.mark.parametrize("fact", [failed("beside"), CANCEL], ids=["failed", "cancelled"])
def test_engine_04_a_run_waits_for_its_subworkflow_and_then_undoes_its_own_steps(fact: Any) -> None:
    run = begun()
    made = tell(run, fact)
    assert undone_of(made) == []
    waits = made[-2]
    assert isinstance(waits, ev.RunCompensating) and (waits.children, waits.steps) == (("sub",), ())
    again = Run(run.state, run.plan)  # a crash changes nothing
    assert decide(again, 2, {}).decisions == []
    made = tell(again, ended("sub", "cancelled"))
    assert undone_of(made) == ["before"]
    made = tell(again, completed("before:undo"))
    assert made[-1].compensated == ("before",) and again.state.status.terminal


def test_engine_04_a_subworkflow_that_completed_before_its_cancel_came_is_undone_as_a_whole() -> None:
    run = begun()
    tell(run, CANCEL)
    made = tell(run, ended("sub", "completed", output=Payload(value={"id": "of sub"})))
    assert [(d.step, d.inputs["booking"]) for d in made if isinstance(d, ev.StepScheduled)] == [("sub:undo", "of sub")]
    made = tell(run, completed("sub:undo"))
    assert undone_of(made) == ["before"]


def test_engine_04_a_run_that_went_on_in_the_place_of_a_subworkflow_is_waited_for() -> None:
    run = begun()
    tell(run, CANCEL)
    assert tell(run, ended("sub", "continued", child="d")) == []
    assert run.state.undoing == {"sub/1": "d"}
    assert undone_of(tell(run, ended("sub", "failed", child="d"))) == ["before"]


def test_engine_04_a_forced_cancel_waits_for_nobody_and_is_passed_on() -> None:
    run = begun()
    tell(run, CANCEL)
    (child,) = run.state.undoing.values()
    run.apply(FORCE, run.state.facts_seq + 1)
    out = decide(run, 1, {})
    assert isinstance(out.decisions[-1], ev.RunCancelled) and out.decisions[-1].uncompensated == ("before",)
    told = [(key.name, event.force) for key, event in out.sends if isinstance(event, ev.RunCancelRequested)]
    assert told == [(child, True)]


def test_engine_04_the_wait_for_subworkflows_has_an_end_and_says_what_it_left() -> None:
    run = begun()
    timer = next(d for d in tell(run, CANCEL) if isinstance(d, ev.TimerSet) and d.kind == "children")
    below = begun()
    below.state.depth = 1
    shorter = next(d for d in tell(below, CANCEL) if isinstance(d, ev.TimerSet) and d.kind == "children")
    assert shorter.fire_at < timer.fire_at  # a subworkflow gives up before its parent does
    made = tell(run, ev.TimerFired(org="o", run="r", ts=timer.fire_at, timer=timer.timer, kind=timer.kind))
    assert undone_of(made) == ["before"]
    made = tell(run, completed("before:undo"))
    assert (made[-1].compensated, made[-1].uncompensated) == (("before",), ("sub",))


def test_engine_04_a_subworkflow_that_took_too_long_is_waited_for_at_the_end() -> None:
    run = begun({"timeout_ms": 1000, "on_failure": "continue", "retry": {"max_attempts": 1}})
    fired = ev.TimerFired(org="o", run="r", ts=9_000, timer="timeout:sub:1", kind="step_timeout", step="sub", attempt=1)
    tell(run, fired)
    made = tell(run, completed("beside"))
    assert not run.state.status.terminal  # all its steps are over
    made = tell(run, ended("sub", "cancelled"))
    assert isinstance(made[-1], ev.RunCompleted)


def test_engine_04_of_two_subworkflows_that_completed_for_one_step_the_end_names_the_one_that_stays() -> None:
    run = begun({"timeout_ms": 1000, "retry": {"max_attempts": 2, "initial_ms": 0}})
    fired = ev.TimerFired(org="o", run="r", ts=9_000, timer="timeout:sub:1", kind="step_timeout", step="sub", attempt=1)
    tell(run, fired)
    tell(run, ended("sub", "completed", output=Payload(value={"id": "the first"})))  # before its cancel came
    assert run.state.steps["sub"].attempt == 2
    tell(run, ended("sub", "completed", attempt=2, output=Payload(value={"id": "the second"})))
    made = tell(run, failed("beside"))
    assert [(d.step, d.inputs["booking"]) for d in made if isinstance(d, ev.StepScheduled)] == [
        ("sub:undo", "the second")
    ]
    tell(run, completed("sub:undo"))
    made = tell(run, completed("before:undo"))
    assert (made[-1].compensated, made[-1].uncompensated) == (("before",), ("sub",))


def play(raw: dict[str, Any], keys: list[str]) -> tuple[list[Any], Run]:
    """A run in which the subworkflows of these steps have completed."""
    child = parse_dict(
        {"name": "child", "dag": {"nodes": [{"id": "a", "type": "tool", "config": {"tool_name": "t"}}]}}
    ).canonical()
    event = ev.RunSubmitted(
        org="o", run="r", ts=1, workflow="w", version=1, definition=raw, inputs=Payload(value={}),
        definitions={"child": child},
    )  # fmt: skip
    run = Run(new_state(event, 1), Plans().get(raw))
    made: list[Any] = list(decide(run, 1, {}).decisions)
    for key in keys:
        output = Payload(value={"id": f"of {key}"})
        ended = ev.ChildEnded(
            org="o", run="r", ts=1, step=key, attempt=1, child="c", status="completed", output=output, cost_nano=0
        )
        made += tell(run, ended)
    return made, run


def tell(run: Run, fact: Any) -> list[Any]:
    run.apply(fact, run.state.facts_seq + 1)
    return list(decide(run, 1, {}).decisions)
