"""What must hold between the events of one run, in the order in which its schedulers lived them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from afsim import early, failing, finals, joins, locks, maps, run_lanes, timeouts
from afsim.sends import Sends
from afsim.together import state_of
from afsim.workload import mark
from agentflow_common import events as ev
from agentflow_common.definition.dependencies import dependencies
from agentflow_common.definition.model import Definition
from agentflow_common.definition.nodes.calls import works
from agentflow_common.events import Payload
from agentflow_common.expressions.language import walk
from agentflow_common.runs.fold import RunFold
from agentflow_common.runs.state import (
    ACTIVE,
    OPEN,
    UNDO,
    RunState,
    StepState,
    StepStatus,
    child_key,
    current_key,
    iteration_key,
    node_of,
    parent_of,
    undo_key,
    undoing_steps,
)
from agentflow_scheduler.replay.state_hash import state_hash

DECIDED = {StepStatus.COMPLETED, StepStatus.FAILED, StepStatus.SKIPPED, StepStatus.CANCELLED,
           StepStatus.OUTCOME_UNKNOWN}  # fmt: skip
_ATTEMPTS = (ev.StepScheduled, ev.StepQueued, ev.StepWaiting)
_BEGINS = (*_ATTEMPTS, ev.StepExpanded, ev.StepIterated, ev.StepSkipped)
_AFTER_CANCEL = (ev.RunStarted, ev.RunCancelling, ev.RunCancelled, ev.RunCompensating, ev.RunFinishing,
                 ev.StepCancelled, ev.TimerSet)  # fmt: skip
_NOBODY = StepState()


def _gives_back(event: ev.Event) -> bool:
    """The slot of a lane that what is paused was granted."""
    return isinstance(event, ev.StepQueued) and not event.lane


def is_attempt(step: StepState) -> bool:
    """Offered or running, and not a whole of which parts run."""
    return step.status in ACTIVE and step.width < 0 and step.kind != "loop"


def _completed_twice(step: StepState) -> bool:
    """True if two subworkflows of the step completed, one of them after its time: one compensation undoes one."""
    return bool(step.child) and step.late is not None and step.status is StepStatus.COMPLETED


def _took_effect(step: StepState) -> bool:
    return step.status is StepStatus.COMPLETED or step.late is not None


class Rules(RunFold):
    """Folds a run and checks each decision against the state in which it was taken."""

    def __init__(self, definition: Definition, fail: Callable[[str], None], look: Callable[[Payload], Any]) -> None:
        super().__init__()
        self.fail = fail
        self.look = look
        self.nodes = {node.id: node for node in definition.dag.nodes}
        self.sources = dependencies(definition)
        self.edges = definition.dag.edges
        self.bounds = {f"{e.source}->{e.target}": e.max_iterations for e in definition.dag.edges if e.max_iterations}
        self.supersteps = definition.graph.max_supersteps if definition.graph else None
        self.effective: Counter[tuple[str, int]] = Counter()
        self.taken: Counter[Any] = Counter()  # signals
        self.ended = False
        self.sends = Sends(self)

    def _apply(self, seq: int, event: ev.Event) -> None:
        """Folds reports that were written together one by one. The state must be the one that the event gives."""
        *before, newest = ev.single(event)
        if not before:
            self._apply_single(seq, newest)
            return
        together = state_of(self.state, event, seq)
        for report in before:
            self._apply_single(0, report)
        self._apply_single(seq, newest)
        if state_hash(self.state) != together:
            self.fail(f"{ev.step_of(newest)} and the steps before it have another state than reported one by one")

    def _apply_single(self, seq: int, event: ev.Event) -> None:
        state = self.state
        if state is None:
            super()._apply(seq, event)
            return
        key = getattr(event, "step", "")
        step = state.steps.get(key, _NOBODY)
        before = (step.status, step.attempt)
        counts = step.status in ACTIVE and getattr(event, "attempt", 0) == step.attempt
        begun = event.begun.step if isinstance(event, ev.StepCompleted) and event.begun is not None else ""
        waited = begun not in state.steps
        if isinstance(event, ev.Decision) and not self.ended:
            self._decision(state, event, key, step)
            self.ended = isinstance(event, ev.TERMINAL_RUN)
        super()._apply(seq, event)
        if isinstance(event, ev.StepCompleted) and counts:
            self._given(state, key, event)
        if begun and counts:
            self._goes_on(state, event, begun)
        elif begun and waited and begun in state.steps:
            self.fail(f"{key} was over, and its worker's late word began {begun}")
        after = state.steps.get(key, _NOBODY)
        if before[0] in ACTIVE and step.width < 0 and after.status not in ACTIVE:
            self.effective[key, before[1]] += 1
        if self.poison:
            self.fail(f"{ev.event_type(event)} can't be folded")

    def _decision(self, state: RunState, event: ev.Decision, key: str, step: StepState) -> None:
        self._may_decide(state, event, key)
        if isinstance(event, _BEGINS):
            self._begins(state, event, key, step)
        if isinstance(event, _ATTEMPTS):
            self._attempt(state, event, key, step)
        check = _CHECKS.get(type(event))
        if check is not None:
            check(self, state, event, key, step)
        elif isinstance(event, ev.TERMINAL_RUN):
            self._end(state, event)

    def _goes_on(self, state: RunState, event: ev.StepCompleted, key: str) -> None:
        """A worker began a step by itself: one that nobody has to decide anything about."""
        self._begins(state, event, key, _NOBODY)
        node = self.nodes[key]
        timed = node.policy.timeout_ms or node.policy.total_timeout_ms or node.policy.heartbeat_ms
        if node.condition or node.config.condition or node.is_keyed or timed or node.compensate_with:
            self.fail(f"a worker went on with {key}, which was the scheduler's to decide")
        if key not in state.steps or state.steps[key].attempt != 1:
            self.fail(f"{key} was begun and is not under way")
        if state.steps[event.step].lane:
            self.fail(f"the slot of {event.step} is kept while {key} runs")

    def _given(self, state: RunState, key: str, event: ev.StepCompleted) -> None:
        """A plain step was given what the log says of the steps before it."""
        output = self.look(event.output)
        if key not in self.nodes or state.superstep or state.visits or not isinstance(output, dict):
            return
        node = self.nodes[key]
        if node.join != "all":  # of a step that was not decided when it began, it was given null
            return
        names = sorted(name for name in getattr(node.config, "inputs", ()) if name.startswith("from"))
        for name, got in zip(names, output.get("got", ()), strict=False):
            source, *path = str(node.config.inputs[name]).removesuffix(".output").replace(".output.", " ").split()
            step = state.steps[source]  # what failed and is continued gives null, a loop that kept its last output too
            value = self.look(step.output or Payload()) if step.status is StepStatus.COMPLETED else None
            wanted = mark(walk(value, tuple(path), name))
            if got != wanted:
                self.fail(f"{key} was given {got} for {name}, and the log says {wanted}")

    # --- when nothing may be decided ---

    def _may_decide(self, state: RunState, event: ev.Decision, key: str) -> None:
        name = ev.event_type(event)
        timer = isinstance(event, ev.TimerSet)
        deadline = timer and event.kind == "deadline"  # type: ignore[attr-defined]
        if state.finishing is not None:
            finals.check_decision(self, state, event, key)
        elif state.ending is not None:
            named = isinstance(event, ev.RunCompensating) and state.ending.children and not event.children
            ends = isinstance(event, (*ev.TERMINAL_RUN, ev.RunFinishing))
            if key and not key.endswith(UNDO) and not (named or ends):
                self.fail(f"{name} of {key} while the run is compensated")
        elif state.cancel_requested:
            if not isinstance(event, _AFTER_CANCEL) or (timer and key):
                self.fail(f"{name} after the cancel was seen")
            in_grace = state.cancel_grace_ms and not state.cancel_forced
            if in_grace and isinstance(event, ev.StepCancelled) and is_attempt(state.steps[key]):
                self.fail(f"{key} was closed in the grace period")
        elif (
            state.pause_requested
            and not (state.deadline_passed or deadline or (timer and event.kind == "pause"))  # type: ignore[attr-defined]
            and not isinstance(event, ev.RunStarted | ev.RunPaused | ev.RunBreakpointsSet)
            and not _gives_back(event)
        ):
            self.fail(f"{name} while the run is paused")

    # --- steps ---

    def is_settled(self, step: StepState | None, node: str) -> bool:
        if step is None or step.status not in DECIDED:
            return False
        return step.status is not StepStatus.OUTCOME_UNKNOWN or self.nodes[node].policy.on_unknown != "ask"

    def _begins(self, state: RunState, event: Any, key: str, step: StepState) -> None:
        run_lanes.check_begin(self, state, key)
        locks.check_begin(self, state, event, key)
        if key.endswith(UNDO):
            self._begins_to_undo(state, key)
            return
        if finals.is_last(self, key):
            finals.check_begins(self, state, key)
        else:
            early.check_begins(self, state, key)
        parent = parent_of(key)
        if parent is not None:
            if state.steps.get(parent, _NOBODY).status is not StepStatus.RUNNING:
                self.fail(f"{key} began though {parent} is not under way")
            self._concurrency(state, parent, key, step)
            maps.check_item(self, event, key)
        elif state.superstep and not finals.is_last(self, key):
            if key not in state.active:
                self.fail(f"{key} began out of its superstep")
        elif step.status is StepStatus.PENDING and joins.is_met(self, state, node_of(key)):
            joins.check_begins(self, state, node_of(key))
        elif step.status is StepStatus.PENDING and not getattr(event, "lost_to", ""):
            for source, _ in self.sources[node_of(key)]:
                if not self.is_settled(state.steps.get(current_key(state, source)), source):
                    self.fail(f"{key} began before {source} was decided")

    def _begins_to_undo(self, state: RunState, key: str) -> None:
        ending = state.ending
        if ending is None or key.removesuffix(UNDO) not in ending.steps:
            self.fail(f"{key} began though the run is not compensated")
            return
        for earlier in ending.steps[: ending.steps.index(key.removesuffix(UNDO))]:
            if state.steps.get(undo_key(earlier), _NOBODY).status not in DECIDED:
                self.fail(f"{key} began before {undo_key(earlier)} was over")

    def _concurrency(self, state: RunState, parent: str, key: str, step: StepState) -> None:
        bound = getattr(maps.config_of(self, parent), "concurrency", None)
        if bound is None or step.status is not StepStatus.PENDING:
            return
        parts = (state.steps.get(child_key(parent, i)) for i in range(state.steps[parent].width))
        if sum(part is not None and not self.is_settled(part, node_of(parent)) for part in parts) >= bound:
            self.fail(f"{key} is one more than {parent} may run at a time")

    def _attempt(self, state: RunState, event: Any, key: str, step: StepState) -> None:
        base = parent_of(key)
        begins = not key.endswith(UNDO) and not _gives_back(event)
        if begins and (step.expired or (base is not None and state.steps[base].expired)):
            self.fail(f"{key} attempt {event.attempt} began after its total time")
        if isinstance(event, ev.StepScheduled):
            self.sends.check_offered(event, key)
        if isinstance(event, ev.StepScheduled) and step.status is StepStatus.QUEUED:
            if not step.granted:
                self.fail(f"{key} was offered without a slot")
            return
        if isinstance(event, ev.StepQueued) and step.status is StepStatus.QUEUED:
            if event.attempt != step.attempt or bool(event.lane) == bool(step.lane):
                self.fail(f"{key} was queued again in {event.lane!r}, it is in {step.lane!r}")
            elif not event.lane and not step.granted:
                self.fail(f"{key} gave back a slot that it had not")
            return
        if event.attempt != step.attempt + 1:
            self.fail(f"{key} attempt {event.attempt} follows {step.attempt}")
        if step.status is StepStatus.RETRYING and not step.due:
            self.fail(f"{key} was tried again before its time")
        if step.status is StepStatus.OUTCOME_UNKNOWN and not key.endswith(UNDO):
            kind = works(self.nodes[node_of(key)])[0].type
            if (self.nodes[node_of(key)].policy.on_unknown or ("retry" if kind == "llm" else "fail")) != "retry":
                self.fail(f"{key} was tried again though nobody knows what became of it")
        elif step.status not in {StepStatus.PENDING, StepStatus.FAILED, StepStatus.RETRYING,
                                 StepStatus.OUTCOME_UNKNOWN}:  # fmt: skip
            self.fail(f"{key} was begun again, it is {step.status}")

    # --- single decisions ---

    def _resolved(self, state: RunState, event: Any, key: str, step: StepState) -> None:
        if self.nodes[node_of(key)].type == "continue_as_new" and event.status == "completed":
            self._continues(state, key)
        if event.signal:
            kept = state.signals.get(event.signal, [])
            if not kept or kept[0] != event.output:
                self.fail(f"{key} took a signal that is not the oldest kept")
            self.taken[event.output.value] += 1
            if self.taken[event.output.value] > 1:
                self.fail(f"{key} took a signal that was taken before")
        if step.waiting == "approval" and event.status == "completed":
            output = event.output.value
            if output["approved"] and not output.get("expired"):
                config = self.nodes[node_of(key)].config
                allowed = {*config.approvers, *(config.escalate_to if step.detail.get("escalated") else ())}
                people = {answer.by for answer in step.answers if answer.decision == "approve"} & allowed
                if len(people) < config.required:
                    self.fail(f"{key} was approved by {sorted(people)}, {config.required} are required")

    def _continues(self, state: RunState, key: str) -> None:
        """Beside it steps may only wait, for a time, a signal or people: a subworkflow runs."""
        for name, step in state.steps.items():
            whole = parent_of(name) is None
            unknown = whole and step.status is StepStatus.OUTCOME_UNKNOWN and not self.is_settled(step, node_of(name))
            if unknown or (step.status in OPEN and (step.status is not StepStatus.WAITING or step.child)):
                self.fail(f"{key} goes on as a new run while {name} is {step.status}")

    def _iterated(self, state: RunState, event: Any, key: str, step: StepState) -> None:
        if event.iteration != step.iteration + 1 or event.iteration > self.nodes[node_of(key)].config.max_iterations:
            self.fail(f"{key} has an iteration {event.iteration} after {step.iteration}")
        last = state.steps.get(iteration_key(key, step.iteration), _NOBODY)
        if step.iteration and last.status is not StepStatus.COMPLETED:
            self.fail(f"{key} goes on though its iteration {step.iteration} is {last.status}")

    def _reset(self, state: RunState, event: Any, _key: str, _step: StepState) -> None:
        bound = self.bounds.get(event.edge, 0)
        if event.iteration > bound or event.iteration != state.taken.get(event.edge, 0) + 1:
            self.fail(f"the back edge {event.edge} was taken {event.iteration} times, {bound} are allowed")
        for name in event.steps:
            if not self.is_settled(state.steps.get(current_key(state, name)), name):
                self.fail(f"{name} is run again before it was over")

    def _skipped(self, state: RunState, event: Any, key: str, _step: StepState) -> None:
        if event.lost_to:
            joins.check_lost(self, state, event, key)
        elif self.nodes[node_of(key)].join == "all":
            failing.check_skipped(self, state, key)
        else:
            joins.check_skipped(self, state, node_of(key))

    def _cancelled(self, state: RunState, event: Any, key: str, _step: StepState) -> None:
        if event.lost_to:
            joins.check_lost(self, state, event, key)

    def _advanced(self, state: RunState, event: Any, _key: str, _step: StepState) -> None:
        failing.check_advanced(self, state, event)
        self.sends.check_advanced(state, event)
        if self.supersteps is not None and event.superstep > self.supersteps:
            self.fail(f"superstep {event.superstep} of {self.supersteps}")
        for name in state.active:
            if not self.is_settled(state.steps.get(name), node_of(name)):
                self.fail(f"the graph went on before {name} was decided")
        for edge in event.taken:
            if state.taken.get(edge, 0) + 1 > self.bounds.get(edge, 0):
                self.fail(f"the edge {edge} was taken too often")

    def _compensating(self, state: RunState, event: Any, _key: str, _step: StepState) -> None:
        if event.children:
            if event.steps or not set(event.children) <= set(undoing_steps(state)):
                self.fail(f"it waits for {event.children}, and may wait for {undoing_steps(state)}")
            return
        place = {name: index for index, name in enumerate(state.undo)}
        if [place[name] for name in event.steps] != sorted((place[n] for n in event.steps), reverse=True):
            self.fail("the order of compensation is not the reverse of the steps' begin")
        for name in state.undo:
            if _took_effect(state.steps[name]) and name not in event.steps:
                self.fail(f"{name} took effect and is not compensated")

    # --- the end ---

    def _end(self, state: RunState, event: Any) -> None:
        open_steps = [key for key, step in state.steps.items() if step.status in OPEN]
        if open_steps:
            self.fail(f"the run ended while {', '.join(open_steps[:4])} were under way")
        finals.check_end(self, state, event)
        if isinstance(event, ev.RunCompleted):
            if end := early.end_of(self, state):
                early.check_completed(self, state, event, end)
            elif not event.continued_as:
                self._complete(state)
            return
        if isinstance(event, ev.RunFailed):
            failing.check_failed(self, state, event)
        effects = {key for key in state.undo if _took_effect(state.steps[key])}
        undone = {key for key in state.undo if state.steps.get(undo_key(key), _NOBODY).status is StepStatus.COMPLETED}
        half = {key for key in undone if _completed_twice(state.steps[key])}
        if set(event.compensated) != undone - half or not half <= set(event.uncompensated):
            self.fail(f"it says that {sorted(event.compensated)} are compensated, {sorted(undone - half)} are")
        if not effects <= {*event.compensated, *event.uncompensated}:
            self.fail(f"{sorted(effects)} took effect, and the end does not tell what became of them")
        at_end = state.finishing is not None and state.finishing.status == "completed"  # it failed after its work
        if effects and state.ending is None and not (at_end or state.cancel_forced):
            self.fail(f"{sorted(effects)} took effect and were not compensated")

    def _complete(self, state: RunState) -> None:
        names = [node_of(key) for key in state.active] if self.supersteps else list(self.nodes)
        for name in names:
            step = state.steps.get(current_key(state, name))
            if not self.is_settled(step, name):
                self.fail(f"the run completed without {name}")
            elif step is not None and step.status is StepStatus.FAILED and timeouts.fails_run(self.nodes[name], step):
                self.fail(f"the run completed though {name} failed")


_CHECKS: dict[type[ev.Event], Any] = {
    ev.StepExpanded: maps.check_expanded,
    ev.StepJoined: maps.check_joined,
    ev.StepSkipped: Rules._skipped,
    ev.StepCancelled: Rules._cancelled,
    ev.StepResolved: Rules._resolved,
    ev.StepIterated: Rules._iterated,
    ev.StepsReset: Rules._reset,
    ev.GraphAdvanced: Rules._advanced,
    ev.RunCompensating: Rules._compensating,
    ev.RunUnlocked: locks.check_unlocked,
}
