"""One pool and plain-SQL migrations for services that own tables; each service has a schema of its own."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import asyncpg

from agentflow_common import package_files
from agentflow_common.connections import tls
from agentflow_common.errors import InvalidError, UnauthenticatedError
from agentflow_common.settings import DatabaseSettings

log = logging.getLogger(__name__)
logging.getLogger("asyncpg.pool").setLevel(logging.ERROR)  # a traceback for each look at a server that is away
_CONNECT_TRIES_MAX = 40
CONNECT_S_MAX: Final = 5.0
QUERY_S_MAX: Final = 30.0
SILENT_S_MAX: Final = 10  # a server that went away silently: its connections break after that
PING_S_MAX: Final = 1.0


class Pool(asyncpg.Pool):  # type: ignore[misc]  # asyncpg is not typed
    """asyncpg's pool with a bound for waiting for a connection, and for giving one back whose server is silent."""

    def acquire(self, *, timeout: float | None = None) -> Any:
        return super().acquire(timeout=QUERY_S_MAX if timeout is None else timeout)


async def _bounded(connection: Any) -> None:
    """Lets a connection break whose server went away silently; the kernel alone waits a quarter of an hour."""
    found = connection._transport.get_extra_info("socket")
    if found is None or found.family not in (socket.AF_INET, socket.AF_INET6):
        return
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", SILENT_S_MAX // 2),
        ("TCP_KEEPINTVL", 1),
        ("TCP_KEEPCNT", SILENT_S_MAX // 2),
        ("TCP_USER_TIMEOUT", SILENT_S_MAX * 1000),
    ):
        if hasattr(socket, option):  # Linux
            found.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


async def _kept(_: Any) -> None:
    """Leaves a session as it is when its connection goes back to the pool.

    No service changes a session: what a call sets, locks or listens to ends with its transaction or its connection.
    asyncpg's own reset is a round trip for each query. A transaction that is still open is rolled back before this.
    """


def _arguments(settings: DatabaseSettings, schema: str) -> dict[str, Any]:
    return {
        "host": settings.db_host,
        "port": settings.db_port,
        "user": settings.db_user,
        "password": settings.db_password or None,
        "database": settings.db_name,
        "ssl": tls.for_postgres(settings),
        "server_settings": {"search_path": schema, "application_name": f"agentflow-{schema}"},
        "timeout": CONNECT_S_MAX,
        "command_timeout": QUERY_S_MAX,
    }


async def connect_one(settings: DatabaseSettings, schema: str) -> Any:
    """Returns a connection beside the pool, for what a session keeps: a channel that it listens to."""
    connection = await asyncpg.connect(**_arguments(settings, schema))
    await _bounded(connection)
    return connection


async def connect(settings: DatabaseSettings, schema: str) -> asyncpg.Pool:
    """Returns a pool whose search path is the service's schema. Waits up to 10 s for the server.

    Raises UnauthenticatedError or InvalidError that names the wrong settings, without the password.
    """
    arguments = _arguments(settings, schema)
    for attempt in range(_CONNECT_TRIES_MAX):
        try:
            return await Pool(
                None,
                connection_class=asyncpg.Connection,
                record_class=asyncpg.Record,
                max_queries=50_000,
                max_inactive_connection_lifetime=300.0,
                loop=None,
                setup=None,
                init=_bounded,
                reset=_kept,
                min_size=1,
                max_size=settings.db_pool_max,
                **arguments,
            )
        except asyncpg.InvalidAuthorizationSpecificationError as error:  # a wrong password is one of them
            raise UnauthenticatedError(
                f"PostgreSQL at {settings.db_host}:{settings.db_port} refuses user {settings.db_user!r}: "
                "set DB_USER and DB_PASSWORD, and see the server's pg_hba.conf",
                kind="postgres_credentials_refused",
            ) from error
        except asyncpg.InvalidCatalogNameError as error:
            problem = f"PostgreSQL at {settings.db_host}:{settings.db_port} has no database {settings.db_name!r}"
            fix = "set DB_NAME, or create the database"
            raise InvalidError.at("DB_NAME", problem, fix) from error
        except ssl.SSLCertVerificationError as error:  # waiting would not make it trusted
            problem = f"PostgreSQL at {settings.db_host}:{settings.db_port} is not trusted ({error.verify_message})"
            fix = "name its authority in DB_SSL_ROOT_CERT, or its name in DB_HOST"
            raise InvalidError.at("DB_SSL_ROOT_CERT", problem, fix) from error
        except (OSError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError):
            if attempt == _CONNECT_TRIES_MAX - 1:
                log.error(  # noqa: TRY400  (the traceback follows)
                    "PostgreSQL at %s:%d does not answer: set DB_HOST and DB_PORT", settings.db_host, settings.db_port
                )
                raise
            await asyncio.sleep(0.25)
    raise AssertionError("unreachable")


@contextlib.asynccontextmanager
async def opened(settings: DatabaseSettings, schema: str, package_file: str) -> AsyncIterator[asyncpg.Pool]:
    """Yields the pool of a service, with its schema brought up to date, until the block ends."""
    pool = await connect(settings, schema)
    try:
        await migrate(pool, schema, package_files.find(package_file, "migrations"))
        yield pool
    finally:
        await pool.close()


async def ping(pool: asyncpg.Pool) -> None:
    """Returns if the database answers a query. A connection that does not answer is closed, not put back."""
    async with pool.acquire(timeout=PING_S_MAX) as connection:
        await connection.fetchval("SELECT 1", timeout=PING_S_MAX)


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
