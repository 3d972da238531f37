"""The tools of a turn: the collector of the decisions about a run, and the context of one step. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.events import BlobRef, StepError
from agentflow_common.runs.fold import evolve
from agentflow_common.runs.parts import whole_of
from agentflow_common.runs.state import UNDO, RunState, StepState
from agentflow_scheduler.decisions import Decisions
from agentflow_scheduler.runs.plan import PlanNode, PlanWork
from agentflow_scheduler.runs.run import Run, is_undo
from agentflow_scheduler.runs.scope import Scope


class Items(NamedTuple):
    """The values for the children of a step, one for each."""

    name: str  # of an item: the name in the templates of a map's body, or the input of a parallel step
    values: list[Any]
    keys: tuple[str, ...] | None = None  # of the results, if they make an object


class StepTake:
    """Gives or refuses room by the step that asks. `asker` returns its key; the collector of a turn sets it."""

    def __init__(self, has_room: Callable[[str], bool]) -> None:
        self._has_room = has_room
        self.asker: Callable[[], str] = str

    def __call__(self, _pool: str) -> bool:
        return self._has_room(self.asker())


class RunDecisions(Decisions):
    """The decisions of one turn about a run. Each send is appended together with the decision before it."""

    def __init__(self, run: Run, now_ms: int, blobs: Mapping[str, Any], take: Callable[[str], bool]) -> None:
        super().__init__(run.state, now_ms, evolve, run.state.trace)
        self._run = run
        self.marks: list[int] = []
        self.needs: list[BlobRef] = []
        self.askers: dict[str, str] = {}
        if isinstance(take, StepTake):
            take.asker = lambda: self.at
        self.take = take  # asks for room for one more step in a worker pool; "": for a step that needs none
        self.scope = Scope(run.state, blobs)
        self.at = ""  # the step that is being decided, if any: it is blamed for an error of the engine
        self.failure: tuple[StepError, str] | None = None  # the error that the run fails with, and its step
        self.successor = ""  # the `continue_as_new` step by which the run ends
        self.stopped: dict[str, bool] = {}  # by step that is blocked at a stop: it has a breakpoint itself
        self.end = ""  # the step of an `end` node at which the run ends
        self.items: dict[str, Items] = {}  # by expanded step, see steps/items.py

    def sent(self, key: str) -> Mapping[str, Any]:
        """Returns what an edge of a graph gave the visit that the step is, or is a part of. Raises NeedBlob."""
        if not self._run.state.sent:
            return {}
        payload = self._run.state.sent.get(whole_of(key.removesuffix(UNDO)))
        return {} if payload is None else self.scope.look(payload)

    def ask(self, refs: Iterable[BlobRef]) -> None:
        """Notes values that the present step needs."""
        for ref in refs:
            self.needs.append(ref)
            self.askers.setdefault(ref.sha256, self.at)

    def record(self, event_type: type[ev.Decision], fields: dict[str, Any]) -> None:
        super().record(event_type, fields)
        key = fields.get("step")
        if key:
            self._run.changed(key)

    def send(self, event_type: type[ev.Event], /, to_org: str, to: str, **fields: Any) -> None:
        """Adds a fact for another run of the org, a lane or a schedule, to be appended with the newest decision."""
        self.send_to(subjects.key_of(to_org, to), event_type, trace=self._trace, **fields)
        self.marks.append(len(self.decisions))


class StepContext(msgspec.Struct, eq=False):
    """One step in a turn. The functions that decide about one step take it as `at`."""

    run: Run
    out: RunDecisions
    node: PlanNode
    key: str

    @classmethod
    def of(cls, run: Run, out: RunDecisions, key: str) -> StepContext:
        """Returns the context of a step that has begun."""
        node = run.node(key)
        assert node is not None, f"{run.state.run}: {key} is not in the definition"  # noqa: S101
        return cls(run, out, node, key)

    def part(self, key: str) -> StepContext:
        """Returns the context of another step of the same node: a child, an iteration, the compensation."""
        if self.node.levels:
            return StepContext.of(self.run, self.out, key)
        return StepContext(self.run, self.out, self.node, key)

    @property
    def state(self) -> RunState:
        return self.run.state

    @property
    def step(self) -> StepState:
        """The step's state. Raises KeyError for a step that has not begun."""
        return self.run.state.steps[self.key]

    @property
    def work(self) -> PlanWork:
        """The work of an attempt of the step. For a compensation it is that of the node's `compensate_with`."""
        work = self.node.undo if is_undo(self.key) else self.node.work
        assert work is not None, f"{self.key} has no work"  # noqa: S101
        return work

    @property
    def sent(self) -> Mapping[str, Any]:
        """The inputs that an edge of a graph gave the step. Raises NeedBlob.

        Bodies of maps and loops, and compensations, have inputs of their own, whose templates read what was given.
        """
        return {} if self.node.kind in {"map", "loop"} or is_undo(self.key) else self.out.sent(self.key)

    @property
    def scope(self) -> Scope:
        """The scope of the run's values, with what an edge of a graph gave the step. Raises NeedBlob."""
        sent = self.out.sent(self.key)
        return self.out.scope.within(sent) if sent else self.out.scope

    @property
    def priority(self) -> int:
        return self.run.state.priority if self.node.priority is None else self.node.priority

    def emit(self, event_type: type[ev.Decision], /, **fields: Any) -> None:
        """Adds a decision about the step and **folds it at once**: code after it sees the new state."""
        fields["step"] = self.key
        self.out.record(event_type, fields)

    def set_timer(self, timer: str, kind: str, delay_ms: int, attempt: int = 0) -> None:
        self.emit(ev.TimerSet, timer=timer, kind=kind, fire_at=self.out.now_ms + delay_ms, attempt=attempt)

    def may_offer(self, pool: str) -> bool:
        """True if one more step may be offered in the worker pool. A step that may not be offered now stays dirty."""
        if self.out.take(pool):
            return True
        self.out.held = True
        self.run.dirty[self.key] = None
        return False


def unbounded(_pool: str) -> bool:
    return True
