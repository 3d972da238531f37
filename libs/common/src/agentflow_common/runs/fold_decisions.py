"""How the scheduler's decisions change a run's state. See runs/fold.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from agentflow_common import events as ev
from agentflow_common.events import StepError
from agentflow_common.log.timers import TimerState
from agentflow_common.runs import timer_ids
from agentflow_common.runs.fold_facts import drop_timers, has_begun
from agentflow_common.runs.state import (
    Ending,
    Finishing,
    Locks,
    RunState,
    RunStatus,
    StepState,
    StepStatus,
    undoing_key,
)
from agentflow_common.runs.stops import Stops


def _run_started(state: RunState, event: ev.RunStarted) -> None:
    state.status = RunStatus.RUNNING
    state.started_at = event.ts


def _begin_attempt(
    state: RunState, event: ev.StepQueued | ev.StepScheduled | ev.StepWaiting, status: StepStatus
) -> StepState:
    step = state.step(event.step)
    step.status = status
    step.attempt = event.attempt
    step.scheduled_at = event.ts
    step.started_at = step.finished_at = 0
    step.due = False
    if state.timers:
        state.timers.pop(timer_ids.retry(event.step, event.attempt - 1), None)
    return step


def _queued(state: RunState, event: ev.StepQueued) -> None:
    step = _begin_attempt(state, event, StepStatus.QUEUED)
    step.lane = event.lane
    step.granted = False
    step.unsure = step.unsure or event.unsure


def _scheduled(state: RunState, event: ev.StepScheduled) -> None:
    step = _begin_attempt(state, event, StepStatus.SCHEDULED)
    step.kind = event.kind
    step.unsure = step.unsure or event.unsure
    if step.beat or step.progress:
        step.beat, step.progress, step.progress_detail = False, 0.0, ""
    if event.undo and event.attempt == 1:
        state.undo.append(event.step)


def _waiting(state: RunState, event: ev.StepWaiting) -> None:
    step = _begin_attempt(state, event, StepStatus.WAITING)
    step.kind = step.waiting = event.kind
    step.started_at = event.ts
    step.until = event.until
    step.child = event.child
    step.detail = event.detail
    step.answers = ()
    step.reason = ""
    if event.undo and event.attempt == 1:
        state.undo.append(event.step)


def _expanded(state: RunState, event: ev.StepExpanded) -> None:
    step = state.step(event.step)
    step.status = StepStatus.RUNNING
    step.width = event.width
    step.keys = event.keys
    step.due = False
    step.scheduled_at = step.started_at = event.ts


def _iterated(state: RunState, event: ev.StepIterated) -> None:
    step = state.step(event.step)
    step.status = StepStatus.RUNNING
    step.kind = "loop"
    step.iteration = event.iteration
    step.due = False
    if event.iteration == 1:
        step.scheduled_at = step.started_at = event.ts


def _close(state: RunState, key: str, status: StepStatus, ts: int) -> StepState:
    step = state.step(key)
    drop_timers(state, key, step.attempt)
    step.status = status
    step.finished_at = ts
    step.due = False
    return step


def _joined(state: RunState, event: ev.StepJoined) -> None:
    step = _close(state, event.step, StepStatus(event.status), event.ts)
    if event.error is not None:
        step.error = event.error


def _resolved(state: RunState, event: ev.StepResolved) -> None:
    step = _close(state, event.step, StepStatus(event.status), event.ts)
    step.output = event.output
    step.error = event.error
    step.reason = ""
    for timer_id in (timer_ids.wait, timer_ids.expire, timer_ids.escalate):
        state.timers.pop(timer_id(event.step), None)
    if event.signal:
        kept = state.signals.get(event.signal, [])
        if len(kept) > 1:
            state.signals[event.signal] = kept[1:]
        else:
            state.signals.pop(event.signal, None)


def _skipped(state: RunState, event: ev.StepSkipped) -> None:
    step = _close(state, event.step, StepStatus.SKIPPED, event.ts)
    step.reason = event.reason
    step.lost_to = event.lost_to


def _step_cancelled(state: RunState, event: ev.StepCancelled) -> None:
    step = _close(state, event.step, StepStatus.CANCELLED, event.ts)
    step.reason = event.reason
    step.lost_to = event.lost_to
    if event.lost_to:  # the run goes on, so a timer of the wait would stay
        for timer_id in (timer_ids.wait, timer_ids.expire, timer_ids.escalate):
            state.timers.pop(timer_id(event.step), None)
        state.timers.pop(timer_ids.delay(event.step, step.iteration), None)
    _await_end(state, event)


def _await_end(state: RunState, event: ev.StepCancelled | ev.StepTimedOut) -> None:
    if event.child:
        state.undoing[undoing_key(event.step, event.attempt)] = event.child


def _timed_out(state: RunState, event: ev.StepTimedOut) -> None:
    step = _close(state, event.step, StepStatus.FAILED, event.ts)
    step.reason = ""
    text = {
        "total": f"no result within {event.timeout_ms} ms, all attempts together",
        "heartbeat": f"no heartbeat within {event.timeout_ms} ms",
    }.get(event.bound, f"no result within {event.timeout_ms} ms")
    if event.cause is not None:
        text += f"; the last error was {event.cause.type}: {event.cause.message}"
    step.error = StepError(
        "heartbeat_timeout" if event.bound == "heartbeat" else "timeout", text, retryable=event.bound != "total"
    )
    _await_end(state, event)


def _undecidable(state: RunState, event: ev.StepUndecidable) -> None:
    _close(state, event.step, StepStatus.FAILED, event.ts).error = event.error


def _timer_set(state: RunState, event: ev.TimerSet) -> None:
    state.timers[event.timer] = TimerState(event.kind, event.fire_at, event.step, event.attempt)
    if event.kind == "retry":
        step = state.step(event.step)
        step.status = StepStatus.RETRYING
        step.due = False
    elif event.kind == "heartbeat":
        step = state.step(event.step)
        step.beat = step.due = False
        step.reason = ""


def _steps_reset(state: RunState, event: ev.StepsReset) -> None:
    state.taken[event.edge] = event.iteration
    for edge in event.inner:
        state.taken.pop(edge, None)
    for node in event.steps:
        state.visits[node] = state.visits.get(node, 1) + 1


def _graph_advanced(state: RunState, event: ev.GraphAdvanced) -> None:
    state.superstep = event.superstep
    state.active = event.steps
    state.shared.update(event.state)
    state.sent.update(event.sent)
    state.arrived.update(event.arrived)
    for edge in event.taken:
        state.taken[edge] = state.taken.get(edge, 0) + 1
    for key in event.steps:
        node, _, visit = key.partition("#")
        if visit:
            state.visits[node] = int(visit)


def _escalated(state: RunState, event: ev.ApprovalEscalated) -> None:
    step = state.step(event.step)
    before = step.detail.get("approvers", ())
    step.detail = {**step.detail, "approvers": [*before, *(name for name in event.approvers if name not in before)]}
    step.detail["escalated"] = True
    step.due = False
    step.reason = ""


def _run_waiting(state: RunState, _event: ev.RunWaiting) -> None:
    state.status = RunStatus.WAITING


def _run_queued(state: RunState, event: ev.RunQueued) -> None:
    state.status = RunStatus.WAITING
    if state.run_lane:
        state.slots = (*state.slots, state.run_lane)
        state.slot_granted = False
    state.run_lane = event.lane
    state.lane_following = event.following


def _run_locking(state: RunState, event: ev.RunLocking) -> None:
    locks = state.locks
    if locks is None or locks.attempt != event.attempt:
        locks = Locks(event.lanes, event.attempt)
    state.locks = msgspec.structs.replace(locks, awaited=event.lane)


def _run_unlocked(state: RunState, event: ev.RunUnlocked) -> None:
    locks = state.locks
    if locks is not None:
        held = tuple(lane for lane in locks.held if lane != event.lane)
        awaited = "" if locks.awaited == event.lane else locks.awaited
        state.locks = msgspec.structs.replace(locks, held=held, awaited=awaited)


def _run_paused(state: RunState, event: ev.RunPaused) -> None:
    state.status = RunStatus.PAUSED
    state.pause_reason = event.reason
    state.paused_by = event.by


def _run_resumed(state: RunState, _event: ev.RunResumed) -> None:
    state.status = RunStatus.RUNNING


def _run_stopped(state: RunState, event: ev.RunStopped) -> None:
    state.status = RunStatus.PAUSED
    stops = state.stops or Stops()
    passed = tuple(key for key in stops.passed if not has_begun(state, key))
    state.stops = msgspec.structs.replace(stops, before=event.steps, number=event.number, passed=passed, to="")


def _breakpoints_set(state: RunState, _event: ev.RunBreakpointsSet) -> None:
    if state.stops is not None:
        state.stops = msgspec.structs.replace(state.stops, asked=False)


def _run_cancelling(state: RunState, _event: ev.RunCancelling) -> None:
    state.cancelling = True


def _run_compensating(state: RunState, event: ev.RunCompensating) -> None:
    state.ending = Ending(event.status, event.steps, event.error, event.step, event.reason, event.children)
    state.status = RunStatus.RUNNING


def _run_finishing(state: RunState, event: ev.RunFinishing) -> None:
    state.finishing = Finishing(
        event.status, event.output, event.error, event.step, event.reason, event.compensated, event.uncompensated
    )
    state.status = RunStatus.RUNNING


def _end(state: RunState, status: RunStatus, ts: int) -> None:
    state.status = status
    state.finished_at = ts
    state.timers.clear()


def _run_completed(state: RunState, event: ev.RunCompleted) -> None:
    _end(state, RunStatus.COMPLETED, event.ts)
    state.output = event.output
    state.continued_as = event.continued_as


def _run_failed(state: RunState, event: ev.RunFailed) -> None:
    _end(state, RunStatus.FAILED, event.ts)
    state.error = event.error


def _run_cancelled(state: RunState, event: ev.RunCancelled) -> None:
    _end(state, RunStatus.CANCELLED, event.ts)
    state.cancel_reason = event.reason
    state.error = event.error


DECISIONS: Final[dict[type[ev.Event], Callable[[RunState, Any], None]]] = {
    ev.RunStarted: _run_started,
    ev.StepQueued: _queued,
    ev.StepScheduled: _scheduled,
    ev.StepWaiting: _waiting,
    ev.StepExpanded: _expanded,
    ev.StepIterated: _iterated,
    ev.StepJoined: _joined,
    ev.StepResolved: _resolved,
    ev.StepSkipped: _skipped,
    ev.StepCancelled: _step_cancelled,
    ev.StepTimedOut: _timed_out,
    ev.StepUndecidable: _undecidable,
    ev.TimerSet: _timer_set,
    ev.StepsReset: _steps_reset,
    ev.GraphAdvanced: _graph_advanced,
    ev.ApprovalEscalated: _escalated,
    ev.RunWaiting: _run_waiting,
    ev.RunQueued: _run_queued,
    ev.RunLocking: _run_locking,
    ev.RunUnlocked: _run_unlocked,
    ev.RunPaused: _run_paused,
    ev.RunResumed: _run_resumed,
    ev.RunStopped: _run_stopped,
    ev.RunBreakpointsSet: _breakpoints_set,
    ev.RunCancelling: _run_cancelling,
    ev.RunCompensating: _run_compensating,
    ev.RunFinishing: _run_finishing,
    ev.RunCompleted: _run_completed,
    ev.RunFailed: _run_failed,
    ev.RunCancelled: _run_cancelled,
}
