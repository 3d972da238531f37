"""SQL of what schedules watch: how far each source was read, by which gateway, and which items it had."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Final

import msgspec

from agentflow_gateway.store.base import Tables

LEASE: Final = timedelta(seconds=15)


class SourceRow(msgspec.Struct, frozen=True, kw_only=True):
    """A place that a schedule watches."""

    id: str
    schedule: str
    uid: str
    since: int  # ms; what did not change after it was there before the schedule
    position: str
    taken: int
    refused: int
    looked_at: int  # ms; 0: not yet
    error_kind: str  # of the newest look
    error: str


_COLUMNS: Final = "id, schedule, uid, since, position, taken, refused, looked_at, error_kind, error"
_HOLD: Final = f"""
INSERT INTO sources AS s (id, schedule, uid, since, holder, held_until) VALUES ($1, $2, $3, $4, $5, now() + $6)
ON CONFLICT (id) DO UPDATE SET holder = $5, held_until = now() + $6 WHERE s.holder = $5 OR s.held_until < now()
RETURNING {_COLUMNS}
"""  # noqa: S608  (a constant)


class SourceStore(Tables):
    async def hold(self, source: str, schedule: str, uid: str, since: int, holder: str) -> SourceRow | None:
        """Returns the source for a while, or None if another gateway has it. A new one begins at `since`."""
        row = await self._row(SourceRow, _HOLD, source, schedule, uid, since, holder, LEASE)
        if row is not None and not row.looked_at:  # the schedule may have watched another place before
            await self._pool.execute("DELETE FROM sources WHERE schedule = $1 AND id <> $2", schedule, source)
        return row

    async def release(self, holder: str) -> None:
        """Lets other gateways take what this one had."""
        await self._pool.execute("UPDATE sources SET held_until = now() WHERE holder = $1", holder)

    async def of(self, source: str) -> SourceRow | None:
        return await self._row(SourceRow, f"SELECT {_COLUMNS} FROM sources WHERE id = $1", source)  # noqa: S608

    async def looked(self, source: str, at: int, *, position: str, error_kind: str = "", error: str = "") -> None:
        """Records a look, and how far the source was read. An error leaves the position."""
        await self._pool.execute(
            "UPDATE sources SET looked_at = $2, error_kind = $4, error = $5, "
            "position = CASE WHEN $4 = '' THEN $3 ELSE position END WHERE id = $1",
            source, at, position, error_kind, error,
        )  # fmt: skip

    async def known(self, source: str, items: Sequence[str]) -> Mapping[str, str]:
        """Returns the version of each of these items that is known."""
        query = "SELECT item, version FROM source_items WHERE source = $1 AND item = ANY($2)"
        return {row["item"]: row["version"] for row in await self._pool.fetch(query, source, list(items))}

    async def add(
        self, source: str, items: Iterable[tuple[str, str]], at: int, *, taken: int = 0, refused: int = 0
    ) -> None:
        """Remembers versions of items, and counts those that started a run or could not."""
        pairs = list(items)
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(
                "INSERT INTO source_items (source, item, version, seen_at) "
                "SELECT $1, item, version, $4 FROM unnest($2::text[], $3::text[]) AS new (item, version) "
                "ON CONFLICT (source, item) DO UPDATE SET version = EXCLUDED.version, seen_at = EXCLUDED.seen_at",
                source, [item for item, _ in pairs], [version for _, version in pairs], at,
            )  # fmt: skip
            await connection.execute(
                "UPDATE sources SET taken = taken + $2, refused = refused + $3 WHERE id = $1", source, taken, refused
            )

    async def keep(self, source: str, items: Sequence[str], at: int) -> None:
        """Notes that these items are still there."""
        await self._pool.execute(
            "UPDATE source_items SET seen_at = $3 WHERE source = $1 AND item = ANY($2)", source, list(items), at
        )

    async def forget(self, source: str, before: int) -> None:
        """Forgets the items that were there last before this time."""
        await self._pool.execute("DELETE FROM source_items WHERE source = $1 AND seen_at < $2", source, before)

    async def sweep(self) -> None:
        """Forgets the sources of schedules that are gone, or that watch nothing any more."""
        await self._pool.execute(
            "DELETE FROM sources USING schedules s WHERE s.id = sources.schedule "
            "AND (s.status = 'deleted' OR s.source = '')"
        )
