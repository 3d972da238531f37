"""SQL of API keys and of the gateway's own secrets."""

from __future__ import annotations

from typing import Final

import msgspec

from agentflow_gateway.store.base import Tables

_COLUMNS: Final = "id, org, name, permissions, created_at, revoked_at"


class KeyRow(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    org: str
    name: str
    permissions: tuple[str, ...]
    created_at: int
    revoked_at: int | None


class KeyStore(Tables):
    async def find(self, digest: bytes) -> KeyRow | None:
        """Returns the key with this SHA-256, unless it is revoked."""
        query = f"SELECT {_COLUMNS} FROM api_keys WHERE key_sha256 = $1 AND revoked_at IS NULL"  # noqa: S608
        return await self._row(KeyRow, query, digest)

    async def count(self) -> int:
        return int(await self._pool.fetchval("SELECT count(*) FROM api_keys WHERE revoked_at IS NULL"))

    async def put(self, row: KeyRow, digest: bytes) -> None:
        """Adds a key and its org. A key that exists is valid again, with these permissions."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(
                "INSERT INTO orgs (id, created_at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING", row.org, row.created_at
            )
            values = (row.id, digest, row.org, row.name, list(row.permissions), row.created_at)
            await connection.execute(
                "INSERT INTO api_keys (id, key_sha256, org, name, permissions, created_at) "
                "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (key_sha256) DO UPDATE SET "
                "org = EXCLUDED.org, permissions = EXCLUDED.permissions, revoked_at = NULL",
                *values,
            )

    async def list(self, org: str = "") -> list[KeyRow]:
        query = f"SELECT {_COLUMNS} FROM api_keys WHERE $1 = '' OR org = $1 ORDER BY created_at, id"  # noqa: S608
        return await self._rows(KeyRow, query, org)

    async def revoke(self, key_id: str, now_ms: int) -> bool:
        """Returns False if no active key has this id."""
        query = "UPDATE api_keys SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL"
        return await self._changed(query, key_id, now_ms)

    async def secret(self, name: str, fresh: bytes) -> bytes:
        """Returns the secret of that name. `fresh` becomes it if there is none; the first writer wins."""
        await self._pool.execute(
            "INSERT INTO secrets (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING", name, fresh
        )
        return bytes(await self._pool.fetchval("SELECT value FROM secrets WHERE name = $1", name))
