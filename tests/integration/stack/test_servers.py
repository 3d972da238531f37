"""The embedded servers: start, crash, come back, refuse clearly."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from pathlib import Path

import asyncpg
import nats
import pytest
from nats.js.api import PubAck

from agentflow_common.embedded.nats import NatsServer
from agentflow_common.embedded.postgres import PostgresServer
from agentflow_common.embedded.servers import StackError
from tests.support import servers
from tests.support.waiting import until

pytestmark = pytest.mark.integration


async def _sql(env: dict[str, str], sql: str) -> object:
    connection = await asyncpg.connect(
        host=env["DB_HOST"],
        port=int(env["DB_PORT"]),
        user=env["DB_USER"],
        password=env["DB_PASSWORD"],
        database=env["DB_NAME"],
    )
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def _quiet(_error: Exception) -> None:
    pass


async def test_nats_keeps_port_and_messages_over_a_crash(nats_server: servers.NatsLike) -> None:
    nc = await nats.connect(nats_server.url, max_reconnect_attempts=-1, reconnect_time_wait=0.05, error_cb=_quiet)
    js = nc.jetstream()
    await js.add_stream(name="t", subjects=["t.>"])
    await js.publish("t.a", b"1")
    url = nats_server.url
    nats_server.kill()
    nats_server.start()
    assert nats_server.url == url

    async def again() -> PubAck | None:  # what was written to the dead socket is lost: at-most-once until acknowledged
        with contextlib.suppress(nats.errors.Error):
            return await js.publish("t.a", b"2", timeout=0.5, headers={"Nats-Msg-Id": "two"})
        return None

    ack = await until(again)
    assert ack is not None
    assert ack.seq == 2
    await nc.close()


@pytest.mark.skipif(servers.backend() != "embedded", reason="about the embedded server")
async def test_nats_token_is_needed_and_is_in_the_url(tmp_path: Path) -> None:
    token = os.urandom(12).hex()
    with NatsServer(tmp_path / "n", durability="fsync", token=token) as server:
        assert stat.S_IMODE((tmp_path / "n" / "nats-server.conf").stat().st_mode) == 0o600
        nc = await nats.connect(server.url)
        await nc.jetstream().account_info()
        await nc.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b'CONNECT {"verbose": false}\r\nPING\r\n')
        assert b"Authorization Violation" in await reader.read()
        writer.close()
        await writer.wait_closed()


async def test_each_database_is_empty(db_env: dict[str, str], pg: servers.PostgresLike) -> None:
    await _sql(db_env, "CREATE TABLE t (x int)")
    other = servers.create_database(pg)
    assert await _sql(other, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    servers.drop_database(pg, other["DB_NAME"])


@pytest.mark.skipif(servers.backend() != "embedded", reason="about the embedded server")
async def test_postgres_survives_kill_in_a_folder_with_a_long_name(tmp_path: Path) -> None:
    folder = tmp_path / ("long-" * 20) / "data"
    with PostgresServer(folder) as server:
        assert server.fresh
        await _sql(server.env(), "CREATE TABLE t AS SELECT 41 + 1 AS x")
        server.kill()
        assert (folder / "postmaster.pid").exists()
        server.start()
        assert await _sql(server.env(), "SELECT x FROM t") == 42


@pytest.mark.skipif(servers.backend() != "embedded", reason="about the embedded server")
async def test_a_second_object_takes_over_the_leftover_server(tmp_path: Path) -> None:
    first = PostgresServer(tmp_path / "data").start()
    leftover = first.pid
    with PostgresServer(tmp_path / "data") as second:
        assert second.pid != leftover
        assert first.process is not None
        assert first.process.wait(60) == 0
        assert await _sql(second.env(), "SELECT 1") == 1


@pytest.mark.skipif(servers.backend() != "embedded", reason="about the embedded server")
def test_an_unusable_folder_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StackError, match="choose another --data-dir"):
        PostgresServer(tmp_path / "file" / "data").start()
