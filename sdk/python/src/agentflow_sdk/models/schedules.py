"""Answers about schedules, their fires, their webhooks and the calendars. Times are ms since the Unix epoch."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from agentflow_sdk.models.records import Record, RecordPage
from agentflow_sdk.models.workflows import ErrorInfo


class ScheduleStatus(StrEnum):
    """The state of a schedule. A member is equal to its text."""

    UNSPECIFIED = "unspecified"
    """A state that this version of the SDK does not know."""
    ACTIVE = "active"
    """It starts runs."""
    PAUSED = "paused"
    """It starts no runs until it is resumed."""
    FINISHED = "finished"
    """None of its times is left."""
    DELETED = "deleted"
    """It was deleted."""
    BROKEN = "broken"
    """This version of the server can't read its spec: update or delete it."""


@dataclass(frozen=True, slots=True)
class ScheduleFire(Record):
    """One time that a schedule fired, and the run that it started."""

    number: int
    """The number of the fire, from 1."""
    run_id: str
    """The id of the run."""
    at: int
    """The planned time; for a trigger, when it arrived."""
    cause: str = ""
    """`time`, `backfill`, `manual`, `webhook`, `subject`, `file` or `row`."""
    status: str = ""
    """`starting`, `running`, `refused`, or the state that the run ended in."""
    fired_at: int = 0
    """When the run was started."""
    ended_at: int = 0
    """When the run ended."""
    error: ErrorInfo | None = None
    """Why the run failed or could not be started."""


@dataclass(frozen=True, slots=True)
class ScheduleWatch(Record):
    """How far a schedule has read the place that it watches."""

    kind: str
    """`file` or `row`."""
    looked_at: int = 0
    """When it looked last; 0: not yet."""
    taken: int = 0
    """The number of items that asked for a run."""
    refused: int = 0
    """The number of items that could not ask for one."""
    waiting: int = 0
    """The number of items that wait for earlier runs or for the end of a pause."""
    error: ErrorInfo | None = None
    """Why the newest look failed."""


@dataclass(frozen=True, slots=True)
class Schedule(Record):
    """A schedule. In lists, `recent` and all fields after it are empty."""

    name: str
    """The name of the schedule."""
    schedule_id: str
    """The id of the schedule."""
    status: ScheduleStatus
    """The state of the schedule."""
    workflow: str
    """The workflow that it starts: `name`, `name@version` or `name@label`."""
    spec: dict[str, Any] = field(default_factory=dict)
    """The spec as plain data."""
    created_at: int = 0
    """When it was created."""
    updated_at: int = 0
    """When it was changed last."""
    paused_reason: str = ""
    """Why it is paused."""
    next_times: tuple[int, ...] = ()
    """The next times without jitter; in lists only the first one."""
    recent: tuple[ScheduleFire, ...] = ()
    """The last fires that have ended."""
    active: tuple[ScheduleFire, ...] = ()
    """The fires whose runs have not ended."""
    buffered: int = 0
    """The number of fires that wait for earlier runs to end."""
    backfills: int = 0
    """The number of backfills that have not ended."""
    fired: int = 0
    """The number of fires so far."""
    skipped: dict[str, int] = field(default_factory=dict)
    """The number of times and triggers that started nothing, by reason."""
    watch: ScheduleWatch | None = None
    """How far it has read the place that it watches; None if it watches none."""


@dataclass(frozen=True, slots=True)
class ScheduleChange(Record):
    """The result of `create` or `update`."""

    schedule: Schedule
    """The schedule after the call."""
    changed: bool
    """False if the schedule had this spec before."""


@dataclass(frozen=True, slots=True)
class SchedulePage(RecordPage[Schedule]):
    """A page of schedules. It can be iterated over."""

    schedules: tuple[Schedule, ...] = ()
    """The schedules of the page."""
    next_page_token: str = ""
    """The `page_token` of the next page; empty on the last page."""


@dataclass(frozen=True, slots=True)
class ScheduleTriggered(Record):
    """The result of a trigger."""

    trigger_id: str
    """The id of the trigger."""
    run_id: str
    """The run that the trigger starts or will start; empty if it starts none."""
    status: str = ""
    """`started`, `fired`, `waiting`, `skipped`, `refused` or `accepted`.

    `fired`: the run is being submitted. `waiting`: earlier runs have to end first. `skipped`: see `reason`.
    `refused`: see `error`. `accepted`: the trigger is durable, and was not decided within a second and a half.
    """
    reason: str = ""
    """Why it was skipped: `overlap`, `buffer_full`, `superseded`, `active_max` or `deleted`."""
    error: ErrorInfo | None = None
    """Why its run could not be submitted."""


@dataclass(frozen=True, slots=True)
class ScheduleBackfill(Record):
    """The result of a backfill."""

    backfill_id: str
    """The id of the backfill."""
    count: int
    """The number of times in the range."""
    times: tuple[int, ...] = ()
    """The first of these times, at most 100."""
    known: bool = False
    """True if a backfill with this id had been asked for before, so that this one changed nothing."""


@dataclass(frozen=True, slots=True)
class SchedulePreview(Record):
    """The next times of a schedule or of a spec."""

    times: tuple[int, ...]
    """The next times."""
    time_zone: str
    """The IANA time zone that the spec is written in."""


@dataclass(frozen=True, slots=True)
class Webhook(Record):
    """The webhook of a schedule. Send a POST to `http://<address><path>`."""

    path: str
    """The path on the gateway's HTTP port."""
    secret: str
    """The key of the signature, which is the bearer key too."""
    address: str
    """`host:port` of the gateway's HTTP server."""
    key_version: int = 0
    """The number of the secret, from 1."""
    old_secret_until: int = 0
    """Until when the secret before this one is accepted too; 0 if it is not."""


@dataclass(frozen=True, slots=True)
class Calendar(Record):
    """A named set of days on which schedules do not fire."""

    name: str
    """The name of the calendar."""
    dates: tuple[str, ...]
    """The days: `2030-12-25`, or `12-25` for every year."""
    updated_at: int = 0
    """When it was changed last."""
    updated_by: str = ""
    """The name of the API key that changed it last."""
