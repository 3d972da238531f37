"""SQL of named calendars."""

from __future__ import annotations

from typing import Final

import msgspec

from agentflow_gateway.store.base import Tables, as_json

CALENDARS_MAX: Final = 1_000


class CalendarRow(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    dates: tuple[str, ...]
    updated_at: int
    updated_by: str


class CalendarStore(Tables):
    async def put(self, org: str, row: CalendarRow) -> None:
        query = (
            "INSERT INTO calendars (org, name, dates, updated_at, updated_by) VALUES ($1, $2, $3, $4, $5) "
            "ON CONFLICT (org, name) DO UPDATE SET "
            "dates = EXCLUDED.dates, updated_at = EXCLUDED.updated_at, updated_by = EXCLUDED.updated_by"
        )
        await self._pool.execute(query, org, row.name, as_json(row.dates), row.updated_at, row.updated_by)

    async def find(self, org: str, after: str = "", limit: int = CALENDARS_MAX) -> list[CalendarRow]:
        """Returns the calendars whose name comes after `after`, by name."""
        query = (
            "SELECT name, dates, updated_at, updated_by FROM calendars "
            'WHERE org = $1 AND name COLLATE "C" > $2 ORDER BY name COLLATE "C" LIMIT $3'
        )
        return await self._rows(CalendarRow, query, org, after, limit, json=("dates",))

    async def by_name(self, org: str) -> dict[str, CalendarRow]:
        return {row.name: row for row in await self.find(org)}

    async def delete(self, org: str, name: str) -> bool:
        return await self._changed("DELETE FROM calendars WHERE org = $1 AND name = $2", org, name)
