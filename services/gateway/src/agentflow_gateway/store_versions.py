"""SQL of versions and labels (schema `gateway`). Every query names the org; times are ms since the epoch."""

from __future__ import annotations

import asyncpg
import msgspec

from agentflow_gateway.labels import LabelRow
from agentflow_gateway.store import DefinitionRow


class VersionRow(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    digest: str
    created_at: int
    created_by: str


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
