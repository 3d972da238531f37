"""SQL of the labels of workflows."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Final

import msgspec

from agentflow_gateway.store.base import RememberedTables

_COLUMNS: Final = "label, version, canary_version, canary_percent"


class LabelRow(msgspec.Struct, frozen=True, kw_only=True):
    """A label points at a version. A canary takes some percent of the label's submissions, 0 without one."""

    label: str
    version: int
    canary_version: int | None = None
    canary_percent: int = 0


class LabelStore(RememberedTables):
    async def list(self, org: str, name: str) -> list[LabelRow]:
        query = f"SELECT {_COLUMNS} FROM labels WHERE org = $1 AND name = $2 ORDER BY label"  # noqa: S608
        return await self._rows(LabelRow, query, org, name)

    async def of_all(self, org: str, names: Sequence[str]) -> dict[str, builtins.list[LabelRow]]:
        """Returns the labels of several workflows by name. A workflow without a label is left out."""
        query = f"SELECT name, {_COLUMNS} FROM labels WHERE org = $1 AND name = ANY($2::text[]) ORDER BY label"  # noqa: S608
        found: dict[str, builtins.list[LabelRow]] = {}
        for row in await self._pool.fetch(query, org, names):
            plain = dict(row)
            found.setdefault(plain.pop("name"), []).append(msgspec.convert(plain, LabelRow))
        return found

    async def find(self, org: str, name: str, label: str) -> LabelRow | None:
        """Returns a label, or None. It may be remembered."""
        query = f"SELECT {_COLUMNS} FROM labels WHERE org = $1 AND name = $2 AND label = $3"  # noqa: S608
        return await self._remembered(
            org, name, f"@{label}", lambda: self._row(LabelRow, query, org, name, label), lambda _: 0
        )

    async def put(self, org: str, name: str, row: LabelRow, before: LabelRow | None, now_ms: int, by: str) -> bool:
        """Replaces the label if it still is `before` (None: it did not exist). False if another writer was first."""
        with self._changing(org, name):
            return await self._put(org, name, row, before, now_ms, by)

    async def _put(self, org: str, name: str, row: LabelRow, before: LabelRow | None, now_ms: int, by: str) -> bool:
        values = (org, name, row.label, row.version, row.canary_version, row.canary_percent, now_ms, by)
        if before is None:
            return await self._changed(
                "INSERT INTO labels (org, name, label, version, canary_version, canary_percent, updated_at, "
                "updated_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
                *values,
            )
        return await self._changed(
            "UPDATE labels SET version = $4, canary_version = $5, canary_percent = $6, updated_at = $7, "
            "updated_by = $8 WHERE org = $1 AND name = $2 AND label = $3 AND version = $9 "
            "AND canary_version IS NOT DISTINCT FROM $10 AND canary_percent = $11",
            *values,
            before.version,
            before.canary_version,
            before.canary_percent,
        )

    async def remove(self, org: str, name: str, label: str) -> bool:
        query = "DELETE FROM labels WHERE org = $1 AND name = $2 AND label = $3"
        with self._changing(org, name):
            return await self._changed(query, org, name, label)
