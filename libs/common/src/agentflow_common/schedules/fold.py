"""The fold of a schedule's events: shared by the scheduler and the gateway.

Facts (`...in`) and decisions (`...out.*`) interleave as in log/fold.py: a decision says which facts it had seen.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import msgspec

from agentflow_common import events as ev
from agentflow_common.events import Payload, StepError
from agentflow_common.log.fold import LogFold
from agentflow_common.log.timers import TimerState
from agentflow_common.schedules.changes import keeps_times
from agentflow_common.schedules.state import Active, Backfill, Fire, ScheduleState, Waiting

RECENT_MAX: Final = 20  # fires that are kept for people to read
IDS_MAX: Final = 256  # ids of triggers and backfills that are kept, to recognise a repeated one
INBOX_MAX: Final = 2_000  # triggers that are not decided yet; they pile up only while no scheduler runs


def new_state(event: ev.ScheduleCreated, seq: int, out_seq: int = 0) -> ScheduleState:
    """Returns the state that `schedule.created` begins. out_seq: the newest earlier decision about the name."""
    state = ScheduleState(org=event.org, run=event.run, out_seq=out_seq)
    _created(state, event)
    state.facts_seq = seq
    return state


def evolve(state: ScheduleState, event: ev.Event, seq: int) -> None:
    """Folds one event into the state, in place. A sequence that was folded before changes nothing."""
    if isinstance(event, ev.Decision):
        handler = _DECISIONS.get(type(event))
        if handler is None or 0 < seq <= state.out_seq:
            return
        state.since_checkpoint += 1
        handler(state, event)
        state.out_seq = seq or state.out_seq
    else:
        handler = _FACTS.get(type(event))
        if handler is None or 0 < seq <= state.facts_seq:
            return
        state.facts_seq = seq or state.facts_seq
        if not state.deleted or isinstance(event, ev.ScheduleCreated):
            handler(state, event)


class ScheduleFold(LogFold[ScheduleState | None]):
    """The fold of a schedule's log in sequence order. `state` is None before its creation or its first checkpoint.

    The events before a checkpoint may be missing, all or in part, so a checkpoint replaces the state.
    """

    def __init__(self, state: ScheduleState | None = None) -> None:
        super().__init__(state, _FACTS, evolve, self._created)
        self._newest = 0  # the sequence of the newest decision about an earlier schedule of this name

    def _created(self, event: ev.Event, seq: int) -> ScheduleState | None:
        if isinstance(event, ev.Decision):
            self._newest = max(self._newest, seq)
        return new_state(event, seq, self._newest) if isinstance(event, ev.ScheduleCreated) else None

    def add(self, event: ev.Event, seq: int) -> None:
        state = self.state
        if isinstance(event, ev.ScheduleCheckpointed) and (
            state is None or (seq > state.out_seq and event.seen >= state.facts_seq)
        ):
            try:
                self.state = _restored(event, seq)
            except msgspec.ValidationError:
                self.poison.append(seq)
            else:
                self._held = deque(decision for decision in self._held if decision[0] > event.seen)
                return
        super().add(event, seq)


def _restored(event: ev.ScheduleCheckpointed, seq: int) -> ScheduleState:
    state = msgspec.convert(event.state, ScheduleState, str_keys=True)
    state.facts_seq, state.out_seq, state.since_checkpoint = event.seen, seq, 0
    return state


# --- facts ---


def _created(state: ScheduleState, event: ev.ScheduleCreated) -> None:
    if state.uid and not state.deleted:
        return
    fresh = ScheduleState(
        org=event.org, run=event.run, name=event.name, uid=event.uid, spec=event.spec, calendars=event.calendars,
        anchor=event.ts, created_at=event.ts, updated_at=event.ts, position=event.ts, trace=event.trace,
        paused=bool(event.spec.get("paused", False)), facts_seq=state.facts_seq, out_seq=state.out_seq,
        inbox=[], buffer=[], active={}, backfills=[], recent=[], skipped={}, known_ids=[], timers={},
    )  # fmt: skip
    for name in ScheduleState.__struct_fields__:  # msgspec.structs.fields reads every annotation anew
        setattr(state, name, getattr(fresh, name))


def _updated(state: ScheduleState, event: ev.ScheduleUpdated) -> None:
    since = range(state.position, max(state.position, event.ts))
    kept = not event.recount and keeps_times(state.spec, state.calendars, event.spec, event.calendars, since)
    if state.spec.get("runs_max") != event.spec.get("runs_max"):
        state.timed = 0
    state.spec, state.calendars, state.updated_at = event.spec, event.calendars, event.ts
    if not kept:
        state.position = max(state.position, event.ts)  # the times changed: those before now do not fire
    state.listed = ""
    if event.recount:
        state.anchor = event.ts


def _paused(state: ScheduleState, event: ev.SchedulePaused) -> None:
    if not state.paused:
        state.paused, state.paused_reason = True, event.reason


def _resumed(state: ScheduleState, event: ev.ScheduleResumed) -> None:
    if state.paused:
        state.paused, state.paused_reason = False, ""
        state.skip_until = event.ts


def _deleted(state: ScheduleState, _event: ev.ScheduleDeleted) -> None:
    state.deleted = True


def _held(payload: Payload) -> Payload | None:
    return None if payload == Payload() else payload


def _is_new(state: ScheduleState, known: str) -> bool:
    if known in state.known_ids:
        return False
    state.known_ids.append(known)
    del state.known_ids[:-IDS_MAX]
    return True


def _triggered(state: ScheduleState, event: ev.ScheduleTriggered) -> None:
    if not _is_new(state, f"{event.kind}:{event.id}"):
        return
    if len(state.inbox) >= INBOX_MAX:  # the gateway refuses triggers long before
        state.skipped["inbox_full"] = state.skipped.get("inbox_full", 0) + 1
    else:
        state.inbox.append(Waiting(event.ts, event.kind, event.id, _held(event.payload), event.overlap))


def _backfill_requested(state: ScheduleState, event: ev.ScheduleBackfillRequested) -> None:
    if _is_new(state, f"backfill:{event.id}"):
        state.backfills.append(Backfill(event.id, event.start - 1, event.end, event.overlap))


def _recent(state: ScheduleState, number: int) -> Fire | None:
    return next((fire for fire in reversed(state.recent) if fire.number == number), None)


def _started(state: ScheduleState, event: ev.ScheduleStarted) -> None:
    active = state.active.get(event.number)
    if active is not None and active.child == event.child:
        active.started = True
        if (fire := _recent(state, event.number)) is not None:
            fire.status = "running"


def _closed(state: ScheduleState, number: int, child: str, status: str, ts: int, error: StepError | None) -> None:
    active = state.active.get(number)
    if active is None or active.child != child:
        return
    del state.active[number]
    fire = _recent(state, number)
    if fire is not None:
        fire.status, fire.ended_at, fire.error = status, ts, error


def _refused(state: ScheduleState, event: ev.ScheduleRefused) -> None:
    _closed(state, event.number, event.child, "refused", event.ts, event.error)


def _child_ended(state: ScheduleState, event: ev.ChildEnded) -> None:
    active = state.active.get(event.attempt)
    if event.status == "continued" and active is not None:  # another run continues the work and becomes the child
        active.child = event.child
        if (fire := _recent(state, event.attempt)) is not None:
            fire.child = event.child
        return
    _closed(state, event.attempt, event.child, event.status, event.ts, event.error)


def _timer_fired(state: ScheduleState, event: ev.TimerFired) -> None:
    timer = state.timers.get(event.timer)
    if timer is not None and event.ts >= timer.fire_at:
        del state.timers[event.timer]
    state.clock = max(state.clock, event.ts)


# --- decisions ---


def _take(state: ScheduleState, cause: str, cause_id: str, at: int) -> bool:
    """Removes a fire from the inbox or the buffer. Returns False if it is in neither."""
    for queue in (state.inbox, state.buffer):
        for index, waiting in enumerate(queue):
            if (waiting.cause, waiting.id, waiting.at) == (cause, cause_id, at):
                del queue[index]
                return True
    return False


def _fired(state: ScheduleState, event: ev.ScheduleFired) -> None:
    state.number = event.number
    state.active[event.number] = Active(event.child, event.at)
    state.recent.append(Fire(event.number, event.child, event.at, event.cause, fired_at=event.ts))
    del state.recent[:-RECENT_MAX]
    if event.cause == "backfill":
        for backfill in state.backfills:
            if backfill.id == event.id:
                backfill.position, backfill.count = event.at, backfill.count + 1
    elif not _take(state, event.cause, event.id, event.at) and event.cause == "time":
        state.position = max(state.position, event.at)
        state.timed += "runs_max" in state.spec


def _skipped(state: ScheduleState, event: ev.ScheduleSkipped) -> None:
    state.skipped[event.reason] = state.skipped.get(event.reason, 0) + event.count
    taken = event.count == 1 and _take(state, event.cause, event.id, event.at)
    if event.cause == "time":
        state.timed = max(0, state.timed - taken)
        if not taken:
            state.position = max(state.position, event.until or event.at)


def _buffered(state: ScheduleState, event: ev.ScheduleBuffered) -> None:
    overlap = next((w.overlap for w in state.inbox if (w.cause, w.id) == (event.cause, event.id)), "")
    if not _take(state, event.cause, event.id, event.at) and event.cause == "time":
        state.position = max(state.position, event.at)
        state.timed += "runs_max" in state.spec
    state.buffer.append(Waiting(event.at, event.cause, event.id, _held(event.payload), overlap))


def _cancelling(state: ScheduleState, event: ev.ScheduleCancelling) -> None:
    if event.number in state.active:
        state.active[event.number].cancelling = True


def _backfilled(state: ScheduleState, event: ev.ScheduleBackfilled) -> None:
    state.backfills = [backfill for backfill in state.backfills if backfill.id != event.id]


def _listed(state: ScheduleState, event: ev.ScheduleListed) -> None:
    state.listed = event.status
    if event.status == "deleted":  # an older snapshot may lack it, and a newer one has no schedule that is over
        state.deleted = True


def _timer_set(state: ScheduleState, event: ev.TimerSet) -> None:
    state.timers[event.timer] = TimerState(event.kind, event.fire_at, event.step, event.attempt)


def _checkpointed(state: ScheduleState, _event: ev.ScheduleCheckpointed) -> None:
    state.since_checkpoint = 0


_FACTS: Final[dict[type[ev.Event], Any]] = {
    ev.ScheduleCreated: _created,
    ev.ScheduleUpdated: _updated,
    ev.SchedulePaused: _paused,
    ev.ScheduleResumed: _resumed,
    ev.ScheduleDeleted: _deleted,
    ev.ScheduleTriggered: _triggered,
    ev.ScheduleBackfillRequested: _backfill_requested,
    ev.ScheduleStarted: _started,
    ev.ScheduleRefused: _refused,
    ev.ChildEnded: _child_ended,
    ev.TimerFired: _timer_fired,
}
_DECISIONS: Final[dict[type[ev.Event], Any]] = {
    ev.ScheduleFired: _fired,
    ev.ScheduleSkipped: _skipped,
    ev.ScheduleBuffered: _buffered,
    ev.ScheduleCancelling: _cancelling,
    ev.ScheduleBackfilled: _backfilled,
    ev.ScheduleListed: _listed,
    ev.ScheduleCheckpointed: _checkpointed,
    ev.TimerSet: _timer_set,
}
