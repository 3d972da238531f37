"""A run in memory: its state, its plan, and the bookkeeping that makes a decision cost O(what changed). Pure.

The bookkeeping is derived from the state and is never stored. invariants.py says what each field must equal.

- `apply` folds a fact and marks its step as dirty.
- machine.py decides about every dirty step once and takes it out of `dirty`. It folds each decision as well, which may
  make further steps dirty.
- A step whose status is final is counted once, by `mark_final`. That counts down the steps that wait for it, and a
  step becomes dirty when its count reaches 0.

After a crash a new Run is made from the state that the log gives. Then every step is dirty.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final

import msgspec

from agentflow_common import events as ev
from agentflow_common.errors import InvalidError
from agentflow_common.events import StepError
from agentflow_common.runs.fold import evolve
from agentflow_common.runs.parts import whole_of
from agentflow_common.runs.state import (
    ACTIVE,
    DONE,
    OPEN,
    UNDO,
    RunState,
    StepState,
    StepStatus,
    current_key,
    node_of,
    parent_of,
    visit_key,
)
from agentflow_scheduler.runs.plan import Plan, PlanNode

IN_FLIGHT: Final = OPEN - {StepStatus.WAITING}
HOLDS_SLOT: Final = frozenset({StepStatus.QUEUED, *ACTIVE})  # of its keyed lane, if it is in one
EXTERNAL: Final = frozenset({StepStatus.WAITING, StepStatus.OUTCOME_UNKNOWN})
_NO_FAULTS: Final[Mapping[str, StepError]] = MappingProxyType({})  # one for all runs


class Run(msgspec.Struct, eq=False):
    """A run in memory. A dict without values serves as an ordered set; an empty set would take three times as much."""

    state: RunState
    plan: Plan

    # Queues of what has yet to be decided.
    dirty: dict[str, None] = {}  # steps that changed, or may begin now
    loop_exits: dict[str, None] = {}  # nodes that are final, and whose back edges have yet to be decided
    continuations: dict[str, None] = {}  # `continue_as_new` steps that are due and wait for the others to end
    lock_waits: dict[str, None] = {}  # steps that are due and wait for the locks around their nodes
    next_children: dict[str, list[int]] = {}  # by expanded step: children not begun, the next one last

    # Sets.
    decided: dict[str, None] = {}  # steps and parts of steps whose status is final, and that were counted
    in_flight: dict[str, None] = {}  # steps under way, without those that only hold parts
    external_waits: dict[str, None] = {}  # steps that wait for a time, a signal, a person, or a run
    in_superstep: frozenset[str] = frozenset()  # of a graph-style workflow
    released: dict[tuple[str, int], None] = {}  # attempts (step key, number) that gave back their lane's slot
    cancelled_children: dict[str, None] = {}  # `run:grace`, to which a cancel with a grace was sent

    # Counters.
    undecided_count: int = 0  # nodes of the plan or of the superstep; at the end, of those with `finally: true`
    blockers_left: dict[str, int] = {}  # by node, see `blockers`; no entry: as many as the plan says
    open_children: dict[str, int] = {}  # by expanded step: children that are not decided
    failed_children: dict[str, int] = {}  # by expanded step: children that are decided and not DONE
    inner_children: dict[str, int] = {}  # by map with maps in it: the children that all of these have

    # Traces of a crash or of an error of the engine. See ending.py and faults.py.
    ending_lost: bool = False  # steps were closed for an ending that is not in the log
    ending_searched: bool = False  # the cause of that ending was searched for
    faults: Mapping[str, StepError] = _NO_FAULTS  # steps that fail because of an error of the engine
    broken: tuple[StepError, str] | None = None  # the error with which the run itself fails, and its step
    past_help: bool = False  # the run can't be compensated either

    used_timers: bool = False  # a timer was set at some time: it may have to be purged at the end

    def __post_init__(self) -> None:
        state, plan = self.state, self.plan
        state.definition = plan.raw
        if state.active:  # otherwise all share one, because an empty frozenset takes 216 bytes
            self.in_superstep = frozenset(state.active)
        self.undecided_count = len(plan.nodes) - len(plan.last) if plan.graph is None else len(state.active)
        self.open_children = {key: step.width for key, step in state.steps.items() if step.width >= 0}
        for key, width in self.open_children.items():
            self.note_width(key, width)
        self.used_timers = bool(state.timers)
        for key, step in state.steps.items():
            self._note(key, step.status)
            if step.status is StepStatus.CANCELLED and state.out_seq and parent_of(key) is None and not step.lost_to:
                self.ending_lost = True
        roots = state.active if plan.graph else [current_key(state, name) for name in plan.roots]
        self.dirty = dict.fromkeys([*state.steps, *roots])
        if state.finishing is not None:
            self.begin_last()

    def begin_last(self) -> None:
        """Turns to the nodes that run at the end. Nothing else is decided any more."""
        self.undecided_count = len(self.plan.last)
        self.loop_exits, self.continuations = {}, {}
        self.dirty.update(dict.fromkeys(self.plan.last_roots))

    def apply(self, event: ev.Event, seq: int) -> None:
        """Folds a fact from the log."""
        evolve(self.state, event, seq)
        key = ev.step_of(event)
        if key:
            before = event.before if isinstance(event, ev.StepCompleted) else ()
            for name in (*(done.step for done in before), key):
                self.dirty[name] = None
                self.changed(name)
            if isinstance(event, ev.StepCompleted) and event.begun is not None:
                self.changed(event.begun.step)
        elif isinstance(event, ev.SignalReceived):
            self.dirty.update(self.external_waits)
        elif isinstance(event, ev.RunSlotGranted):
            self.dirty.update(self.lock_waits)
            self.lock_waits.clear()
        elif isinstance(event, ev.RunBreakRequested | ev.RunContinueRequested):  # one may have a breakpoint now
            self.dirty.update(self.continuations)
            self.continuations.clear()

    def note_width(self, key: str, width: int) -> None:
        """Notes how many children a step has, if it is a part itself."""
        whole = whole_of(key)
        if whole != key:
            self.inner_children[whole] = self.inner_children.get(whole, 0) + width

    def changed(self, key: str) -> None:
        """Notes the new status of a step."""
        step = self.state.steps.get(key)
        if step is not None:
            self._note(key, step.status)

    def _note(self, key: str, status: StepStatus) -> None:
        if status in IN_FLIGHT and (status is not StepStatus.RUNNING or not self.state.steps[key].has_parts):
            self.in_flight[key] = None
        else:
            self.in_flight.pop(key, None)
        if status in EXTERNAL:
            self.external_waits[key] = None
        else:
            self.external_waits.pop(key, None)

    def blockers(self, node: str) -> int:
        """Returns the number of undecided nodes that this one waits for."""
        return self.blockers_left.get(node, self.plan.waits[node])

    def is_counted(self, source: str, target: str) -> bool:
        """True if a node is decided for one that waits for it. If the edge leads out of a loop, that is left, too."""
        gate = self.plan.gate(source, target)
        ends = [source] if gate is None else [source, gate.source]
        is_left = gate is None or gate.source not in self.loop_exits
        return is_left and all(current_key(self.state, name) in self.decided for name in ends)

    def mark_final(self, key: str) -> None:
        """Notes that the step will not change any more, and counts down what waits for it. Twice is harmless."""
        if key in self.decided:
            return
        self.decided[key] = None
        if is_undo(key):
            return
        parent = parent_of(key)
        if parent is not None:
            if parent in self.open_children:
                self.open_children[parent] -= 1
                if self.state.steps[key].status not in DONE:
                    self.failed_children[parent] = self.failed_children.get(parent, 0) + 1
            self.dirty[parent] = None
            return
        self.undecided_count -= 1
        if self.plan.graph is None or self.state.finishing is not None:
            node = self.plan.nodes[node_of(key)]
            for target in node.targets:
                self.count_down(target)
            if node.back:
                self.loop_exits[node.id] = None

    def count_down(self, node: str) -> None:
        """Notes that one of the nodes that this one waits for is decided."""
        self.blockers_left[node] = left = self.blockers(node) - 1
        if not left or (self.plan.joins and node in self.plan.joins):
            self.dirty[visit_key(node, self.state.visits.get(node, 1))] = None

    def check_fault(self, key: str) -> None:
        """Raises InvalidError if the step is to fail because of an error of the engine."""
        if key in self.faults:
            raise InvalidError(self.faults[key].message)

    def worker_continues(self, event: ev.Event) -> bool:
        """True if the worker goes on by itself after this fact, so that nothing has to be decided now."""
        if not isinstance(event, ev.StepCompleted) or event.begun is None:
            return False
        state = self.state
        following = state.steps.get(event.begun.step)
        ends = state.cancel_requested or state.deadline_passed or state.ending is not None
        stops = state.stops is not None and (state.stops.asked or bool(state.stops.before))
        return following is not None and following.status in ACTIVE and not (ends or state.pause_requested or stops)

    def node(self, key: str) -> PlanNode | None:
        """Returns the node of the definition that a step belongs to; for a part of a map, the inner map that it is."""
        node = self.plan.nodes.get(key) or self.plan.nodes.get(node_of(key))
        return node.at_level(key.count("[")) if node is not None and node.levels else node

    def is_present(self, key: str, node: PlanNode) -> bool:
        """True if the key belongs to the node's present visit."""
        if node.at_end or (not self.state.visits and self.plan.graph is None):
            return True
        base = whole_of(key)
        return base in self.in_superstep if self.plan.graph else base == current_key(self.state, node.id)

    def is_revisited(self, node: PlanNode) -> bool:
        """True if a back edge led to the node's present visit."""
        return any(loop.target == node.id and self.state.taken.get(loop.edge) for loop in self.plan.loops)

    def is_left_over(self, key: str) -> bool:
        """True for a part of a step that has ended, or ends now, without it: nothing follows from it."""
        name = parent_of(key)
        while name is not None:
            parent = self.state.steps.get(name)
            if parent is None or parent.status is not StepStatus.RUNNING or parent.expired:
                return True
            name = parent_of(name)
        return False


@lru_cache(4096)  # called many times for a key while its step is decided
def is_undo(key: str) -> bool:
    return key.endswith(UNDO)


def is_begun(step: StepState | None) -> bool:
    """True if the step had an attempt in this run, or needs none.

    A part that a retried run takes up again is RETRYING without an attempt. The step that it is a part of begins it.
    """
    if step is None or step.status is StepStatus.PENDING:
        return False
    return step.status is not StepStatus.RETRYING or step.attempt > 0
