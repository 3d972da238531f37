"""The fold of a run's events: what may be known of a run, from its log alone.

`evolve(state, event, seq)` records facts and decisions; it decides nothing, reads no clock and needs no definition. The
scheduler, the gateway's answers and every replay use this one fold, so they agree bit for bit.

Order. Facts (`...in`) and decisions (`...out.*`) are written by different processes, so a fact may stand in the log
before a decision that was taken without it. Each decision carries `seen`, the newest fact that it knew; `fold` holds a
fact back until a decision that had seen it (or the end of the log), which is exactly the order the scheduler lived.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from agentflow_common import events as ev
from agentflow_common.events import StepError
from agentflow_common.runstate import ACTIVE, RunState, RunStatus, StepState, StepStatus, TimerState


def evolve(state: RunState, event: ev.Event, seq: int) -> None:
    """Folds one event into the state, in place. A sequence that was folded before changes nothing."""
    if isinstance(event, ev.Decision):
        if 0 < seq <= state.out_seq:
            return
        if seq:
            state.out_seq = seq
        _DECISIONS[type(event)](state, event)
    else:
        handler = _FACTS.get(type(event))
        if handler is None or 0 < seq <= state.facts_seq:
            return
        if seq:
            state.facts_seq = seq
        handler(state, event)


def new_state(event: ev.RunSubmitted, seq: int) -> RunState:
    """The state that `run.submitted` begins."""
    return RunState(
        org=event.org,
        run=event.run,
        workflow=event.workflow,
        version=event.version,
        definition=event.definition,
        inputs=event.inputs,
        prompts=event.prompts,
        budget_nano=event.budget_nano,
        deadline_ms=event.deadline_ms,
        tags=event.tags,
        trace=event.trace,
        digest=event.digest,
        submitted_at=event.ts,
        redactions=dict(event.redactions),
        steps={},
        timers={},
        facts_seq=seq,
    )


class RunFold:
    """Feeds a run's log in sequence order; `state` is None until `run.submitted` has come."""

    def __init__(self, state: RunState | None = None) -> None:
        self.state = state
        self._held: deque[tuple[int, ev.AnyEvent]] = deque()

    def add(self, event: ev.AnyEvent, seq: int) -> None:
        if isinstance(event, ev.Decision):
            while self._held and self._held[0][0] <= event.seen:
                self._apply(*self._held.popleft())
            self._apply(seq, event)
        elif type(event) in _FACTS or isinstance(event, ev.RunSubmitted):
            self._held.append((seq, event))

    def finish(self) -> RunState | None:
        """Folds the facts that no decision has seen yet."""
        while self._held:
            self._apply(*self._held.popleft())
        return self.state

    def _apply(self, seq: int, event: ev.AnyEvent) -> None:
        if self.state is None:
            if isinstance(event, ev.RunSubmitted):
                self.state = new_state(event, seq)
            return
        evolve(self.state, event, seq)


def fold(log: Iterable[tuple[int, ev.AnyEvent]]) -> RunState | None:
    """The state of a run from its events as (sequence, event) in sequence order; None without `run.submitted`."""
    run = RunFold()
    for seq, event in log:
        run.add(event, seq)
    return run.finish()


# --- facts ---


def _submitted(_state: RunState, _event: ev.RunSubmitted) -> None:
    """A second submission can't be: the first one is fenced with sequence 0."""


def _cancel_requested(state: RunState, event: ev.RunCancelRequested) -> None:
    if not state.status.terminal:
        state.cancel_requested = True
        state.cancel_reason = state.cancel_reason or event.reason


def _active(state: RunState, key: str, attempt: int) -> StepState | None:
    """The step if this attempt is the one that is offered or runs; None for a late or unknown report."""
    step = state.steps.get(key)
    if step is None or step.attempt != attempt or step.status not in ACTIVE:
        return None
    return step


def _started(state: RunState, event: ev.StepStarted) -> None:
    step = _active(state, event.step, event.attempt)
    if step is not None:
        step.status = StepStatus.RUNNING
        step.started_at = event.ts


def _count_usage(state: RunState, llm: ev.LlmUsage | None) -> None:
    """Money spent counts even when the report comes too late to be used."""
    if llm is not None:
        state.cost_nano += llm.cost_nano
        state.input_tokens += llm.input_tokens
        state.output_tokens += llm.output_tokens


def _drop_timeout(state: RunState, key: str, attempt: int) -> None:
    if state.timers:
        state.timers.pop(f"timeout:{key}:{attempt}", None)


def _completed(state: RunState, event: ev.StepCompleted) -> None:
    _count_usage(state, event.llm)
    step = _active(state, event.step, event.attempt)
    if step is None:
        return
    _drop_timeout(state, event.step, event.attempt)
    for entity, count in event.redactions.items():
        state.redactions[entity] = state.redactions.get(entity, 0) + count
    step.status = StepStatus.COMPLETED
    step.output = event.output
    step.error = None
    step.started_at = event.started_at or step.started_at
    step.finished_at = event.ts
    step.llm = event.llm


def _failed(state: RunState, event: ev.StepFailed) -> None:
    _count_usage(state, event.llm)
    step = _active(state, event.step, event.attempt)
    if step is None:
        return
    _drop_timeout(state, event.step, event.attempt)
    step.status = StepStatus.FAILED
    step.error = event.error
    step.started_at = event.started_at or step.started_at
    step.finished_at = event.ts
    step.llm = event.llm


def _outcome_unknown(state: RunState, event: ev.StepOutcomeUnknown) -> None:
    step = _active(state, event.step, event.attempt)
    if step is not None:
        _drop_timeout(state, event.step, event.attempt)
        step.status = StepStatus.OUTCOME_UNKNOWN
        step.finished_at = event.ts
        step.error = StepError(
            "outcome_unknown", "the worker vanished after it had begun this non-idempotent step", retryable=False
        )


def _timer_fired(state: RunState, event: ev.TimerFired) -> None:
    timer = state.timers.pop(event.timer, None)
    if timer is None or state.status.terminal:
        return
    if timer.kind == "deadline":
        state.deadline_passed = True
        return
    step = state.steps.get(timer.step)
    if step is None or step.attempt != timer.attempt:
        return
    if (timer.kind == "retry" and step.status is StepStatus.RETRYING) or (
        timer.kind == "step_timeout" and step.status in ACTIVE
    ):
        step.due = True


# --- decisions ---


def _run_started(state: RunState, event: ev.RunStarted) -> None:
    state.status = RunStatus.RUNNING
    state.started_at = event.ts


def _scheduled(state: RunState, event: ev.StepScheduled) -> None:
    step = state.step(event.step)
    step.status = StepStatus.SCHEDULED
    step.attempt = event.attempt
    step.kind = event.kind
    step.scheduled_at = event.ts
    step.started_at = step.finished_at = 0
    step.due = False
    state.timers.pop(f"retry:{event.step}:{event.attempt - 1}", None)


def _expanded(state: RunState, event: ev.StepExpanded) -> None:
    step = state.step(event.step)
    step.status = StepStatus.RUNNING
    step.width = event.width
    step.scheduled_at = step.started_at = event.ts


def _close(state: RunState, key: str, status: StepStatus, ts: int) -> StepState:
    step = state.step(key)
    _drop_timeout(state, key, step.attempt)
    step.status = status
    step.finished_at = ts
    step.due = False
    return step


def _joined(state: RunState, event: ev.StepJoined) -> None:
    _close(state, event.step, StepStatus(event.status), event.ts)


def _skipped(state: RunState, event: ev.StepSkipped) -> None:
    _close(state, event.step, StepStatus.SKIPPED, event.ts).reason = event.reason


def _step_cancelled(state: RunState, event: ev.StepCancelled) -> None:
    _close(state, event.step, StepStatus.CANCELLED, event.ts).reason = event.reason


def _timed_out(state: RunState, event: ev.StepTimedOut) -> None:
    step = _close(state, event.step, StepStatus.FAILED, event.ts)
    step.error = StepError("timeout", f"no result within {event.timeout_ms} ms")


def _undecidable(state: RunState, event: ev.StepUndecidable) -> None:
    _close(state, event.step, StepStatus.FAILED, event.ts).error = event.error


def _timer_set(state: RunState, event: ev.TimerSet) -> None:
    state.timers[event.timer] = TimerState(event.kind, event.fire_at, event.step, event.attempt)
    if event.kind == "retry":
        step = state.step(event.step)
        step.status = StepStatus.RETRYING
        step.due = False


def _end(state: RunState, status: RunStatus, ts: int) -> None:
    state.status = status
    state.finished_at = ts
    state.timers.clear()


def _run_completed(state: RunState, event: ev.RunCompleted) -> None:
    _end(state, RunStatus.COMPLETED, event.ts)
    state.output = event.output


def _run_failed(state: RunState, event: ev.RunFailed) -> None:
    _end(state, RunStatus.FAILED, event.ts)
    state.error = event.error


def _run_cancelled(state: RunState, event: ev.RunCancelled) -> None:
    _end(state, RunStatus.CANCELLED, event.ts)
    state.cancel_reason = event.reason


_FACTS: Final[dict[type[ev.Event], Any]] = {
    ev.RunSubmitted: _submitted,
    ev.RunCancelRequested: _cancel_requested,
    ev.StepStarted: _started,
    ev.StepCompleted: _completed,
    ev.StepFailed: _failed,
    ev.StepOutcomeUnknown: _outcome_unknown,
    ev.TimerFired: _timer_fired,
}
_DECISIONS: Final[dict[type[ev.Event], Any]] = {
    ev.RunStarted: _run_started,
    ev.StepScheduled: _scheduled,
    ev.StepExpanded: _expanded,
    ev.StepJoined: _joined,
    ev.StepSkipped: _skipped,
    ev.StepCancelled: _step_cancelled,
    ev.StepTimedOut: _timed_out,
    ev.StepUndecidable: _undecidable,
    ev.TimerSet: _timer_set,
    ev.RunCompleted: _run_completed,
    ev.RunFailed: _run_failed,
    ev.RunCancelled: _run_cancelled,
}
