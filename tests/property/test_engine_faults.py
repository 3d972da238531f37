"""Errors of the engine itself, planted in any decision: the run ends once, its step is named, and what took effect is
undone or named. See agentflow_scheduler/runs/faults.py."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentflow_common import events as ev
from agentflow_common.runs.fold import fold
from agentflow_common.runs.state import RunStatus, StepStatus, node_of
from agentflow_common.subjects import EntityKey
from agentflow_scheduler.entities import Entity
from agentflow_scheduler.runs.decisions import RunDecisions
from agentflow_scheduler.runs.faults import FAULTS_MAX, Faults, StepFault
from agentflow_scheduler.runs.run import Run

from .entities_workflows import WORK, workflows
from .entities_world import World

STEPS = (
    ev.StepScheduled, ev.StepQueued, ev.StepWaiting, ev.StepExpanded, ev.StepIterated, ev.StepJoined, ev.StepResolved,
    ev.StepSkipped, ev.StepTimedOut, ev.TimerSet, ev.StepsReset,
)  # fmt: skip
ALWAYS = 1 << 30
RUNS = (
    ev.RunStarted, ev.RunWaiting, ev.RunCompensating, ev.RunCancelling, ev.RunFinishing, ev.RunCompleted, ev.RunPaused,
)  # fmt: skip


class Faulty(World):
    """Takes the steps that the engine takes after an error; `met` counts the errors."""

    met = 0

    def decide(self, key: EntityKey, entity: Entity) -> tuple[Entity, Any]:
        faults = Faults()
        while True:
            try:
                return super().decide(key, entity)
            except StepFault as error:
                met = error
            self.met += 1
            if not faults.meet(met):
                raise AssertionError(f"nobody can end {key.name}") from met
            self.recover(key)
            entity = self.memory[key]
            assert isinstance(entity, Run)
            faults.mark(entity)


@contextmanager
def planted(kind: type[ev.Event], step: str, times: int = ALWAYS) -> Iterator[None]:
    """No run can take this decision about these steps, so many times."""
    real = RunDecisions.record
    left = times

    def record(self: RunDecisions, event_type: Any, fields: dict[str, Any]) -> None:
        nonlocal left
        about = fields.get("step", "")
        if event_type is kind and left and step in {about, node_of(about)}:
            left -= 1
            self._state.steps.pop(about, None)  # half done
            raise ZeroDivisionError("planted")
        real(self, event_type, fields)

    RunDecisions.record = record  # type: ignore[method-assign]
    try:
        yield
    finally:
        RunDecisions.record = real  # type: ignore[method-assign]


@pytest.mark.parametrize("crashes", [False, True], ids=["steady", "crashing"])
@given(
    workflows(), st.integers(0, 2**32), st.sampled_from([-1, -1, 9]), st.sampled_from(STEPS),
    st.sampled_from(["n0", "n1", "n2", "n1:undo", "n0[1]", "z0"]), st.sampled_from([1, 3, ALWAYS]),
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_engine_01_a_run_ends_once_whatever_step_the_engine_fails_at(
    crashes: bool, definition: dict[str, Any], seed: int, cancel_at: int, kind: Any, step: str, times: int
) -> None:
    world = Faulty(definition, seed, crashes, tight=seed % 2 == 0)
    with planted(kind, step, times):
        world.play(cancel_at, -1)
    world.check()


@given(
    workflows(), st.integers(0, 2**32), st.sampled_from([-1, 9]), st.sampled_from(RUNS), st.sampled_from([1, 2, ALWAYS])
)
@settings(max_examples=150, deadline=None)
def test_engine_01_a_run_ends_once_whatever_of_its_own_the_engine_fails_at(
    definition: dict[str, Any], seed: int, cancel_at: int, kind: Any, times: int
) -> None:
    world = Faulty(definition, seed, crashes=seed % 2 == 0)
    with planted(kind, "", times):
        world.play(cancel_at, -1)
    if kind is not ev.RunCompensating:
        world.check()
    state = fold(world.logs[world.key])
    assert state is not None
    assert state.status.terminal


def saga(**policy: Any) -> dict[str, Any]:
    undo = {"type": "function", "config": {"function_name": "undo"}}
    nodes = [
        {"id": "pay", "type": "function", "config": WORK, "compensate_with": undo},
        {"id": "tell", "type": "function", "config": WORK, "policy": policy},
        {"id": "last", "type": "function", "config": WORK},
    ]
    return {"name": "w", "dag": {"nodes": nodes, "edges": [{"from": "pay", "to": "tell"},
                                                           {"from": "tell", "to": "last"}]}}  # fmt: skip


class Calm(Faulty):
    """Every step succeeds."""

    def report(self, key: EntityKey, task: ev.StepScheduled) -> ev.Event:
        return ev.StepCompleted(org="o", run=key.name, ts=self.now, step=task.step, attempt=task.attempt)


def test_engine_01_the_step_is_named_and_what_was_done_is_undone() -> None:
    world = Calm(saga(), 1, crashes=False)
    with planted(ev.StepScheduled, "tell"):
        world.play(-1, -1)
    world.check()
    end = world.logs[world.key][-1][1]
    assert isinstance(end, ev.RunFailed)
    assert (end.step, end.compensated, end.error.type) == ("tell", ("pay",), "engine_error")
    assert "tell: ZeroDivisionError" in end.error.message
    assert world.met == 1


def test_engine_01_the_policy_of_the_step_decides_what_follows() -> None:
    world = Calm(saga(on_failure="continue"), 1, crashes=False)
    with planted(ev.StepScheduled, "tell"):
        world.play(-1, -1)
    state = fold(world.logs[world.key])
    assert state is not None
    assert state.status is RunStatus.COMPLETED
    assert (state.steps["tell"].status, state.steps["last"].status) == (StepStatus.FAILED, StepStatus.COMPLETED)


def test_engine_01_a_run_at_fault_in_too_many_places_fails_as_a_whole() -> None:
    body = {"type": "function", "config": WORK}
    node = {"id": "m", "type": "map", "config": {"over": list(range(50)), "body": body, "on_item_failure": "continue"}}
    world = Calm({"name": "w", "dag": {"nodes": [node], "edges": []}}, 1, crashes=False)
    with planted(ev.StepScheduled, "m"):
        world.play(-1, -1)
    world.check()
    assert world.met == FAULTS_MAX + 1
    assert isinstance(world.logs[world.key][-1][1], ev.RunFailed)
