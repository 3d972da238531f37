"""Runs with breakpoints, in a part of the seeds: who sets them, who continues a stopped run, and what must hold.

Even seeds have them in plain workflows, in which workers go on by themselves; odd seeds in rich ones.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from afsim.rules import Rules
from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.definition.model import Definition
from agentflow_common.runs.state import UNDO, RunState, StepState, StepStatus, node_of, parent_of
from agentflow_common.subjects import EntityKey

if TYPE_CHECKING:
    from afsim.server import Message
    from afsim.world import World

_BEGINS = (ev.StepScheduled, ev.StepQueued, ev.StepWaiting, ev.StepExpanded, ev.StepIterated, ev.StepResolved)
_NOT_WHILE_STOPPED = (*_BEGINS, ev.StepSkipped, ev.StepsReset, ev.GraphAdvanced, ev.RunResumed, ev.RunStopped)


class Debugger:
    """Sets breakpoints and continues runs. What it does is drawn from numbers of its own."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.rng = random.Random(f"{world.seed} breakpoints")
        self.nodes: dict[EntityKey, list[str]] = {}  # of each run that has breakpoints

    def fields(self, key: EntityKey, definition: Definition) -> dict[str, Any]:
        """Returns the breakpoints of a new run, as fields of `run.submitted`."""
        rng = self.rng
        if self.world.seed % 32 not in {12, 28, 31} or rng.random() < 0.2:
            return {}
        names = self.nodes[key] = [node.id for node in definition.dag.nodes if not node.at_end]
        if rng.random() < 0.5:
            self.after(rng.random() * 4, self._change, key)
        at = tuple(name for name in names if rng.random() < 0.25)
        return {"break_at": at, "break_every": rng.random() < 0.2}

    def read(self, message: Message) -> None:
        """Called with every message of a run's log."""
        if b'"run.stopped"' in message.data:
            key, event = subjects.parse(message.subject), ev.decode(message.data)
            assert key is not None
            assert isinstance(event, ev.RunStopped)
            how = {"every": self.rng.random() < 0.2, "to": self.rng.choice(["", *self.nodes.get(key, ())])}
            for _ in range(1 + (self.rng.random() < 0.2)):
                self.after(self.rng.choice([0.0, 0.02, 0.5, 2.0]), self._continue, key, event.number, how)

    def after(self, delay_s: float, work: Any, *args: Any) -> None:
        self.world.loop.call_later(delay_s, work, *args, context=self.world.outside)

    def _continue(self, key: EntityKey, number: int, how: dict[str, Any]) -> None:
        self._say(key, ev.RunContinueRequested(**self._names(key), stop=number, **how))

    def _change(self, key: EntityKey) -> None:
        at = tuple(self.rng.sample(self.nodes[key], min(2, len(self.nodes[key]))))
        self._say(key, ev.RunBreakRequested(**self._names(key), at=at, remove=self.rng.random() < 0.3))

    def _names(self, key: EntityKey) -> dict[str, Any]:
        return {"org": key.org, "run": key.name, "ts": self.world.server.now_ms()}

    def _say(self, key: EntityKey, event: ev.Event) -> None:
        self.world.server.append(subjects.run_in(key), ev.encode(event), "gateway")


class DebuggedRules(Rules):
    """The rules, and those of breakpoints."""

    def _decision(self, state: RunState, event: ev.Decision, key: str, step: StepState) -> None:
        over = state.cancel_requested or state.ending is not None or state.finishing is not None
        if state.stops is not None and not over:
            gives_back = isinstance(event, ev.StepQueued) and not event.lane
            if state.stops.before and isinstance(event, _NOT_WHILE_STOPPED) and not gives_back:
                self.fail(f"{ev.event_type(event)} of {key or 'the run'} while it is stopped")
            if isinstance(event, _BEGINS) and step.status is StepStatus.PENDING:
                self._passes(state, key)
                if state.stops.asked:
                    self.fail(f"{key} began though nobody had looked at the breakpoints that were set")
        super()._decision(state, event, key, step)

    def _goes_on(self, state: RunState, event: ev.StepCompleted, key: str) -> None:
        if state.stops is not None and not state.stops.asked:
            self._passes(state, key)
        super()._goes_on(state, event, key)

    def _passes(self, state: RunState, key: str) -> None:
        """A step begins: the run has stopped before it, if its node has a breakpoint."""
        assert state.stops is not None
        whole = parent_of(key) is None and not key.endswith(UNDO)
        if whole and state.stops.stop_before(key, node_of(key)):
            self.fail(f"{key} began though it has a breakpoint")
