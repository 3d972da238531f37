"""The machine of schedules: decides when the next run is due, from the folded state and the time.

Pure: no I/O, no clock, no randomness in here. `decide_schedule(schedule, now_ms)` folds each
decision into the state at once, like the machine of runs. After a crash, deciding again on the
refolded log adds exactly what is missing. A fire is identified by its cause and its planned time,
which also determine the id of its run. `position` is the time up to which everything is decided, so
no time is decided twice.

One timer at a time wakes the schedule. The decisions of one turn are bounded. If some are left, a
timer is due at once.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from agentflow_common import events as ev
from agentflow_common import ids, subjects
from agentflow_common.events import Payload
from agentflow_common.schedules import sources
from agentflow_common.schedules import spec as schedule_spec
from agentflow_common.schedules.fire_times import Timetable
from agentflow_common.schedules.fold import evolve
from agentflow_common.schedules.spec import Spec
from agentflow_common.schedules.state import TIMER, Backfill, ScheduleState, Waiting, child_id
from agentflow_common.subjects import EntityKey
from agentflow_scheduler.decisions import Decisions

DECISIONS_MAX: Final = 200  # of one turn: with what they send, well below an atomic batch
SKIPS_COUNTED_MAX: Final = 10_000  # the largest count of times in one `schedule.skipped`
ACTIVE_MAX: Final = 1_000  # runs of one schedule at a time, whatever its policy
CHECKPOINT_EVERY: Final = 200  # decisions between two checkpoints: a reader begins at the newest one
CHECKPOINT_PAYLOADS_MAX: Final = 50  # waiting ones; with more of them a checkpoint may be too large, so it is rare
CHECKPOINT_BYTES_MAX: Final = 1024 * 1024


def subject_of_schedule(key: EntityKey, decision: ev.Decision) -> str:
    """Returns the subject of a schedule's decision.

    A fire is a task for the gateway, which submits the run.
    """
    if isinstance(decision, ev.ScheduleFired):
        return subjects.out_task(key, subjects.SCHEDULES_POOL)
    if isinstance(decision, ev.ScheduleListed):
        return subjects.out_schedule(key)
    return subjects.out_checkpoint(key) if isinstance(decision, ev.ScheduleCheckpointed) else subjects.out_step(key)


class Schedule:
    """A schedule in memory: its state, and its times in a form that answers questions."""

    def __init__(self, state: ScheduleState) -> None:
        self.state = state
        self.cut: tuple[int, int] | None = None  # (facts, decisions) that the newest checkpoint or the end replaces
        self._raw: Any = None
        self._calendars: Any = None
        self._anchor = -1

    def apply(self, event: ev.Event, seq: int) -> None:
        """Folds a fact from the log."""
        evolve(self.state, event, seq)

    def _read(self) -> None:
        state = self.state
        if self._raw is not state.spec or self._anchor != state.anchor or self._calendars is not state.calendars:
            self._spec = schedule_spec.trusted(state.spec)
            self._table = self._spec.timetable(state.anchor, state.calendars)
            self._raw, self._anchor, self._calendars = state.spec, state.anchor, state.calendars

    @property
    def spec(self) -> Spec:
        self._read()
        return self._spec

    @property
    def table(self) -> Timetable:
        self._read()
        return self._table

    def next_at(self) -> int | None:
        """Returns the next planned time that is not decided, or None. After `runs_max` fires it is None too."""
        state = self.state
        return self.table.next(state.position) if schedule_spec.left(state.spec, state.timed) else None

    def due(self, at: int) -> int:
        """Returns when the planned time `at` fires.

        Jitter moves each time differently, and never past the next one.
        """
        jitter_ms = self.spec.jitter_ms
        if not jitter_ms:
            return at
        following = self.table.next(at)
        room = jitter_ms if following is None else min(jitter_ms, following - at - 1)
        return at + int(ids.fraction(self.state.run, at) * room)


class ScheduleDecisions(Decisions):
    """The decisions of one turn about a schedule."""

    def __init__(self, schedule: Schedule, now_ms: int) -> None:
        super().__init__(schedule.state, now_ms, evolve, schedule.state.trace)

    @property
    def full(self) -> bool:
        return len(self.decisions) >= DECISIONS_MAX


def decide_schedule(schedule: Schedule, now_ms: int) -> ScheduleDecisions:
    """Decides everything that can be decided now, at most about DECISIONS_MAX decisions."""
    state = schedule.state
    # The server's clock fires the timers and may be ahead of this machine's, so the later one counts.
    out = ScheduleDecisions(schedule, max(now_ms, state.clock))
    if state.over:
        return out
    if state.deleted:
        _delete(schedule, out)
        return out
    try:
        _ = schedule.table
    except ValueError:  # written by another version, or for a time zone that is gone: an update or a delete fixes it
        if state.listed != "broken":
            _write_status(schedule, out, "broken")
        return out
    _drain(schedule, out)
    _triggers(schedule, out)
    _times(schedule, out)
    _backfills(schedule, out)
    _cancel(schedule, out)
    _list(schedule, out)
    _set_timer(schedule, out)
    _checkpoint(schedule, out)
    return out


def _checkpoint(schedule: Schedule, out: ScheduleDecisions) -> None:
    """Decides a checkpoint now and then, if the state is small."""
    state = schedule.state
    if state.since_checkpoint < CHECKPOINT_EVERY:
        return
    payloads = sum(waiting.payload is not None for queue in (state.inbox, state.buffer) for waiting in queue)
    if payloads > CHECKPOINT_PAYLOADS_MAX and state.since_checkpoint % CHECKPOINT_EVERY >= len(out.decisions):
        return
    plain = msgspec.to_builtins(state, str_keys=True)
    if len(msgspec.json.encode(plain)) <= CHECKPOINT_BYTES_MAX:
        schedule.cut = (state.facts_seq, state.out_seq)
        out.emit(ev.ScheduleCheckpointed, state=plain)


def _delete(schedule: Schedule, out: ScheduleDecisions) -> None:
    state = schedule.state
    for waiting in [*state.inbox, *state.buffer]:
        if out.full:
            out.emit(ev.TimerSet, timer=TIMER, kind="schedule", fire_at=out.now_ms)
            return
        _skip(out, waiting, "deleted")
    schedule.cut = (state.facts_seq, state.out_seq)
    _write_status(schedule, out, "deleted")


# --- one fire ---


def _fire(schedule: Schedule, out: ScheduleDecisions, waiting: Waiting) -> None:
    state = schedule.state
    out.emit(
        ev.ScheduleFired,
        number=state.number + 1,
        child=child_id(state, waiting.cause, waiting.id, waiting.at),
        at=waiting.at,
        cause=waiting.cause,
        name=state.name,
        spec=state.spec,
        id=waiting.id,
        payload=waiting.payload or Payload(),
    )


def _skip(out: ScheduleDecisions, waiting: Waiting, reason: str) -> None:
    out.emit(ev.ScheduleSkipped, reason=reason, at=waiting.at, cause=waiting.cause, id=waiting.id)


def _buffer(out: ScheduleDecisions, waiting: Waiting) -> None:
    out.emit(
        ev.ScheduleBuffered, at=waiting.at, cause=waiting.cause, id=waiting.id, payload=waiting.payload or Payload()
    )


def _offer(schedule: Schedule, out: ScheduleDecisions, waiting: Waiting) -> None:
    """Fires, buffers or skips, as the overlap policy says."""
    state = schedule.state
    policy = waiting.overlap or schedule.spec.overlap
    if policy == "allow":
        if len(state.active) >= ACTIVE_MAX:
            _skip(out, waiting, "active_max")
        else:
            _fire(schedule, out, waiting)
    elif not state.active and not state.buffer:
        _fire(schedule, out, waiting)
    elif policy == "skip":
        _skip(out, waiting, "overlap")
    elif policy == "cancel":
        for earlier in list(state.buffer):
            _skip(out, earlier, "superseded")
        _buffer(out, waiting)
    elif len(state.buffer) >= (1 if policy == "buffer_one" else schedule.spec.buffer_max):
        _skip(out, waiting, "buffer_full")
    else:
        _buffer(out, waiting)


# --- what makes it fire ---


def _drain(schedule: Schedule, out: ScheduleDecisions) -> None:
    """Fires the oldest one in the buffer when nothing runs."""
    state = schedule.state
    if state.buffer and not state.active:
        _fire(schedule, out, state.buffer[0])


def _triggers(schedule: Schedule, out: ScheduleDecisions) -> None:
    state = schedule.state
    kept = 0  # at the head of the inbox: what a source found waits there for room, and is never skipped
    while kept < len(state.inbox) and not out.full:
        waiting = state.inbox[kept]
        if waiting.cause in sources.SOURCE_CAUSES:
            if state.paused or not _has_room(schedule):
                kept += 1
            else:
                _fire(schedule, out, waiting)
        elif state.paused and waiting.cause != "manual":
            _skip(out, waiting, "paused")
        else:
            _offer(schedule, out, waiting)


def _has_room(schedule: Schedule) -> bool:
    """True if another run may start now."""
    state = schedule.state
    if schedule.spec.overlap == "allow":
        return len(state.active) < ACTIVE_MAX
    return not state.active and not state.buffer


def _times(schedule: Schedule, out: ScheduleDecisions) -> None:
    """Decides every planned time that has come."""
    state = schedule.state
    while not state.paused and not out.full:
        at = schedule.next_at()
        if at is None or schedule.due(at) > out.now_ms:
            return
        latest = out.now_ms - schedule.spec.catchup_window_ms
        if at <= state.skip_until:
            _pass_over(schedule, out, "paused", state.skip_until)
        elif schedule.due(at) < latest:
            _pass_over(schedule, out, "too_late", latest - 1)
        elif schedule.spec.overlap == "skip" and (state.active or state.buffer):
            _pass_over(schedule, out, "overlap", out.now_ms)
        else:
            _offer(schedule, out, Waiting(at, "time"))


def _pass_over(schedule: Schedule, out: ScheduleDecisions, reason: str, until: int) -> None:
    """Skips the next time, and the later ones up to `until`, in one event."""
    times = schedule.table.times(schedule.state.position)
    first = last = next(times, None)
    if first is None or last is None:
        return
    count = 1
    while (at := next(times, None)) is not None and schedule.due(at) <= until:
        if count >= SKIPS_COUNTED_MAX:
            last = max(last, until - schedule.spec.jitter_ms)
            break
        last, count = at, count + 1
    out.emit(ev.ScheduleSkipped, reason=reason, at=first, until=last, count=count)


def _backfills(schedule: Schedule, out: ScheduleDecisions) -> None:
    for backfill in list(schedule.state.backfills):
        if not _backfill(schedule, out, backfill):
            return  # one backfill after the other


def _backfill(schedule: Schedule, out: ScheduleDecisions, backfill: Backfill) -> bool:
    """Fires the times of a backfill one by one, when nothing else runs or waits.

    Returns True if it is done.
    """
    state = schedule.state
    while not out.full:
        at = schedule.table.next(backfill.position)
        if at is None or at > backfill.end:
            out.emit(ev.ScheduleBackfilled, id=backfill.id, count=backfill.count)
            return True
        if backfill.overlap == "allow":
            if len(state.active) >= ACTIVE_MAX:
                return False
        elif state.active or state.buffer:
            return False
        _fire(schedule, out, Waiting(at, "backfill", backfill.id))
    return False


def _cancel(schedule: Schedule, out: ScheduleDecisions) -> None:
    """Cancels the runs under way for the one that waits under the policy `cancel`, once they are in
    the log.
    """
    state = schedule.state
    if not any((waiting.overlap or schedule.spec.overlap) == "cancel" for waiting in state.buffer):
        return
    for number, active in list(state.active.items()):
        if active.started and not active.cancelling and not out.full:
            out.emit(ev.ScheduleCancelling, number=number, child=active.child)
            reason, by = f"the schedule {state.name} begins its next run", f"schedule:{state.name}"
            out.send_to(subjects.key_of(state.org, active.child), ev.RunCancelRequested, reason=reason, by=by)


# --- the listed status, and when to wake up ---


def _list(schedule: Schedule, out: ScheduleDecisions) -> None:
    state = schedule.state
    if state.paused:
        status = "paused"
    elif _has_more(schedule):
        status = "active"
    else:
        status = "finished"
    if status != state.listed:
        _write_status(schedule, out, status)


def _has_more(schedule: Schedule) -> bool:
    state, trigger = schedule.state, schedule.spec.trigger
    if trigger.webhook or trigger.subject or trigger.is_source or state.backfills or state.buffer:
        return True
    return schedule.next_at() is not None


def _write_status(schedule: Schedule, out: ScheduleDecisions, status: str) -> None:
    """Decides the listed status.

    It is the only event of a deleted schedule that stays, so it has no details then.
    """
    state, deleted = schedule.state, status == "deleted"
    out.emit(
        ev.ScheduleListed,
        name=state.name,
        uid=state.uid,
        status=status,
        spec={} if deleted else state.spec,
        calendars={} if deleted else state.calendars,
        anchor=state.anchor,
        created_at=state.created_at,
    )


def _set_timer(schedule: Schedule, out: ScheduleDecisions) -> None:
    state = schedule.state
    known = state.timers.get(TIMER)
    if out.full:
        if known is None or known.fire_at > out.now_ms:
            out.emit(ev.TimerSet, timer=TIMER, kind="schedule", fire_at=out.now_ms)
        return
    if state.paused or (at := schedule.next_at()) is None:
        return
    fire_at = schedule.due(at)
    if known is None or known.fire_at != fire_at:
        out.emit(ev.TimerSet, timer=TIMER, kind="schedule", fire_at=fire_at)
