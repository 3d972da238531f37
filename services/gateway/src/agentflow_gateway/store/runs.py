"""All SQL of the gateway (schema `gateway`). Every query names the org; times are ms since the epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import asyncpg
import msgspec

SCHEMA: Final = "gateway"


class RunRow(msgspec.Struct, kw_only=True):
    """A row of the runs projection, or what a batch of events adds to one. seq 0: nothing decided yet."""

    org: str
    run: str
    workflow: str = ""
    version: int = 0
    status: str = "pending"
    submitted_at: int = 0
    started_at: int = 0
    finished_at: int = 0
    cost_nano: int = 0
    tags: dict[str, str] = {}
    seq: int = 0
    error_type: str = ""


class RunFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs of an org. Empty matches all; statuses and tags: any of, all of. since, until: ms, of submission.

    run_prefix: how the id begins. version: of the workflow, 0 for any.
    """

    statuses: tuple[str, ...] = ()
    workflow: str = ""
    tags: dict[str, str] = {}
    since: int = 0
    until: int = 0
    error_type: str = ""
    run_prefix: str = ""
    version: int = 0


class KeyRow(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    org: str
    name: str
    permissions: tuple[str, ...]
    created_at: int
    revoked_at: int | None


class DefinitionRow(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    version: int
    digest: str
    canonical: str


# Commutative and idempotent: redelivered and late events end in the same row. What `run.started` knows fills gaps;
# the event with the greatest sequence decides the status.
_UPSERT_RUNS: Final = """
INSERT INTO runs AS r (org, run, workflow, version, status, submitted_at, started_at, finished_at, cost_nano, tags, seq,
                       error_type)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::text[], $6::bigint[], $7::bigint[],
                     $8::bigint[], $9::bigint[], $10::text[], $11::bigint[], $12::text[])
ON CONFLICT (org, run) DO UPDATE SET
    workflow = CASE WHEN r.workflow = '' THEN EXCLUDED.workflow ELSE r.workflow END,
    version = CASE WHEN r.workflow = '' THEN EXCLUDED.version ELSE r.version END,
    tags = CASE WHEN r.workflow = '' THEN EXCLUDED.tags ELSE r.tags END,
    submitted_at = CASE WHEN r.workflow = '' THEN EXCLUDED.submitted_at ELSE r.submitted_at END,
    started_at = GREATEST(r.started_at, EXCLUDED.started_at),
    status = CASE WHEN EXCLUDED.seq > r.seq THEN EXCLUDED.status ELSE r.status END,
    finished_at = CASE WHEN EXCLUDED.seq > r.seq THEN EXCLUDED.finished_at ELSE r.finished_at END,
    cost_nano = CASE WHEN EXCLUDED.seq > r.seq THEN EXCLUDED.cost_nano ELSE r.cost_nano END,
    error_type = CASE WHEN EXCLUDED.seq > r.seq THEN EXCLUDED.error_type ELSE r.error_type END,
    seq = GREATEST(r.seq, EXCLUDED.seq)
RETURNING r.org, r.run, r.workflow
"""

_MATCHING: Final = """
FROM runs
WHERE org = $1 AND ($2::text[] = '{}' OR status = ANY($2)) AND ($3 = '' OR workflow = $3)
  AND ($4 = '{}' OR (tags <> '{}' AND tags::jsonb @> $4::jsonb))
  AND ($5::bigint = 0 OR submitted_at >= $5) AND ($6::bigint = 0 OR submitted_at < $6)
  AND ($7 = '' OR error_type = $7) AND ($8 = '' OR starts_with(run, $8))
  AND ($9::int = 0 OR version = $9)
"""
_LIST_RUNS: Final = f"""
SELECT org, run, workflow, version, status, submitted_at, started_at, finished_at, cost_nano, tags, seq, error_type
{_MATCHING}
  AND ($10::bigint IS NULL OR (submitted_at, run) < ($10, $11))
ORDER BY submitted_at DESC, run DESC
LIMIT $12
"""
_COUNT_RUNS: Final = f"SELECT count(*) FROM (SELECT 1 {_MATCHING} LIMIT $10) AS found"  # noqa: S608  (constants alone)
ACTIVE: Final = ("pending", "running", "waiting", "paused")


def _filter_args(org: str, wanted: RunFilter) -> tuple[Any, ...]:
    tags = msgspec.json.encode(wanted.tags).decode()
    times = (wanted.since, wanted.until)
    return (
        org,
        list(wanted.statuses),
        wanted.workflow,
        tags,
        *times,
        wanted.error_type,
        wanted.run_prefix,
        wanted.version,
    )


class Store:
    """The tables, over one pool whose search path is the schema."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    @property
    def pool(self) -> asyncpg.Pool:
        """The pool, for the other stores of this service."""
        return self._pool

    async def ping(self) -> None:
        await self._pool.fetchval("SELECT 1")

    # --- keys ---

    async def find_key(self, digest: bytes) -> KeyRow | None:
        """The key with this SHA-256, unless it is revoked."""
        row = await self._pool.fetchrow(
            "SELECT id, org, name, permissions, created_at, revoked_at FROM api_keys "
            "WHERE key_sha256 = $1 AND revoked_at IS NULL",
            digest,
        )
        return _key(row) if row is not None else None

    async def count_keys(self) -> int:
        return int(await self._pool.fetchval("SELECT count(*) FROM api_keys WHERE revoked_at IS NULL"))

    async def put_key(
        self, key_id: str, digest: bytes, org: str, name: str, permissions: Sequence[str], now_ms: int
    ) -> None:
        """Adds a key and its org; a key that is there already works again, with these permissions."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(
                "INSERT INTO orgs (id, created_at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING", org, now_ms
            )
            await connection.execute(
                "INSERT INTO api_keys (id, key_sha256, org, name, permissions, created_at) "
                "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (key_sha256) DO UPDATE SET "
                "org = EXCLUDED.org, permissions = EXCLUDED.permissions, revoked_at = NULL",
                key_id, digest, org, name, list(permissions), now_ms,
            )  # fmt: skip

    async def list_keys(self, org: str = "") -> list[KeyRow]:
        rows = await self._pool.fetch(
            "SELECT id, org, name, permissions, created_at, revoked_at FROM api_keys "
            "WHERE $1 = '' OR org = $1 ORDER BY created_at, id",
            org,
        )
        return [_key(row) for row in rows]

    async def revoke_key(self, key_id: str, now_ms: int) -> bool:
        done = await self._pool.fetchval(
            "UPDATE api_keys SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL RETURNING id", key_id, now_ms
        )
        return done is not None

    async def secret(self, name: str, fresh: bytes) -> bytes:
        """The secret of that name; `fresh` becomes it if there is none (the first writer wins)."""
        await self._pool.execute(
            "INSERT INTO secrets (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING", name, fresh
        )
        return bytes(await self._pool.fetchval("SELECT value FROM secrets WHERE name = $1", name))

    # --- definitions ---

    async def add_definition(self, org: str, row: DefinitionRow, now_ms: int, by: str) -> DefinitionRow | None:
        """Stores a version. Returns None if it is new, else what stands there, or stood there before it was deleted
        (nothing was changed)."""
        created = await self._pool.fetchval(
            "INSERT INTO definitions (org, name, version, digest, canonical, created_at, created_by) "
            "SELECT $1, $2, $3::int, $4, $5, $6::bigint, $7 WHERE NOT EXISTS (SELECT 1 FROM deleted_definitions "
            "WHERE org = $1 AND name = $2 AND version = $3 AND digest <> $4) "
            "ON CONFLICT (org, name, version) DO NOTHING RETURNING version",
            org, row.name, row.version, row.digest, row.canonical, now_ms, by,
        )  # fmt: skip
        if created is not None:
            return None
        there = await self.find_definition(org, row.name, row.version)
        return there or DefinitionRow(name=row.name, version=row.version, digest="", canonical="")

    async def newest_number(self, org: str, name: str) -> int:
        """The highest version number that was ever used, 0 for none."""
        return int(
            await self._pool.fetchval(
                "SELECT COALESCE(max(version), 0) FROM (SELECT version FROM definitions WHERE org = $1 AND name = $2 "
                "UNION ALL SELECT version FROM deleted_definitions WHERE org = $1 AND name = $2) AS used",
                org, name,
            )
        )  # fmt: skip

    async def find_definition(self, org: str, name: str, version: int | None) -> DefinitionRow | None:
        """version None: the latest."""
        row = await self._pool.fetchrow(
            "SELECT name, version, digest, canonical FROM definitions "
            "WHERE org = $1 AND name = $2 AND ($3::int IS NULL OR version = $3) ORDER BY version DESC LIMIT 1",
            org, name, version,
        )  # fmt: skip
        return DefinitionRow(**dict(row)) if row is not None else None

    async def definition_versions(self, org: str, name: str) -> list[int]:
        """At most 20, newest first."""
        rows = await self._pool.fetch(
            "SELECT version FROM definitions WHERE org = $1 AND name = $2 ORDER BY version DESC LIMIT 20", org, name
        )
        return [int(row["version"]) for row in rows]

    async def definition_names(self, org: str) -> list[str]:
        rows = await self._pool.fetch(
            "SELECT DISTINCT name FROM definitions WHERE org = $1 ORDER BY name LIMIT 200", org
        )
        return [str(row["name"]) for row in rows]

    async def knows_workflow(self, org: str, name: str) -> bool:
        """Whether a workflow of this name was registered, or ever submitted."""
        return bool(
            await self._pool.fetchval(
                "SELECT EXISTS (SELECT 1 FROM definitions WHERE org = $1 AND name = $2) "
                "OR EXISTS (SELECT 1 FROM runs WHERE org = $1 AND workflow = $2)",
                org, name,
            )
        )  # fmt: skip

    # --- runs ---

    async def has_run(self, org: str, run: str) -> bool:
        return bool(
            await self._pool.fetchval("SELECT EXISTS (SELECT 1 FROM runs WHERE org = $1 AND run = $2)", org, run)
        )

    async def no_runs(self) -> bool:
        return not await self._pool.fetchval("SELECT EXISTS (SELECT 1 FROM runs)")

    async def put_runs(self, rows: Sequence[RunRow]) -> list[tuple[str, str]]:
        """Merges the rows into the projection; each (org, run) at most once in `rows`.

        Returns those whose workflow is still not known.
        """
        if not rows:
            return []
        columns: list[list[Any]] = [
            [row.org for row in rows],
            [row.run for row in rows],
            [row.workflow for row in rows],
            [row.version for row in rows],
            [row.status for row in rows],
            [row.submitted_at for row in rows],
            [row.started_at for row in rows],
            [row.finished_at for row in rows],
            [row.cost_nano for row in rows],
            [msgspec.json.encode(row.tags).decode() for row in rows],
            [row.seq for row in rows],
            [row.error_type for row in rows],
        ]
        merged = await self._pool.fetch(_UPSERT_RUNS, *columns)
        return [(row["org"], row["run"]) for row in merged if not row["workflow"]]

    async def list_runs(self, org: str, wanted: RunFilter, after: tuple[int, str] | None, limit: int) -> list[RunRow]:
        """Newest first. `after`: (submitted_at, run) of the last row seen."""
        at, run = after or (None, "")
        rows = await self._pool.fetch(_LIST_RUNS, *_filter_args(org, wanted), at, run, limit)
        return [RunRow(**{**dict(row), "tags": msgspec.json.decode(row["tags"])}) for row in rows]

    async def count_runs(self, org: str, wanted: RunFilter, limit: int) -> int:
        """How many match, counted up to `limit`."""
        return int(await self._pool.fetchval(_COUNT_RUNS, *_filter_args(org, wanted), limit))

    async def count_active(self, org: str, limit: int) -> int:
        return await self.count_runs(org, RunFilter(statuses=ACTIVE), limit)


def _key(row: Any) -> KeyRow:
    return KeyRow(**{**dict(row), "permissions": tuple(row["permissions"])})
