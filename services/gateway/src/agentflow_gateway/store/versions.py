"""SQL of versions and labels (schema `gateway`). Every query names the org; times are ms since the epoch."""

from __future__ import annotations

import asyncpg
import msgspec

from agentflow_gateway.store.runs import DefinitionRow


class LabelRow(msgspec.Struct, frozen=True, kw_only=True):
    """A label points at a version. A canary takes some percent of the label's submissions, 0 without one."""

    label: str
    version: int
    canary_version: int | None = None
    canary_percent: int = 0


class VersionRow(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    digest: str
    created_at: int
    created_by: str


class Users(msgspec.Struct, frozen=True, kw_only=True):
    """What uses a version of a workflow, by name."""

    labels: list[str]
    schedules: list[str]
    workflows: list[str]


class VersionStore:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def versions(self, org: str, name: str, before: int | None, limit: int) -> list[VersionRow]:
        """Newest first. before: only versions below this one."""
        rows = await self._pool.fetch(
            "SELECT version, digest, created_at, created_by FROM definitions "
            "WHERE org = $1 AND name = $2 AND ($3::bigint IS NULL OR version < $3) ORDER BY version DESC LIMIT $4",
            org, name, before, limit,
        )  # fmt: skip
        return [VersionRow(**dict(row)) for row in rows]

    async def labels(self, org: str, name: str) -> list[LabelRow]:
        rows = await self._pool.fetch(
            "SELECT label, version, canary_version, canary_percent FROM labels "
            "WHERE org = $1 AND name = $2 ORDER BY label",
            org, name,
        )  # fmt: skip
        return [LabelRow(**dict(row)) for row in rows]

    async def find_label(self, org: str, name: str, label: str) -> LabelRow | None:
        row = await self._pool.fetchrow(
            "SELECT label, version, canary_version, canary_percent FROM labels "
            "WHERE org = $1 AND name = $2 AND label = $3",
            org, name, label,
        )  # fmt: skip
        return LabelRow(**dict(row)) if row is not None else None

    async def find_definition(self, org: str, name: str, version: int) -> DefinitionRow | None:
        row = await self._pool.fetchrow(
            "SELECT name, version, digest, canonical FROM definitions WHERE org = $1 AND name = $2 AND version = $3",
            org, name, version,
        )  # fmt: skip
        return DefinitionRow(**dict(row)) if row is not None else None

    async def users(self, org: str, name: str, version: int, *, is_latest: bool) -> Users:
        """What uses a version: by its number, and by the name alone if it is the latest."""
        refs = [f"{name}@{version}", *([name] if is_latest else [])]
        labels = await self._pool.fetch(
            "SELECT label FROM labels WHERE org = $1 AND name = $2 AND (version = $3 OR canary_version = $3) "
            "ORDER BY label",
            org, name, version,
        )  # fmt: skip
        schedules = await self._pool.fetch(
            "SELECT name FROM schedules WHERE org = $1 AND workflow = ANY($2::text[]) "
            "AND status NOT IN ('deleted', 'finished') ORDER BY name LIMIT 100",
            org, refs,
        )  # fmt: skip
        callers = await self._pool.fetch(
            "SELECT name || '@' || version AS caller FROM definitions WHERE org = $1 "
            "AND NOT (name = $2 AND version = $3) "
            "AND EXISTS (SELECT 1 FROM unnest($4::text[]) AS part WHERE strpos(canonical, part) > 0) "
            "ORDER BY name, version LIMIT 100",
            org, name, version, [f'"workflow":"{ref}"' for ref in refs],
        )  # fmt: skip
        return Users(
            labels=[str(row["label"]) for row in labels],
            schedules=[str(row["name"]) for row in schedules],
            workflows=[str(row["caller"]) for row in callers],
        )

    async def delete_definition(self, org: str, row: DefinitionRow, now_ms: int, by: str) -> bool:
        """Deletes the version and keeps its number taken. False if it is not there; asyncpg's
        ForeignKeyViolationError if a label points at it."""
        gone = await self._pool.fetchval(
            "WITH gone AS (DELETE FROM definitions WHERE org = $1 AND name = $2 AND version = $3 AND digest = $4 "
            "RETURNING org, name, version, digest) "
            "INSERT INTO deleted_definitions (org, name, version, digest, deleted_at, deleted_by) "
            "SELECT org, name, version, digest, $5::bigint, $6 FROM gone ON CONFLICT (org, name, version) DO UPDATE "
            "SET digest = EXCLUDED.digest, deleted_at = EXCLUDED.deleted_at, deleted_by = EXCLUDED.deleted_by "
            "RETURNING version",
            org, row.name, row.version, row.digest, now_ms, by,
        )  # fmt: skip
        return gone is not None

    async def put_label(
        self, org: str, name: str, row: LabelRow, before: LabelRow | None, now_ms: int, by: str
    ) -> bool:
        """Replaces the label if it still is what `before` says (None: there was none). False if another was faster."""
        if before is None:
            status = await self._pool.execute(
                "INSERT INTO labels (org, name, label, version, canary_version, canary_percent, updated_at, "
                "updated_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
                org, name, row.label, row.version, row.canary_version, row.canary_percent, now_ms, by,
            )  # fmt: skip
        else:
            status = await self._pool.execute(
                "UPDATE labels SET version = $4, canary_version = $5, canary_percent = $6, updated_at = $7, "
                "updated_by = $8 WHERE org = $1 AND name = $2 AND label = $3 AND version = $9 "
                "AND canary_version IS NOT DISTINCT FROM $10 AND canary_percent = $11",
                org, name, row.label, row.version, row.canary_version, row.canary_percent, now_ms, by,
                before.version, before.canary_version, before.canary_percent,
            )  # fmt: skip
        return str(status).endswith(" 1")

    async def remove_label(self, org: str, name: str, label: str) -> bool:
        status = await self._pool.execute(
            "DELETE FROM labels WHERE org = $1 AND name = $2 AND label = $3", org, name, label
        )
        return str(status).endswith(" 1")
