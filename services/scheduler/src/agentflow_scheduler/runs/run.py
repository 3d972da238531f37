"""A run in memory and one decision about it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.events import BlobRef, StepError
from agentflow_common.runs.fold import evolve
from agentflow_common.runs.state import ACTIVE, OPEN, UNDO, RunState, StepStatus, current_key, node_of, parent_of
from agentflow_scheduler.outcome import Outcome
from agentflow_scheduler.runs.plan import Plan, PlanNode
from agentflow_scheduler.runs.scope import Scope

_BUSY = OPEN - {StepStatus.WAITING}
_NOTHING: frozenset[str] = frozenset()  # one for all: an empty one takes 216 bytes
_NO_FAULTS: Mapping[str, StepError] = {}


class Run:
    """A run in memory: its state, its plan, and the bookkeeping that makes a decision cost O(what changed).

    remaining: per node, how many of those it waits for are undecided; not there as long as it is as many as the plan
    says. unbegun: per expanded step, the children that were not offered yet, the next one last. open_children: those
    that are undecided. busy, waits: steps that are on their way, and those that wait for something from outside.
    released: attempts whose slot was given back. told: subworkflows that were told of a cancel with a grace period.
    last: `continue_as_new` steps that are due and wait for the others to end.
    leaving: ends of loops whose back edges are yet to be looked at. present: the steps of a graph's superstep.
    cut_off: steps were closed for an end that is not in the log; resumed: what it was has been looked for. faults:
    steps that fail of an error of the engine; broken: what the run itself fails of, and the step; past_help: it can't
    be compensated either. See runs/faults.py.
    """

    __slots__ = (
        "broken",
        "busy",
        "cut_off",
        "decided",
        "failures",
        "faults",
        "last",
        "leaving",
        "open_children",
        "past_help",
        "plan",
        "present",
        "released",
        "remaining",
        "resumed",
        "state",
        "told",
        "touched",
        "unbegun",
        "undecided",
        "used_timers",
        "waits",
    )

    def __init__(self, state: RunState, plan: Plan) -> None:
        self.state = state
        self.plan = plan
        state.definition = plan.raw
        self.remaining: dict[str, int] = {}
        self.present = frozenset(state.active) if state.active else _NOTHING
        self.undecided = len(plan.nodes) if plan.graph is None else len(self.present)
        self.decided: dict[str, None] = {}  # an empty set takes three times as much
        self.used_timers = bool(state.timers)
        self.unbegun: dict[str, list[int]] = {}
        self.open_children: dict[str, int] = {k: s.width for k, s in state.steps.items() if s.width >= 0}
        self.failures: dict[str, int] = {}
        self.last: dict[str, None] = {}
        self.leaving: dict[str, None] = {}
        self.released: dict[tuple[str, int], None] = {}
        self.told: dict[str, None] = {}
        self.busy: dict[str, None] = {}
        self.waits: dict[str, None] = {}
        self.cut_off = self.resumed = False
        self.faults: Mapping[str, StepError] = _NO_FAULTS
        self.broken: tuple[StepError, str] | None = None
        self.past_help = False
        for key, step in state.steps.items():
            self._note(key, step.status)
            if step.status is StepStatus.CANCELLED and state.out_seq and parent_of(key) is None:
                self.cut_off = True
        ready = list(state.active)
        if plan.graph is None:
            ready = [current_key(state, name) for name in plan.roots]
        self.touched: dict[str, None] = dict.fromkeys([*state.steps, *ready])

    def apply(self, event: ev.AnyEvent, seq: int) -> None:
        """Folds a fact from the log."""
        evolve(self.state, event, seq)
        key = getattr(event, "step", "")
        if key:
            self.touched[key] = None
            self.changed(key)
            if isinstance(event, ev.StepCompleted) and event.begun is not None:
                self.changed(event.begun.step)
        elif isinstance(event, ev.SignalReceived):
            self.touched.update(self.waits)

    def left(self, node: str) -> int:
        """How many of those that the node waits for are undecided."""
        return self.remaining.get(node, self.plan.waits[node])

    def goes_on(self, event: ev.AnyEvent) -> bool:
        """Whether the worker goes on by itself after this fact, so that there is nothing to decide now."""
        if not isinstance(event, ev.StepCompleted) or event.begun is None:
            return False
        state = self.state
        following = state.steps.get(event.begun.step)
        ends = state.cancel_requested or state.deadline_passed or state.ending is not None
        return following is not None and following.status in ACTIVE and not (ends or state.pause_requested)

    def changed(self, key: str) -> None:
        step = self.state.steps.get(key)
        if step is not None:
            self._note(key, step.status)

    def _note(self, key: str, status: StepStatus) -> None:
        if status in _BUSY and (status is not StepStatus.RUNNING or not self._holds_parts(key)):
            self.busy[key] = None
        else:
            self.busy.pop(key, None)
        if status in {StepStatus.WAITING, StepStatus.OUTCOME_UNKNOWN}:
            self.waits[key] = None
        else:
            self.waits.pop(key, None)

    def _holds_parts(self, key: str) -> bool:
        step = self.state.steps[key]
        return step.width >= 0 or step.kind == "loop"

    def node(self, key: str) -> PlanNode | None:
        return self.plan.nodes.get(key) or self.plan.nodes.get(node_of(key))

    def is_present(self, key: str, node: PlanNode) -> bool:
        """Whether the key belongs to the node's present visit."""
        if not self.state.visits and self.plan.graph is None:
            return True
        base = parent_of(key) or key
        return base in self.present if self.plan.graph else base == current_key(self.state, node.id)


class Decision(Outcome):
    """Each of the sends is appended together with the decision before it; marks: how many decisions stood before each.
    needs: blobs to fetch before deciding again. take: asks for room for one more step in a worker pool (the empty name:
    for one that needs none); `held`: some could not be offered now. failure: what the run fails of, and the step.
    successor: the step by which another run goes on instead. items: of expanded steps, as children asked for them.
    at: the step that is looked at, if any. askers: the step that asked for each blob, by SHA-256.
    """

    __slots__ = (
        "_run", "askers", "at", "failure", "held", "items", "marks", "needs", "scope", "successor", "take",
    )  # fmt: skip

    def __init__(self, run: Run, now_ms: int, blobs: Mapping[str, Any], take: Callable[[str], bool]) -> None:
        super().__init__(run.state, now_ms, evolve, run.state.trace)
        self.marks: list[int] = []
        self.needs: list[BlobRef] = []
        self.scope = Scope(run.state, blobs)
        self.take = take
        self.held = False
        self.failure: tuple[StepError, str] | None = None
        self.successor = ""
        self.items: dict[str, tuple[str, list[Any]]] = {}
        self._run = run
        self.at = ""
        self.askers: dict[str, str] = {}

    def ask(self, refs: Iterable[BlobRef]) -> None:
        """Notes what the step that is looked at needs."""
        for ref in refs:
            self.needs.append(ref)
            self.askers.setdefault(ref.sha256, self.at)

    def emit(self, event_type: type[ev.Decision], /, **fields: Any) -> None:
        super().emit(event_type, **fields)
        key = fields.get("step")
        if key:
            self._run.changed(key)

    def send(self, event_type: type[ev.Event], /, to_org: str, to: str, **fields: Any) -> None:
        """A fact for another run of the org, a lane or a schedule, appended together with the newest decision."""
        key = subjects.key_of(to_org, to)
        event = event_type(org=to_org, run=to, ts=self.now_ms, trace=self._trace, **fields)
        self.sends.append((key, event))
        self.marks.append(len(self.decisions))

    def may_offer(self, pool: str) -> bool:
        """Whether one more step may be offered; what may not be now stays touched."""
        if self.take(pool):
            return True
        self.held = True
        return False


def unbounded(_pool: str) -> bool:
    return True


@lru_cache(4096)  # asked many times of a key while its step is decided
def is_undo(key: str) -> bool:
    return key.endswith(UNDO)
