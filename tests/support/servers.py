"""The real servers that tests run against: embedded by default, container images if
AGENTFLOW_TEST_BACKEND=testcontainers.

Both kinds of server have `start`, `stop`, `kill` (kill -9) and keep their address over a restart.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import asyncpg

from agentflow_common.embedded.nats import NatsServer
from agentflow_common.embedded.postgres import PostgresServer


class NatsLike(Protocol):
    """What `nats_server` gives a test."""

    @property
    def url(self) -> str: ...
    def start(self) -> Self: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...


class PostgresLike(Protocol):
    """What `pg` gives a test."""

    def env(self, database: str = "postgres") -> dict[str, str]: ...
    def start(self) -> Self: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...


def backend() -> Literal["embedded", "testcontainers"]:
    name = os.environ.get("AGENTFLOW_TEST_BACKEND", "embedded")
    if name == "embedded":
        return "embedded"
    if name == "testcontainers":
        return "testcontainers"
    raise ValueError(f"AGENTFLOW_TEST_BACKEND={name!r}: use `embedded` or `testcontainers`")


def nats(folder: Path, durability: Literal["default", "fsync"] = "default") -> NatsLike:
    """A nats-server of the chosen backend, not started."""
    if backend() == "testcontainers":
        from tests.support.containers import NatsContainer

        return NatsContainer(folder, durability)
    return NatsServer(folder, durability=durability)


def postgres(folder: Path) -> PostgresLike:
    """A PostgreSQL of the chosen backend, without fsync, not started."""
    if backend() == "testcontainers":
        from tests.support.containers import PostgresContainer

        return PostgresContainer()
    return PostgresServer(folder, durable=False)


def create_database(server: PostgresLike) -> dict[str, str]:
    """A fresh empty database; returns its DB_* variables."""
    name = f"test_{secrets.token_hex(6)}"
    _in_thread(_execute(server.env(), f'CREATE DATABASE "{name}"'))
    return server.env(name)


def drop_database(server: PostgresLike, database: str) -> None:
    """Drops it, whoever is still connected."""
    _in_thread(_execute(server.env(), f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)'))


async def _execute(env: dict[str, str], sql: str) -> None:
    connection = await asyncpg.connect(
        host=env["DB_HOST"],
        port=int(env["DB_PORT"]),
        user=env["DB_USER"],
        password=env["DB_PASSWORD"],
        database=env["DB_NAME"],
    )
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


def _in_thread(work: Coroutine[Any, Any, None]) -> None:
    """Runs it on a loop of its own: fixtures are called where a loop may already run."""
    failure: list[BaseException] = []

    def body() -> None:
        try:
            asyncio.run(work)
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
