"""SQL of schedules and calendars (schema `gateway`). Every query of a client's names the org."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import asyncpg
import msgspec

CALENDARS_MAX: Final = 1_000


class ScheduleRow(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as lists show it. seq: the newest fact that it knows of."""

    org: str
    name: str
    id: str
    uid: str
    status: str
    workflow: str
    spec: dict[str, Any]
    calendars: dict[str, tuple[str, ...]]
    subject: str
    anchor: int
    created_at: int
    seq: int


class CalendarRow(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    dates: tuple[str, ...]
    updated_at: int
    updated_by: str


_COLUMNS: Final = "org, name, id, uid, status, workflow, spec, calendars, subject, anchor, created_at, seq"
# rows come from what the gateway writes and from what the scheduler says; the one that knows more facts stands
_UPSERT: Final = f"""
INSERT INTO schedules AS s ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (org, name) DO UPDATE SET
    id = EXCLUDED.id, uid = EXCLUDED.uid, status = EXCLUDED.status, workflow = EXCLUDED.workflow,
    spec = EXCLUDED.spec, calendars = EXCLUDED.calendars, subject = EXCLUDED.subject, anchor = EXCLUDED.anchor,
    created_at = EXCLUDED.created_at, seq = EXCLUDED.seq
WHERE EXCLUDED.seq >= s.seq
"""  # noqa: S608  (a constant)


class ScheduleStore:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def empty(self) -> bool:
        return not await self._pool.fetchval("SELECT EXISTS (SELECT 1 FROM schedules)")

    async def put(self, rows: Sequence[ScheduleRow]) -> None:
        if rows:
            await self._pool.executemany(
                _UPSERT,
                [
                    (
                        row.org, row.name, row.id, row.uid, row.status, row.workflow, _json(row.spec),
                        _json(row.calendars), row.subject, row.anchor, row.created_at, row.seq,
                    )
                    for row in rows
                ],
            )  # fmt: skip

    async def find(self, org: str, name: str) -> ScheduleRow | None:
        """Also one that was deleted."""
        row = await self._pool.fetchrow(f"SELECT {_COLUMNS} FROM schedules WHERE org = $1 AND name = $2", org, name)  # noqa: S608
        return _schedule(row) if row is not None else None

    async def count(self, org: str) -> int:
        return int(
            await self._pool.fetchval("SELECT count(*) FROM schedules WHERE org = $1 AND status <> 'deleted'", org)
        )

    async def list(self, org: str, workflow: str, status: str, after: str, limit: int) -> list[ScheduleRow]:
        """By name, from after `after` on, without those that were deleted."""
        rows = await self._pool.fetch(
            f"SELECT {_COLUMNS} FROM schedules WHERE org = $1 AND status <> 'deleted' AND name > $4 "  # noqa: S608
            "AND ($2 = '' OR split_part(workflow, '@', 1) = $2) AND ($3 = '' OR status = $3) ORDER BY name LIMIT $5",
            org, workflow, status, after, limit,
        )  # fmt: skip
        return [_schedule(row) for row in rows]

    async def names(self, org: str) -> Sequence[str]:
        rows = await self._pool.fetch(
            "SELECT name FROM schedules WHERE org = $1 AND status <> 'deleted' ORDER BY name LIMIT 200", org
        )
        return [str(row["name"]) for row in rows]

    async def with_subjects(self, limit: int) -> Sequence[ScheduleRow]:
        """Schedules of all orgs that messages start."""
        rows = await self._pool.fetch(
            f"SELECT {_COLUMNS} FROM schedules WHERE subject <> '' AND status <> 'deleted' ORDER BY id LIMIT $1",  # noqa: S608
            limit,
        )
        return [_schedule(row) for row in rows]

    async def naming(self, org: str, calendar: str) -> Sequence[ScheduleRow]:
        """Schedules whose spec names the calendar."""
        rows = await self._pool.fetch(
            f"SELECT {_COLUMNS} FROM schedules WHERE org = $1 AND status <> 'deleted' "  # noqa: S608
            "AND (spec::jsonb -> 'calendars') ? $2 ORDER BY name",
            org, calendar,
        )  # fmt: skip
        return [_schedule(row) for row in rows]

    async def with_calendars(self) -> Sequence[ScheduleRow]:
        """Schedules of all orgs that name any calendar."""
        rows = await self._pool.fetch(
            f"SELECT {_COLUMNS} FROM schedules WHERE status <> 'deleted' AND calendars <> '{{}}' ORDER BY id"  # noqa: S608
        )
        return [_schedule(row) for row in rows]

    # --- calendars ---

    async def put_calendar(self, org: str, row: CalendarRow) -> None:
        await self._pool.execute(
            "INSERT INTO calendars (org, name, dates, updated_at, updated_by) VALUES ($1, $2, $3, $4, $5) "
            "ON CONFLICT (org, name) DO UPDATE SET "
            "dates = EXCLUDED.dates, updated_at = EXCLUDED.updated_at, updated_by = EXCLUDED.updated_by",
            org, row.name, _json(row.dates), row.updated_at, row.updated_by,
        )  # fmt: skip

    async def calendars(self, org: str) -> dict[str, CalendarRow]:
        rows = await self._pool.fetch(
            "SELECT name, dates, updated_at, updated_by FROM calendars WHERE org = $1 ORDER BY name LIMIT $2",
            org, CALENDARS_MAX,
        )  # fmt: skip
        found = [CalendarRow(**{**dict(row), "dates": tuple(msgspec.json.decode(row["dates"]))}) for row in rows]
        return {row.name: row for row in found}

    async def calendar_page(self, org: str, after: str, limit: int) -> Sequence[CalendarRow]:
        """Calendars whose name comes after `after`, by name."""
        rows = await self._pool.fetch(
            "SELECT name, dates, updated_at, updated_by FROM calendars "
            'WHERE org = $1 AND name COLLATE "C" > $2 ORDER BY name COLLATE "C" LIMIT $3',
            org, after, limit,
        )  # fmt: skip
        return [CalendarRow(**{**dict(row), "dates": tuple(msgspec.json.decode(row["dates"]))}) for row in rows]

    async def delete_calendar(self, org: str, name: str) -> bool:
        done = await self._pool.fetchval("DELETE FROM calendars WHERE org = $1 AND name = $2 RETURNING name", org, name)
        return done is not None


def _json(value: Any) -> str:
    return msgspec.json.encode(value, order="sorted").decode()


def _schedule(row: Any) -> ScheduleRow:
    plain = {**dict(row), "spec": msgspec.json.decode(row["spec"]), "calendars": msgspec.json.decode(row["calendars"])}
    return msgspec.convert(plain, ScheduleRow)
