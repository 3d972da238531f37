"""Events of schedules: entities of their own, whose `in` holds what was asked of them and `out` what they decided.

The run of such an event is the schedule's id, `sched_...`. See schedules/fold.py.
"""

from __future__ import annotations

from typing import Any

from agentflow_common.events.base import Decision, Event, Payload, RequestFact, StepError


class ScheduleCreated(Event, frozen=True, tag="schedule.created"):
    """Begins a schedule, or one anew that was deleted."""

    name: str
    uid: str  # tells this life of the name from others
    spec: dict[str, Any]  # schedulespec.Spec without defaults
    calendars: dict[str, tuple[str, ...]] = {}  # the dates of those that the spec names
    by: str = ""


class ScheduleUpdated(Event, frozen=True, tag="schedule.updated"):
    """The spec from now on."""

    spec: dict[str, Any]
    calendars: dict[str, tuple[str, ...]] = {}
    recount: bool = False  # `@every` counts from here, not from where it did before
    by: str = ""


class SchedulePaused(RequestFact, frozen=True, tag="schedule.paused"):
    """Nothing fires by time from here on."""


class ScheduleResumed(RequestFact, frozen=True, tag="schedule.resumed"):
    """Times that passed during the pause are not made up for."""


class ScheduleDeleted(RequestFact, frozen=True, tag="schedule.deleted"):
    """Its runs go on to their end."""


class ScheduleTriggered(Event, frozen=True, tag="schedule.triggered"):
    """Somebody asks for a run now."""

    id: str  # a second one with it is ignored
    kind: str  # `manual`, `webhook`, `subject`, `file` or `row`
    payload: Payload = Payload()
    overlap: str = ""  # in the place of the schedule's own policy
    by: str = ""


class ScheduleBackfillRequested(Event, frozen=True, tag="schedule.backfill_requested"):
    """Fire for every time in [start, end] (ms since the epoch)."""

    id: str
    start: int
    end: int
    overlap: str  # `buffer_all` (one by one) or `allow`
    by: str = ""


class ScheduleStarted(Event, frozen=True, tag="schedule.started"):
    """The run of that fire is in the log."""

    number: int
    child: str


class ScheduleRefused(Event, frozen=True, tag="schedule.refused"):
    """The run of that fire could not be submitted."""

    number: int
    child: str
    error: StepError


class ScheduleFired(Decision, frozen=True, tag="schedule.fired"):
    """A run is to be started: the decision and the queue entry in one."""

    number: int  # of the fire, from 1
    child: str  # the run's id, which its cause determines
    at: int  # the planned time, ms since the epoch; of a trigger, when it came
    cause: str  # `time`, `backfill`, `manual`, `webhook`, `subject`, `file` or `row`
    name: str
    spec: dict[str, Any]  # by which it fires
    id: str = ""  # of the trigger or the backfill
    payload: Payload = Payload()


class ScheduleSkipped(Decision, frozen=True, tag="schedule.skipped"):
    """Fire times (or triggers) that start nothing."""

    reason: str  # `overlap`, `buffer_full`, `superseded`, `too_late`, `paused`, `active_max` or `deleted`
    at: int  # the only or first, until: the last one's time
    until: int = 0
    count: int = 1
    cause: str = "time"
    id: str = ""


class ScheduleBuffered(Decision, frozen=True, tag="schedule.buffered"):
    """A fire waits for the end of the runs before it."""

    at: int
    cause: str
    id: str = ""
    payload: Payload = Payload()


class ScheduleCancelling(Decision, frozen=True, tag="schedule.cancelling"):
    """The overlap policy ends this run; the same append tells it."""

    number: int
    child: str


class ScheduleBackfilled(Decision, frozen=True, tag="schedule.backfilled"):
    """A backfill is through its times."""

    id: str
    count: int = 0


class ScheduleListed(Decision, frozen=True, tag="schedule.listed"):
    """A field that lists show has changed."""

    name: str
    uid: str
    status: str  # `active`, `paused`, `finished`, `deleted`, or `broken` if this version can't read its spec
    spec: dict[str, Any] = {}
    calendars: dict[str, tuple[str, ...]] = {}
    anchor: int = 0  # see ScheduleUpdated
    created_at: int = 0


class ScheduleCheckpointed(Decision, frozen=True, tag="schedule.checkpointed"):
    """The schedule's whole state: what stands before it in the log is not needed any more."""

    state: dict[str, Any]
