"""The state of a schedule, and the ids that follow from it. schedules/fold.py folds it from the log."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from agentflow_common import ids, subjects
from agentflow_common.events import Payload, StepError
from agentflow_common.log.timers import TimerState

TIMER: Final = "fire"  # the id of the timer that wakes a schedule


class Waiting(msgspec.Struct, omit_defaults=True):
    """A fire that is not decided yet (in the inbox), or that waits for earlier runs (in the buffer)."""

    at: int
    cause: str
    id: str = ""
    payload: Payload | None = None
    overlap: str = ""


class Active(msgspec.Struct, omit_defaults=True):
    """A run that was fired and is not known to have ended."""

    child: str
    at: int
    started: bool = False  # True once the run is in the log
    cancelling: bool = False


class Backfill(msgspec.Struct, omit_defaults=True):
    """A past period whose fires are being made up for."""

    id: str
    position: int  # every time up to it is decided
    end: int
    overlap: str
    count: int = 0


class Fire(msgspec.Struct, omit_defaults=True):
    """One fire of a schedule and the run that it started."""

    number: int
    child: str
    at: int
    cause: str
    status: str = "starting"  # `starting`, `running`, `refused`, or that of the run that ended
    fired_at: int = 0
    ended_at: int = 0
    error: StepError | None = None


class ScheduleState(msgspec.Struct, omit_defaults=True):
    """The state of a schedule, folded from its log."""

    org: str
    run: str
    name: str = ""
    uid: str = ""
    spec: dict[str, Any] = {}
    calendars: dict[str, tuple[str, ...]] = {}
    anchor: int = 0
    created_at: int = 0
    updated_at: int = 0
    paused: bool = False
    paused_reason: str = ""
    deleted: bool = False
    listed: str = ""  # the status in the newest `schedule.listed`, which lists show
    position: int = 0  # every fire time up to it is decided
    skip_until: int = 0  # times up to it passed during a pause
    clock: int = 0  # the time of the newest timer that fired
    number: int = 0
    timed: int = 0  # with `runs_max`: how many fires by time have happened or wait, since it was set
    inbox: list[Waiting] = []
    buffer: list[Waiting] = []
    active: dict[int, Active] = {}
    backfills: list[Backfill] = []
    recent: list[Fire] = []
    skipped: dict[str, int] = {}
    known_ids: list[str] = []
    timers: dict[str, TimerState] = {}
    trace: str = ""
    since_checkpoint: int = 0
    facts_seq: int = 0
    out_seq: int = 0

    @property
    def over(self) -> bool:
        """True if it is deleted, and the newest `schedule.listed` has that: nothing is left to decide."""
        return self.deleted and self.listed == "deleted"


def schedule_id(org: str, name: str) -> str:
    return subjects.SCHEDULE_PREFIX + ids.run_id_for_key(org, f"schedule\x00{name}").removeprefix("run_")


def child_id(state: ScheduleState, cause: str, cause_id: str, at: int) -> str:
    """Returns the run of a fire. The same cause is the same run, however often it is decided or submitted.

    A trigger has an id of its own and may come again at another time. A backfill has many times.
    """
    at = at if cause in {"time", "backfill"} else 0
    return ids.run_id_for_key(state.org, f"fire\x00{state.run}\x00{state.uid}\x00{cause}\x00{cause_id}\x00{at}")
