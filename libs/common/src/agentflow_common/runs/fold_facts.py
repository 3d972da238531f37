"""How facts from outside change a run's state. See runs/fold.py."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

import msgspec

from agentflow_common import events as ev
from agentflow_common.events import StepError
from agentflow_common.runs import stops, timer_ids
from agentflow_common.runs.state import (
    ACTIVE,
    UNDO,
    Answer,
    Locks,
    RunState,
    RunStatus,
    StepState,
    StepStatus,
    node_of,
    undoing_key,
)
from agentflow_common.runs.transitions import TIMERS

SIGNALS_MAX: Final = 1_000  # kept ones of a run; the gateway refuses more
SIGNAL_IDS_MAX: Final = 2_000


def drop_timers(state: RunState, key: str, attempt: int) -> None:
    """Removes the timers of an attempt that is over."""
    if state.timers:
        state.timers.pop(timer_ids.timeout(key, attempt), None)
        state.timers.pop(timer_ids.heartbeat(key, attempt), None)


def _submitted(_state: RunState, _event: ev.RunSubmitted) -> None:
    """Does nothing. A second submission can't be in the log, because the first is fenced with sequence 0."""


def _cancel_requested(state: RunState, event: ev.RunCancelRequested) -> None:
    if not state.status.terminal:
        grace_ms = min(state.cancel_grace_ms, event.grace_ms) if state.cancel_requested else event.grace_ms
        state.cancel_grace_ms = grace_ms  # asked again it may become shorter
        state.cancel_requested = True
        state.cancel_forced = state.cancel_forced or event.force
        state.cancel_reason = state.cancel_reason or event.reason


def _pause_requested(state: RunState, event: ev.RunPauseRequested) -> None:
    if state.status.terminal:
        return
    if not state.pause_requested:
        state.pause_requested = True
        state.pause_reason = event.reason
        state.paused_by = event.by
    _pause_until(state, event.until)


def _pause_until(state: RunState, until: int) -> None:
    if state.paused_until != until:
        state.timers.pop(timer_ids.pause_end(state.paused_until), None)
        state.paused_until = until


def _resume_requested(state: RunState, _event: ev.RunResumeRequested) -> None:
    state.pause_requested = False
    state.pause_reason = state.paused_by = ""
    _pause_until(state, 0)


def _break_requested(state: RunState, event: ev.RunBreakRequested) -> None:
    if not state.status.terminal:
        state.stops = stops.changed(state.stops, event)


def _continue_requested(state: RunState, event: ev.RunContinueRequested) -> None:
    before = state.stops
    if state.status.terminal:
        return
    state.stops = stops.continued(before, event, lambda key: has_begun(state, key))
    if state.stops is not before:  # it is about the present stop
        for key, output in event.outputs.items():
            step = state.steps.get(key)
            if step is not None and step.status is StepStatus.COMPLETED:
                step.output = output
        state.shared.update(event.state)


def has_begun(state: RunState, key: str) -> bool:
    """True if the step has begun, or was skipped."""
    step = state.steps.get(key)
    return step is not None and step.status is not StepStatus.PENDING


def _signal(state: RunState, event: ev.SignalReceived) -> None:
    if state.status.terminal or (event.id and event.id in state.signal_ids):
        return
    if sum(map(len, state.signals.values())) >= SIGNALS_MAX:
        return
    if event.id:
        state.signal_ids.append(event.id)
        del state.signal_ids[:-SIGNAL_IDS_MAX]
    state.signals.setdefault(event.name, []).append(event.payload)


def _approval(state: RunState, event: ev.ApprovalGiven) -> None:
    step = state.steps.get(event.step)
    if step is None or step.status is not StepStatus.WAITING or step.waiting != "approval":
        return
    approvers = step.detail.get("approvers", ())
    if (approvers and event.by not in approvers) or any(answer.by == event.by for answer in step.answers):
        return
    step.answers = (*step.answers, Answer(event.by, event.decision, event.ts, event.comment, event.data))


def _outcome_resolved(state: RunState, event: ev.OutcomeResolved) -> None:
    step = _current(state, event.step, event.attempt, (StepStatus.OUTCOME_UNKNOWN,))
    over = state.ending is not None or state.finishing is not None
    if step is None or over or not asks(state, event.step):
        return
    step.finished_at = event.ts
    if event.outcome == "completed":
        step.status = StepStatus.COMPLETED
        step.output = event.output
        step.error = None
    elif event.outcome == "retry":
        step.status = StepStatus.RETRYING
        step.due = True
    else:
        step.status = StepStatus.FAILED
        step.error = StepError("outcome_unknown", event.reason or "it was decided that it had failed", retryable=False)


def asks(state: RunState, key: str) -> bool:
    """True if a step whose outcome is unknown waits for a person's answer. Otherwise its policy decides."""
    nodes = state.definition.get("dag", {}).get("nodes", ())
    node = next((found for found in nodes if found.get("id") == node_of(key)), None)
    return node is None or (not key.endswith(UNDO) and (node.get("policy") or {}).get("on_unknown") == "ask")


def _current(state: RunState, key: str, attempt: int, statuses: Collection[StepStatus] = ACTIVE) -> StepState | None:
    """Returns the step if this is its newest attempt and it has one of these statuses. None: the report is late."""
    step = state.steps.get(key)
    if step is None or step.attempt != attempt or step.status not in statuses:
        return None
    return step


def _started(state: RunState, event: ev.StepStarted) -> None:
    step = _current(state, event.step, event.attempt)
    if step is not None:
        step.status = StepStatus.RUNNING
        step.started_at = event.ts


def _progressed(state: RunState, event: ev.StepProgressed) -> None:
    step = _current(state, event.step, event.attempt)
    if step is not None:
        if step.status is StepStatus.SCHEDULED:
            step.status = StepStatus.RUNNING
            step.started_at = event.ts
        step.progress = event.progress
        step.progress_detail = event.detail
        step.beat = True


def _count_cost(state: RunState, spent: ev.LlmUsage | ev.ChildEnded) -> None:
    state.cost_nano += spent.cost_nano
    state.input_tokens += spent.input_tokens
    state.output_tokens += spent.output_tokens


def _reported(state: RunState, event: ev.StepCompleted | ev.StepFailed, status: StepStatus) -> StepState | None:
    """Ends the attempt that a worker reports on. Returns the step, or None if the report is late.

    The cost counts even if the report is late.
    """
    if event.llm is not None:
        _count_cost(state, event.llm)
    step = _current(state, event.step, event.attempt)
    if step is not None:
        drop_timers(state, event.step, event.attempt)
        step.status = status
        step.started_at = event.started_at or step.started_at
        step.finished_at = event.ts
        step.llm = event.llm
    return step


def _completed(state: RunState, event: ev.StepCompleted) -> None:
    """Folds the report of each step in the order in which they were done."""
    for report in event.reports():
        _complete(state, report)


def _complete(state: RunState, event: ev.StepCompleted) -> None:
    step = _reported(state, event, StepStatus.COMPLETED)
    if step is None:
        return
    for category, count in event.redactions.items():
        state.redactions[category] = state.redactions.get(category, 0) + count
    if state.timers:
        state.timers.pop(timer_ids.total(event.step), None)
    step.output = event.output
    step.error = None
    if event.begun is not None and not state.status.terminal:
        _begun(state, event.begun, event.ts)


def _begun(state: RunState, begun: ev.BegunStep, ts: int) -> None:
    """Notes that the worker has begun the next step of the task."""
    following = state.step(begun.step)
    if following.status is StepStatus.PENDING:
        following.status = StepStatus.SCHEDULED
        following.kind = begun.kind
        following.attempt = 1
        following.scheduled_at = ts


def _failed(state: RunState, event: ev.StepFailed) -> None:
    step = _reported(state, event, StepStatus.FAILED)
    if step is not None:
        step.error = event.error
        step.unsure = step.unsure or event.effect


def _outcome_unknown(state: RunState, event: ev.StepOutcomeUnknown) -> None:
    step = _current(state, event.step, event.attempt)
    if step is not None:
        drop_timers(state, event.step, event.attempt)
        step.status = StepStatus.OUTCOME_UNKNOWN
        step.finished_at = event.ts
        step.error = StepError(
            "outcome_unknown", "the worker vanished after it had begun this non-idempotent step", retryable=False
        )


def _child_ended(state: RunState, event: ev.ChildEnded) -> None:
    """Notes the end of a subworkflow, which comes once for each run of it.

    A run that goes on under a new id has the status `continued`. The cost counts even when the end comes too late.
    """
    _count_cost(state, event)
    if undoing_key(event.step, event.attempt) in state.undoing:
        _undone(state, event)
    step = _current(state, event.step, event.attempt, (StepStatus.WAITING,))
    if step is None:
        return
    if event.status == "continued":
        step.child = event.child
        return
    drop_timers(state, event.step, event.attempt)
    step.finished_at = event.ts
    if event.status == "completed":
        state.timers.pop(timer_ids.total(event.step), None)
        step.status = StepStatus.COMPLETED
        step.output = event.output
        step.error = None
    else:
        step.status = StepStatus.FAILED
        step.error = event.error or StepError(f"child_{event.status}", f"the run {event.child} was {event.status}")


def _undone(state: RunState, event: ev.ChildEnded) -> None:
    """Notes the end of a subworkflow whose step was closed before. If it completed, it has undone nothing."""
    key = undoing_key(event.step, event.attempt)
    if event.status == "continued":
        state.undoing[key] = event.child
        return
    del state.undoing[key]
    if event.status == "completed":
        state.step(event.step).late = event.output


def _slot_granted(state: RunState, event: ev.SlotGranted) -> None:
    step = _current(state, event.step, event.attempt, (StepStatus.QUEUED,))
    if step is not None and step.lane:
        step.granted = not event.asked_at or event.asked_at == step.scheduled_at or step.granted


def _slot_refused(state: RunState, event: ev.SlotRefused) -> None:
    step = _current(state, event.step, event.attempt, (StepStatus.QUEUED,))
    if step is not None:
        step.status = StepStatus.FAILED
        step.error = event.error
        step.finished_at = event.ts


def _run_slot_granted(state: RunState, event: ev.RunSlotGranted) -> None:
    locks = _awaited(state, event)
    if locks is not None:
        held = (*locks.held, event.lane)
        state.locks = msgspec.structs.replace(locks, taken=locks.taken + 1, held=held, awaited="")
    elif _awaits_slot(state, event.lane):
        state.slot_granted = True


def _run_slot_refused(state: RunState, event: ev.RunSlotRefused) -> None:
    locks = _awaited(state, event)
    if locks is not None:
        state.locks = msgspec.structs.replace(locks, refused=event.error, awaited="")
    elif _awaits_slot(state, event.lane):
        state.slot_refused = event.error


def _awaited(state: RunState, event: ev.RunSlotGranted | ev.RunSlotRefused) -> Locks | None:
    """Returns the run's locks if the event is about the one that the run waits for."""
    locks = state.locks
    if locks is None or locks.awaited != event.lane or locks.attempt != event.attempt or state.status.terminal:
        return None
    return locks


def _awaits_slot(state: RunState, lane: str) -> bool:
    answered = state.slot_granted or state.slot_refused is not None
    begun = state.status is not RunStatus.PENDING and not state.status.terminal
    return begun and lane == state.run_lane != "" and not answered


def _timer_fired(state: RunState, event: ev.TimerFired) -> None:
    timer = state.timers.get(event.timer)
    if timer is None or event.ts < timer.fire_at:  # a late copy of an earlier timer of this name
        return
    del state.timers[event.timer]
    if state.status.terminal:
        return
    if timer.kind == "deadline":
        state.deadline_passed = True
    elif timer.kind == "grace":
        state.cancel_grace_ms = 0
    elif timer.kind == "children":
        state.patience_over = True
    elif timer.kind == "finally":
        state.finally_over = True
    elif timer.kind == "pause":
        state.pause_requested = False
        state.pause_reason = state.paused_by = ""
        state.paused_until = 0
    else:
        step = state.steps.get(timer.step)
        if step is not None and (step.attempt == timer.attempt or timer.kind == "step_total"):
            _make_due(step, timer.kind)


def _make_due(step: StepState, kind: str) -> None:
    """Marks the step as due: the time of one of its timers has come."""
    if step.status not in TIMERS.get(kind, ()):
        return
    if kind == "step_total":
        step.expired = True
    elif kind == "step_timeout":
        if step.status is StepStatus.WAITING and not step.child:
            return
        step.reason = ""  # no heartbeat puts it off
    elif (kind == "heartbeat" and not step.due) or (kind in {"expire", "escalate"} and step.reason != "expire"):
        step.reason = kind
    step.due = True


FACTS: Final[dict[type[ev.Event], Callable[[RunState, Any], None]]] = {
    ev.RunSubmitted: _submitted,
    ev.RunCancelRequested: _cancel_requested,
    ev.RunPauseRequested: _pause_requested,
    ev.RunResumeRequested: _resume_requested,
    ev.RunBreakRequested: _break_requested,
    ev.RunContinueRequested: _continue_requested,
    ev.SignalReceived: _signal,
    ev.ApprovalGiven: _approval,
    ev.OutcomeResolved: _outcome_resolved,
    ev.StepStarted: _started,
    ev.StepProgressed: _progressed,
    ev.StepCompleted: _completed,
    ev.StepFailed: _failed,
    ev.StepOutcomeUnknown: _outcome_unknown,
    ev.ChildEnded: _child_ended,
    ev.SlotGranted: _slot_granted,
    ev.SlotRefused: _slot_refused,
    ev.RunSlotGranted: _run_slot_granted,
    ev.RunSlotRefused: _run_slot_refused,
    ev.TimerFired: _timer_fired,
}
