"""One run on the pure run machine, as a test plays it: facts go in, decisions come out, and all of it is on a log.

    run = RunDriver(workflow(function("a"), function("b", depends_on=["a"]))).submit()
    run.fails("a", StepError("busy", "later")).fires("retry:a:1").completes("a", 1).completes("b", 2)
    assert run.status is RunStatus.COMPLETED

Every fact is written to the log, applied and decided on at once; `apply` and `decide` do that in two steps. Events pass
through their wire format. After every decision the bookkeeping of the run is compared with its state. `crash` loses the
memory of the run and the newest decisions. Time stands still until a timer fires or `at` sets it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar

import msgspec

from agentflow_common import events as ev
from agentflow_common.definition.model import Definition
from agentflow_common.definition.nodes.base import SUBWORKFLOW_DEPTH_MAX
from agentflow_common.definition.parse import parse_dict, parse_text
from agentflow_common.events import BlobRef, Payload, StepError
from agentflow_common.log.timers import TimerState
from agentflow_common.runs.fold import fold, new_state
from agentflow_common.runs.state import ACTIVE, RunState, RunStatus
from agentflow_common.subjects import EntityKey
from agentflow_scheduler.bounds import CHAIN_STEPS
from agentflow_scheduler.replay.state_hash import state_hash
from agentflow_scheduler.runs.decisions import RunDecisions, unbounded
from agentflow_scheduler.runs.plan import Plans
from agentflow_scheduler.runs.run import Run
from tests.support.deciding import decide
from tests.support.events import base

E = TypeVar("E", bound=ev.Event)

REFUSED = StepError("E", "no", retryable=False)


class RunDriver:
    """A run that a test drives. `submit` comes first."""

    run: Run
    out: RunDecisions  # of the last decision

    def __init__(
        self,
        definition: Definition | Mapping[str, Any] | str,
        *,
        chain_steps: int = CHAIN_STEPS,
        depth_max: int = SUBWORKFLOW_DEPTH_MAX,
        take: Callable[[str], bool] = unbounded,
    ) -> None:
        if isinstance(definition, str):
            definition = parse_text(definition)
        elif not isinstance(definition, Definition):
            definition = parse_dict({"name": "w", **definition})
        self.definition: Definition = definition
        self.now_ms = 1
        self.log: list[tuple[int, ev.Event]] = []
        self.decisions: list[Any] = []
        self.sends: list[tuple[EntityKey, Any]] = []
        self.made: list[Any] = []  # what was decided last
        self.sent: list[tuple[EntityKey, Any]] = []  # what was sent last
        self.blobs: dict[str, Any] = {}  # values that are stored out of line, by SHA-256
        self.rounds = 0  # how often the last decision asked for such values
        self._plans = Plans(chain_steps, depth_max)
        self._take = take  # asks for room in a worker pool

    # --- facts ---

    def submit(self, inputs: Any = None, **fields: Any) -> Self:
        """Begins the run; `fields` are further ones of `RunSubmitted`."""
        return self.begin(self.submission(inputs, **fields))

    def submission(self, inputs: Any = None, **fields: Any) -> ev.RunSubmitted:
        """Returns the event that submits the run."""
        definition = self.definition.canonical()
        known = {"workflow": self.definition.name, "version": self.definition.version, "definition": definition}
        return ev.RunSubmitted(**{**base(ts=self.now_ms), **known, "inputs": _payload(inputs or {}), **fields})

    def begin(self, event: ev.RunSubmitted) -> Self:
        """Begins the run with an event that is there already, for example one that another run has sent."""
        return self.start(event).decide()

    def start(self, event: ev.RunSubmitted) -> Self:
        """Writes the event that begins the run to the log. Nothing is decided yet."""
        state = new_state(event, self.append(event))
        self.run = Run(state, self._plans.get(state.definition))
        return self

    def tell(self, event_type: type[ev.Event], /, **fields: Any) -> Self:
        """Writes a fact to the log, applies it and decides."""
        return self.add(event_type(**{**base(self.state.run, self.now_ms), **fields}))

    def add(self, fact: ev.Event) -> Self:
        """Writes this fact to the log, applies it and decides."""
        self.apply(fact)
        return self.decide()

    def completes(self, step: str, output: Any = None, **fields: Any) -> Self:
        """A worker reports success. The output is a value or a Payload."""
        known = {"step": step, "attempt": self._attempt(step), "output": _payload(output)}
        return self.tell(ev.StepCompleted, **{**known, **fields})

    def fails(self, step: str, error: StepError = REFUSED, **fields: Any) -> Self:
        """A worker reports a failure, by itself one that is final."""
        return self.tell(ev.StepFailed, **{"step": step, "attempt": self._attempt(step), "error": error, **fields})

    def is_unknown(self, step: str) -> Self:
        """A worker was lost, so that it is unknown whether the step took effect."""
        return self.tell(ev.StepOutcomeUnknown, step=step, attempt=self._attempt(step))

    def child_ends(self, step: str, status: str = "completed", output: Any = None, **fields: Any) -> Self:
        """The run of a subworkflow reports its end."""
        known = {"step": step, "attempt": self._attempt(step), "child": self.state.steps[step].child}
        return self.tell(ev.ChildEnded, **{**known, "status": status, "output": _payload(output), **fields})

    def fires(self, timer: str) -> Self:
        """A timer of the run fires, at its time or, if that has passed, now. It may be one that is not set any more."""
        found = self.timer(timer)
        self.now_ms = max(self.now_ms, found.fire_at)
        return self.tell(ev.TimerFired, timer=timer, kind=found.kind, step=found.step, attempt=found.attempt)

    def cancels(self, **fields: Any) -> Self:
        """Somebody cancels the run."""
        return self.tell(ev.RunCancelRequested, **fields)

    def plays(self, output: Any = None) -> Self:
        """Plays the run to its end: workers succeed with this output, and timers fire when no worker has a task."""
        while not self.status.terminal:
            if tasks := self.open_tasks():
                self.completes(tasks[0].step, output)
            else:
                self.fires(min(self.state.timers, key=lambda name: self.state.timers[name].fire_at))
        return self

    # --- single parts of a turn ---

    def at(self, now_ms: int) -> Self:
        """Sets the time."""
        self.now_ms = now_ms
        return self

    def append(self, event: ev.Event) -> int:
        """Writes an event to the log alone; returns its sequence."""
        self.log.append((len(self.log) + 1, ev.decode(ev.encode(event))))
        return len(self.log)

    def apply(self, fact: ev.Event) -> Self:
        """Writes a fact to the log and applies it. Nothing is decided yet."""
        self.run.apply(fact, self.append(fact))
        return self

    def decide(self) -> Self:
        """Decides everything that can be decided now. Values that are stored out of line are fetched."""
        fetched: dict[str, Any] = {}
        self.made, self.sent, self.rounds = [], [], 0
        while True:
            self.out = decide(self.run, self.now_ms, fetched, self._take)
            for decision in self.out.decisions:
                self.state.out_seq = self.append(decision)
            self.made += self.out.decisions
            self.decisions += self.out.decisions
            self.sent += self.out.sends
            self.sends += self.out.sends
            found = {ref.sha256: self.blobs[ref.sha256] for ref in self.out.needs if ref.sha256 in self.blobs}
            if not found.keys() - fetched.keys():
                return self
            fetched |= found
            self.rounds += 1

    def crash(self, keep: int | None = None) -> Self:
        """Folds the run anew from its log. Of what was decided last the log keeps the first `keep`."""
        if keep is not None:
            lost = len(self.made) - keep
            del self.log[len(self.log) - lost :]
            del self.decisions[len(self.decisions) - lost :]
        self.made, self.sent = [], []
        self.run = Run(self.refolded(), self.run.plan)
        return self

    def store(self, value: Any, size: int = 0) -> Payload:
        """Stores a value out of line; `size` is what its reference says."""
        data = msgspec.json.encode(value)
        ref = BlobRef(hashlib.sha256(data).hexdigest(), size or len(data))
        self.blobs[ref.sha256] = value
        return Payload(ref=ref)

    # --- what became of it ---

    @property
    def state(self) -> RunState:
        return self.run.state

    @property
    def status(self) -> RunStatus:
        return self.state.status

    @property
    def error(self) -> StepError:
        """The error of a run that failed."""
        assert self.state.error is not None, f"the run is {self.status}"
        return self.state.error

    @property
    def output(self) -> Any:
        """The output of a run that completed."""
        assert self.status is RunStatus.COMPLETED, self.state.error
        assert self.state.output is not None
        return self.state.output.value

    @property
    def statuses(self) -> dict[str, str]:
        """The status of each step."""
        return {key: str(step.status) for key, step in self.state.steps.items()}

    @property
    def offered(self) -> list[str]:
        """The steps that workers were offered, in order."""
        return [task.step for task in self.of(ev.StepScheduled)]

    def inputs(self, step: str) -> Any:
        """Returns the inputs with which a step was offered, the newest time if there were several."""
        return next(task.inputs for task in reversed(self.of(ev.StepScheduled)) if task.step == step)

    def of(self, kind: type[E]) -> list[E]:
        """Returns all decisions of a type."""
        return [decision for decision in self.decisions if isinstance(decision, kind)]

    def undone(self) -> list[str]:
        """Returns the steps whose compensation was offered last."""
        offered = [decision.step for decision in self.made if isinstance(decision, ev.StepScheduled)]
        return [step.removesuffix(":undo") for step in offered if step.endswith(":undo")]

    def open_tasks(self) -> list[ev.StepScheduled]:
        """Returns the tasks that a worker has, or could have."""
        steps = self.state.steps
        return [
            task
            for task in self.of(ev.StepScheduled)
            if steps[task.step].status in ACTIVE and steps[task.step].attempt == task.attempt
        ]

    def timer(self, name: str) -> TimerState:
        """Returns a timer that is set, or that was."""
        known = self.state.timers.get(name)
        if known is not None:
            return known
        for decision in reversed(self.of(ev.TimerSet)):
            if decision.timer == name:
                return TimerState(decision.kind, decision.fire_at, decision.step, decision.attempt)
        raise LookupError(f"no timer {name} was set; these are: {', '.join(self.state.timers) or 'none'}")

    def refolded(self) -> RunState:
        """Returns the state that the log gives."""
        state = fold(self.log)
        assert state is not None
        return state

    def check_log(self) -> Self:
        """Raises AssertionError unless the log gives the state that is in memory."""
        assert state_hash(self.refolded()) == state_hash(self.state)
        return self

    def _attempt(self, step: str) -> int:
        known = self.state.steps.get(step)
        return known.attempt if known is not None else 1


def _payload(output: Any) -> Payload:
    return output if isinstance(output, Payload) else Payload(value=output)
