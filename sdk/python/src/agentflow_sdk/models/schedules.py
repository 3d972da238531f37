"""Answers about schedules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from agentflow_sdk.models.workflows import ErrorInfo, Record


class ScheduleStatus(StrEnum):
    UNSPECIFIED = "unspecified"
    ACTIVE = "active"
    PAUSED = "paused"
    FINISHED = "finished"
    DELETED = "deleted"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class ScheduleFire(Record):
    """A fire and what became of it. at: the planned time; of a trigger, when it came.

    cause: `time`, `backfill`, `manual`, `webhook` or `subject`. status: `starting`, `running`, `refused`, or that of
    the run that ended.
    """

    number: int
    run_id: str
    at: int
    cause: str = ""
    status: str = ""
    fired_at: int = 0
    ended_at: int = 0
    error: ErrorInfo | None = None


@dataclass(frozen=True, slots=True)
class Schedule(Record):
    """next_times: what comes next, without jitter; in lists only the first. From `recent` on: not in lists.

    skipped: times and triggers that started nothing, by reason. fired: fires so far. buffered: fires that wait.
    """

    name: str
    schedule_id: str
    status: ScheduleStatus
    workflow: str
    spec: dict[str, Any] = field(default_factory=dict)
    created_at: int = 0
    updated_at: int = 0
    paused_reason: str = ""
    next_times: tuple[int, ...] = ()
    recent: tuple[ScheduleFire, ...] = ()
    active: tuple[ScheduleFire, ...] = ()
    buffered: int = 0
    backfills: int = 0
    fired: int = 0
    skipped: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScheduleChange(Record):
    """changed: false if it was so already."""

    schedule: Schedule
    changed: bool


@dataclass(frozen=True, slots=True)
class SchedulePage(Record):
    schedules: tuple[Schedule, ...] = ()
    next_page_token: str = ""

    def __iter__(self) -> Iterator[Schedule]:
        return iter(self.schedules)

    def __len__(self) -> int:
        return len(self.schedules)


@dataclass(frozen=True, slots=True)
class ScheduleTriggered(Record):
    """run_id: the run that it starts or will start; empty if none comes of it.

    status: `started`, `fired` (its run is being submitted), `waiting` (for the end of earlier runs), `skipped` (see
    reason), `refused` (see error), or `accepted`: it is durable, and was not decided within a second and a half.
    """

    trigger_id: str
    run_id: str
    status: str = ""
    reason: str = ""
    error: ErrorInfo | None = None


@dataclass(frozen=True, slots=True)
class ScheduleBackfill(Record):
    """count: how many times there are; times: the first of them, at most 100.

    known: a backfill with this id was asked for before: this one changed nothing.
    """

    backfill_id: str
    count: int
    times: tuple[int, ...] = ()
    known: bool = False


@dataclass(frozen=True, slots=True)
class SchedulePreview(Record):
    times: tuple[int, ...]
    time_zone: str


@dataclass(frozen=True, slots=True)
class Webhook(Record):
    """POST to `http://<address><path>`. secret: the key of the signature, and the bearer key; key_version: its number.

    old_secret_until: until when the secret before it is good too, ms; 0: it is not.
    """

    path: str
    secret: str
    address: str
    key_version: int = 0
    old_secret_until: int = 0


@dataclass(frozen=True, slots=True)
class Calendar(Record):
    """dates: `2030-12-25`, or `12-25` for every year."""

    name: str
    dates: tuple[str, ...]
    updated_at: int = 0
    updated_by: str = ""
