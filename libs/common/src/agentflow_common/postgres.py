"""One pool and plain-SQL migrations for services that own tables; each service has a schema of its own."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from pathlib import Path
from typing import Any

import asyncpg

from agentflow_common import tls
from agentflow_common.settings import DatabaseSettings

log = logging.getLogger(__name__)
_CONNECT_TRIES_MAX = 40


async def connect(settings: DatabaseSettings, schema: str) -> asyncpg.Pool:
    """A pool whose search path is the service's schema; waits up to 10 s for the server."""
    ssl_argument = tls.for_postgres(settings)
    for attempt in range(_CONNECT_TRIES_MAX):
        try:
            return await asyncpg.create_pool(
                host=settings.db_host,
                port=settings.db_port,
                user=settings.db_user,
                password=settings.db_password or None,
                database=settings.db_name,
                ssl=ssl_argument,
                min_size=1,
                max_size=settings.db_pool_max,
                server_settings={"search_path": schema, "application_name": f"agentflow-{schema}"},
                command_timeout=30,
            )
        except (OSError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError):
            if attempt == _CONNECT_TRIES_MAX - 1:
                raise
            await asyncio.sleep(0.25)
    raise AssertionError("unreachable")


def migrations_dir(package_file: str) -> Path:
    """`services/<name>/migrations` in a checkout, `<package>/migrations` in a wheel."""
    package = Path(package_file).resolve().parent
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parents[1] / "migrations"


async def migrate(pool: asyncpg.Pool, schema: str, folder: Path) -> list[str]:
    """Applies `NNNN_name.sql` files that have not been applied, each in a transaction, one process at a time.

    Returns the names applied now. Raises RuntimeError if an applied file has changed since.
    """
    files = await asyncio.to_thread(lambda: sorted(folder.glob("[0-9]*.sql")))
    if not files:
        raise RuntimeError(f"no migrations in {folder}")
    applied_now: list[str] = []
    async with pool.acquire() as connection:
        lock = int.from_bytes(hashlib.sha256(f"agentflow.{schema}".encode()).digest()[:8], "big", signed=True)
        await connection.execute("SELECT pg_advisory_lock($1)", lock)
        try:
            await connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
            await connection.execute(
                "CREATE TABLE IF NOT EXISTS schema_migrations ("
                "name text PRIMARY KEY, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
            )
            rows: list[Any] = await connection.fetch("SELECT name, sha256 FROM schema_migrations")
            known = {row["name"]: row["sha256"] for row in rows}
            for file in files:
                sql = file.read_text()
                sha = hashlib.sha256(sql.encode()).hexdigest()
                if file.name in known:
                    if known[file.name] != sha:
                        raise RuntimeError(
                            f"migration {schema}/{file.name} changed after it was applied; add a new file"
                        )
                    continue
                async with connection.transaction():
                    await connection.execute(sql)
                    await connection.execute(
                        "INSERT INTO schema_migrations (name, sha256) VALUES ($1, $2)", file.name, sha
                    )
                applied_now.append(file.name)
                log.info("migration applied", extra={"schema": schema, "migration": file.name})
        finally:
            await connection.execute("SELECT pg_advisory_unlock($1)", lock)
    return applied_now
