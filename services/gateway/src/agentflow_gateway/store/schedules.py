"""SQL of the list of schedules, a projection of the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from agentflow_common.events import ScheduleListed
from agentflow_common.schedules import sources
from agentflow_common.schedules.state import ScheduleState
from agentflow_gateway.store.base import Tables, as_json


class ScheduleRow(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as lists show it."""

    org: str
    name: str
    id: str
    uid: str
    status: str
    workflow: str
    spec: dict[str, Any]
    calendars: dict[str, tuple[str, ...]]
    subject: str
    source: str  # the kind of what it watches
    anchor: int
    created_at: int
    seq: int  # of the newest fact that the row includes

    @classmethod
    def of(cls, schedule: ScheduleListed | ScheduleState, status: str, seq: int) -> ScheduleRow:
        return cls(
            org=schedule.org,
            name=schedule.name,
            id=schedule.run,
            uid=schedule.uid,
            status=status,
            workflow=str(schedule.spec.get("workflow", "")),
            spec=schedule.spec,
            calendars=schedule.calendars,
            subject=str(schedule.spec.get("trigger", {}).get("subject", "")),
            source=sources.kind_of(schedule.spec),
            anchor=schedule.anchor,
            created_at=schedule.created_at,
            seq=seq,
        )


_COLUMNS: Final = "org, name, id, uid, status, workflow, spec, calendars, subject, source, anchor, created_at, seq"
# the gateway and the scheduler both write rows; the row that includes more facts wins
_UPSERT: Final = f"""
INSERT INTO schedules AS s ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
ON CONFLICT (org, name) DO UPDATE SET
    id = EXCLUDED.id, uid = EXCLUDED.uid, status = EXCLUDED.status, workflow = EXCLUDED.workflow,
    spec = EXCLUDED.spec, calendars = EXCLUDED.calendars, subject = EXCLUDED.subject, source = EXCLUDED.source,
    anchor = EXCLUDED.anchor, created_at = EXCLUDED.created_at, seq = EXCLUDED.seq
WHERE EXCLUDED.seq >= s.seq
"""  # noqa: S608  (a constant)


_JSON: Final = ("spec", "calendars")
_SELECT: Final = f"SELECT {_COLUMNS} FROM schedules WHERE "  # noqa: S608  (a constant)


class ScheduleStore(Tables):
    async def empty(self) -> bool:
        return not await self._pool.fetchval("SELECT EXISTS (SELECT 1 FROM schedules)")

    async def put(self, row: ScheduleRow) -> None:
        plain = msgspec.structs.asdict(row) | {name: as_json(getattr(row, name)) for name in _JSON}
        await self._pool.execute(_UPSERT, *(plain[name] for name in _COLUMNS.split(", ")))

    async def find(self, org: str, name: str) -> ScheduleRow | None:
        """Returns the schedule, also if it was deleted."""
        return await self._row(ScheduleRow, _SELECT + "org = $1 AND name = $2", org, name, json=_JSON)

    async def count(self, org: str) -> int:
        query = "SELECT count(*) FROM schedules WHERE org = $1 AND status <> 'deleted'"
        return int(await self._pool.fetchval(query, org))

    async def find_page(self, org: str, *, workflow: str, status: str, after: str, limit: int) -> list[ScheduleRow]:
        """Returns schedules by name, those after `after`, without deleted ones."""
        condition = (
            "org = $1 AND status <> 'deleted' AND name > $4 AND ($2 = '' OR split_part(workflow, '@', 1) = $2) "
            "AND ($3 = '' OR status = $3) ORDER BY name LIMIT $5"
        )
        return await self._find(condition, org, workflow, status, after, limit)

    async def names(self, org: str) -> Sequence[str]:
        query = "SELECT name FROM schedules WHERE org = $1 AND status <> 'deleted' ORDER BY name LIMIT 200"
        return await self._texts(query, org)

    async def with_subjects(self, limit: int) -> list[ScheduleRow]:
        """Returns the schedules of all orgs that messages start."""
        return await self._find("subject <> '' AND status <> 'deleted' ORDER BY id LIMIT $1", limit)

    async def with_sources(self, limit: int) -> list[ScheduleRow]:
        """Returns the schedules of all orgs that watch something."""
        return await self._find("source <> '' AND status <> 'deleted' ORDER BY id LIMIT $1", limit)

    async def naming(self, org: str, calendar: str) -> list[ScheduleRow]:
        """Returns the schedules whose spec names the calendar."""
        condition = "org = $1 AND status <> 'deleted' AND (spec::jsonb -> 'calendars') ? $2 ORDER BY name"
        return await self._find(condition, org, calendar)

    async def with_calendars(self) -> list[ScheduleRow]:
        """Returns the schedules of all orgs that name a calendar."""
        return await self._find("status <> 'deleted' AND calendars <> '{}' ORDER BY id")

    async def _find(self, condition: str, *args: Any) -> list[ScheduleRow]:
        return await self._rows(ScheduleRow, _SELECT + condition, *args, json=_JSON)
