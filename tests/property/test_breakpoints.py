"""Random workflows with breakpoints, crashes between any two appends: no breakpoint is passed over, every run ends."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentflow_common import events as ev
from agentflow_common.definition.parse import parse_dict
from agentflow_common.events import Payload, SeedPosition
from agentflow_common.runs.fold import RunFold
from agentflow_common.runs.state import StepState, StepStatus, node_of, parent_of
from agentflow_common.subjects import EntityKey
from agentflow_scheduler.runs.run import Run

from .entities_workflows import workflows
from .entities_world import World

BEGINS = (ev.StepScheduled, ev.StepQueued, ev.StepWaiting, ev.StepExpanded, ev.StepIterated, ev.StepResolved)


class DebuggedWorld(World):
    """Some nodes of the run have a breakpoint, others get one later, and somebody continues what is stopped."""

    def submission(self, kept: tuple[Payload, SeedPosition | None]) -> ev.RunSubmitted:
        names = [node.id for node in parse_dict(self.definition).dag.nodes]
        self.names = names
        at = tuple(name for name in names if self.random.random() < 0.3)
        return msgspec.structs.replace(super().submission(kept), break_at=at, break_every=self.random.random() < 0.2)

    def outside(self) -> None:
        """Continues and changes breakpoints, or else does what any world does."""
        stopped = [
            (key, entity.state.stops)
            for key, entity in self.memory.items()
            if isinstance(entity, Run) and entity.state.stops is not None and entity.state.stops.before
        ]
        if stopped and self.random.random() < 0.5:
            key, stops = self.random.choice(stopped)
            how = {"every": self.random.random() < 0.2, "to": self.random.choice(["", *self.names])}
            outputs = self.changed_outputs(key) if self.random.random() < 0.5 else {}
            asked = ev.RunContinueRequested(**self.base(key), stop=stops.number, outputs=outputs, **how)
            for _ in range(1 + (self.random.random() < 0.2)):
                self.fact(key, asked)
        elif self.random.random() < 0.1:
            at = (self.random.choice(self.names),)
            self.fact(self.key, ev.RunBreakRequested(**self.base(self.key), at=at, remove=self.random.random() < 0.4))
        else:
            super().outside()

    def changed_outputs(self, key: EntityKey) -> dict[str, Payload]:
        """Other outputs for some of the steps that have completed, while no map takes its items from them."""
        steps = self.memory[key].state.steps
        if any(step.width >= 0 and step.status is StepStatus.RUNNING for step in steps.values()):
            return {}
        done = [name for name, step in steps.items() if step.status is StepStatus.COMPLETED and step.width < 0]
        return {name: Payload(value={"n": self.random.randint(0, 9)}) for name in done if self.random.random() < 0.3}


class Checked(RunFold):
    """Folds a run and fails at a step that begins although the run has not stopped before it."""

    def _apply(self, seq: int, event: ev.Event) -> None:
        state = self.state
        if state is not None and state.stops is not None and isinstance(event, BEGINS):
            first = state.steps.get(event.step, StepState()).status is StepStatus.PENDING
            whole = parent_of(event.step) is None and not event.step.endswith(":undo")
            if first and whole and state.finishing is None and state.ending is None:
                assert not state.stops.before, f"{event.step} began while the run was stopped"
                assert not state.stops.stop_before(event.step, node_of(event.step)), f"{event.step} was passed over"
        super()._apply(seq, event)


def check_stops(world: World, key: EntityKey) -> None:
    fold = Checked()
    for seq, event in world.logs[key]:
        fold.add(event, seq)
    assert fold.finish() is not None


@pytest.mark.parametrize("crashes", [False, True], ids=["steady", "crashing"])
@given(workflows(), st.integers(0, 2**32), st.sampled_from([-1, -1, -1, 25]), st.sampled_from([-1, -1, 4]))
@settings(max_examples=100, deadline=None)
def test_no_breakpoint_is_passed_over_and_every_run_ends(
    crashes: bool, definition: dict[str, Any], seed: int, cancel_at: int, pause_at: int
) -> None:
    world = DebuggedWorld(definition, seed, crashes, tight=seed % 3 == 0)
    world.play(cancel_at, pause_at)
    world.check()
    for key in world.logs:
        if key.kind == "run":
            check_stops(world, key)
