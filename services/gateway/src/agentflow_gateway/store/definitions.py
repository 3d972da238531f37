"""SQL of registered workflow definitions and their versions."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from agentflow_gateway.store.base import RememberedTables


class DefinitionRow(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    version: int
    digest: str
    canonical: str


class VersionRow(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    digest: str
    created_at: int
    created_by: str


class ListedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a workflow, and how many versions the workflow has."""

    name: str
    version: int
    digest: str
    created_at: int
    created_by: str
    versions: int
    source: str | None = None  # in a list it is not read


class Users(msgspec.Struct, frozen=True, kw_only=True):
    """The users of a version of a workflow, by name."""

    labels: list[str]
    schedules: list[str]
    workflows: list[str]


class DefinitionStore(RememberedTables):
    async def add(
        self, org: str, row: DefinitionRow, now_ms: int, by: str, source: str | None = None
    ) -> DefinitionRow | None:
        """Stores a version. Returns None if it is new. source: the text that it was given as.

        Otherwise nothing changes, and the row that has the number is returned; its digest is empty if it was deleted.
        """
        query = (
            "INSERT INTO definitions (org, name, version, digest, canonical, created_at, created_by, source) "
            "SELECT $1, $2, $3::int, $4, $5, $6::bigint, $7, $8::text "
            "WHERE NOT EXISTS (SELECT 1 FROM deleted_definitions "
            "WHERE org = $1 AND name = $2 AND version = $3 AND digest <> $4) "
            "ON CONFLICT (org, name, version) DO NOTHING RETURNING version"
        )
        values = (org, row.name, row.version, row.digest, row.canonical, now_ms, by, source)
        with self._changing(org, row.name):
            created = await self._pool.fetchval(query, *values)
        if created is not None:
            return None
        there = await self._find(org, row.name, row.version)
        return there or DefinitionRow(name=row.name, version=row.version, digest="", canonical="")

    async def newest_number(self, org: str, name: str) -> int:
        """Returns the highest version number that was ever used, 0 for none."""
        query = (
            "SELECT COALESCE(max(version), 0) FROM (SELECT version FROM definitions WHERE org = $1 AND name = $2 "
            "UNION ALL SELECT version FROM deleted_definitions WHERE org = $1 AND name = $2) AS used"
        )
        return int(await self._pool.fetchval(query, org, name))

    async def find(self, org: str, name: str, version: int | None) -> DefinitionRow | None:
        """Returns a version, or the latest one for None. It may be remembered."""
        return await self._remembered(
            org, name, version, lambda: self._find(org, name, version), lambda row: len(row.canonical)
        )

    async def _find(self, org: str, name: str, version: int | None) -> DefinitionRow | None:
        query = (
            "SELECT name, version, digest, canonical FROM definitions "
            "WHERE org = $1 AND name = $2 AND ($3::int IS NULL OR version = $3) ORDER BY version DESC LIMIT 1"
        )
        return await self._row(DefinitionRow, query, org, name, version)

    async def registered(self, org: str, versions: Sequence[tuple[str, int]]) -> set[tuple[str, int]]:
        """Returns those (name, version) that are registered."""
        query = (
            "SELECT name, version FROM definitions WHERE org = $1 "
            "AND (name, version) IN (SELECT * FROM unnest($2::text[], $3::int[]))"
        )
        names, numbers = [name for name, _ in versions], [number for _, number in versions]
        return {(row["name"], row["version"]) for row in await self._pool.fetch(query, org, names, numbers)}

    async def versions(self, org: str, name: str, before: int | None = None, limit: int = 20) -> list[VersionRow]:
        """Returns the versions, newest first. before: only those below this number."""
        query = (
            "SELECT version, digest, created_at, created_by FROM definitions "
            "WHERE org = $1 AND name = $2 AND ($3::bigint IS NULL OR version < $3) ORDER BY version DESC LIMIT $4"
        )
        return await self._rows(VersionRow, query, org, name, before, limit)

    async def listed(self, org: str, prefix: str, after: str, limit: int) -> list[ListedRow]:
        """Returns the latest version of each workflow, by name. after: only names that follow this one."""
        query = (
            "SELECT d.name, d.version, d.digest, d.created_at, d.created_by, latest.versions FROM ("
            "SELECT name, max(version) AS version, count(*) AS versions FROM definitions "
            "WHERE org = $1 AND starts_with(name, $2) AND name > $3 GROUP BY name ORDER BY name LIMIT $4"
            ") AS latest JOIN definitions d ON d.org = $1 AND d.name = latest.name AND d.version = latest.version "
            "ORDER BY d.name"
        )
        return await self._rows(ListedRow, query, org, prefix, after, limit)

    async def shown(self, org: str, name: str, version: int) -> ListedRow | None:
        """Returns one version with its source."""
        query = (
            "SELECT name, version, digest, created_at, created_by, source, (SELECT count(*) FROM definitions "
            "WHERE org = $1 AND name = $2) AS versions FROM definitions WHERE org = $1 AND name = $2 AND version = $3"
        )
        return await self._row(ListedRow, query, org, name, version)

    async def names(self, org: str) -> list[str]:
        query = "SELECT DISTINCT name FROM definitions WHERE org = $1 ORDER BY name LIMIT 200"
        return await self._texts(query, org)

    async def users(self, org: str, name: str, version: int, *, is_latest: bool) -> Users:
        """Returns what uses a version: by its number, and by the name alone if it is the latest."""
        refs = [f"{name}@{version}", *([name] if is_latest else [])]
        labels = (
            "SELECT label FROM labels WHERE org = $1 AND name = $2 AND (version = $3 OR canary_version = $3) "
            "ORDER BY label"
        )
        schedules = (
            "SELECT name FROM schedules WHERE org = $1 AND workflow = ANY($2::text[]) "
            "AND status NOT IN ('deleted', 'finished') ORDER BY name LIMIT 100"
        )
        callers = (
            "SELECT name || '@' || version FROM definitions WHERE org = $1 AND NOT (name = $2 AND version = $3) "
            "AND EXISTS (SELECT 1 FROM unnest($4::text[]) AS part WHERE strpos(canonical, part) > 0) "
            "ORDER BY name, version LIMIT 100"
        )
        called = [f'"workflow":"{ref}"' for ref in refs]
        return Users(
            labels=await self._texts(labels, org, name, version),
            schedules=await self._texts(schedules, org, refs),
            workflows=await self._texts(callers, org, name, version, called),
        )

    async def delete(self, org: str, row: DefinitionRow, now_ms: int, by: str) -> bool:
        """Deletes the version and keeps its number taken. False if it does not exist.

        Raises asyncpg's ForeignKeyViolationError if a label points at it.
        """
        query = (
            "WITH gone AS (DELETE FROM definitions WHERE org = $1 AND name = $2 AND version = $3 AND digest = $4 "
            "RETURNING org, name, version, digest) "
            "INSERT INTO deleted_definitions (org, name, version, digest, deleted_at, deleted_by) "
            "SELECT org, name, version, digest, $5::bigint, $6 FROM gone ON CONFLICT (org, name, version) DO UPDATE "
            "SET digest = EXCLUDED.digest, deleted_at = EXCLUDED.deleted_at, deleted_by = EXCLUDED.deleted_by "
            "RETURNING version"
        )
        with self._changing(org, row.name):
            return await self._pool.fetchval(query, org, row.name, row.version, row.digest, now_ms, by) is not None
