"""TLS to PostgreSQL and ClickHouse by settings: certificates are verified, files are named, and nothing is silent."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from agentflow_common.connections import postgres, tls
from agentflow_common.connections.clickhouse import ClickHouse
from agentflow_common.errors import InvalidError, RetryableError, UnauthenticatedError
from agentflow_common.settings import ClickHouseSettings, DatabaseSettings
from tests.support.clickhouse_server import ClickHouseServer
from tests.support.tls_front import Authority, plain_front, postgres_front, server_context

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
async def front(authority: Authority, db_env: dict[str, str]) -> AsyncIterator[dict[str, str]]:
    """DB_* of a server that takes TLS only, under the name `localhost`."""

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = db_env["DB_HOST"], db_env["DB_PORT"]
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, int(port))

    async with postgres_front(server_context(authority.issue("server", "localhost")), connect) as port:
        yield {**db_env, "DB_HOST": "localhost", "DB_PORT": str(port)}


async def one(env: dict[str, str]) -> object:
    """Opens the pool that a service opens, asks it for 1, and closes it."""
    pool = await postgres.connect(DatabaseSettings(**{name.lower(): value for name, value in env.items()}), "public")
    try:
        return await pool.fetchval("SELECT 1")
    finally:
        await pool.close()


async def test_cluster_03_the_server_of_a_private_authority_is_verified(
    front: dict[str, str], authority: Authority
) -> None:
    for mode in ("verify-full", "verify-ca", "require"):
        assert await one({**front, "DB_SSL_MODE": mode, "DB_SSL_ROOT_CERT": str(authority.ca)}) == 1


async def test_cluster_03_an_unknown_authority_and_another_name_are_refused(
    front: dict[str, str], authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other")
    for mode in ("verify-full", "verify-ca", "require"):
        with pytest.raises(InvalidError, match="DB_SSL_ROOT_CERT"):
            await one({**front, "DB_SSL_MODE": mode, "DB_SSL_ROOT_CERT": str(other.ca)})
    with pytest.raises(InvalidError, match=r"127\.0\.0\.1"):
        await one(
            {**front, "DB_HOST": "127.0.0.1", "DB_SSL_MODE": "verify-full", "DB_SSL_ROOT_CERT": str(authority.ca)}
        )
    by_address = {**front, "DB_HOST": "127.0.0.1", "DB_SSL_ROOT_CERT": str(authority.ca)}
    assert await one({**by_address, "DB_SSL_MODE": "verify-ca"}) == 1


async def test_cluster_03_without_a_root_certificate_the_systems_authorities_are_trusted(
    front: dict[str, str], authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidError, match="DB_SSL_ROOT_CERT"):
        await one({**front, "DB_SSL_MODE": "verify-full"})
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca))  # OpenSSL's name for the system's authorities
    assert await one({**front, "DB_SSL_MODE": "verify-full"}) == 1


async def test_cluster_03_a_server_that_asks_for_a_client_certificate_gets_it(
    authority: Authority, db_env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(f"{db_env['DB_HOST']}/.s.PGSQL.{db_env['DB_PORT']}")

    if not db_env["DB_HOST"].startswith("/"):
        pytest.skip("the container's server has no Unix socket here")
    context = server_context(authority.issue("server", "localhost"), clients=authority.ca)
    async with postgres_front(context, connect) as port:
        env = {**db_env, "DB_HOST": "localhost", "DB_PORT": str(port), "DB_SSL_MODE": "verify-full"}
        env |= {"DB_SSL_ROOT_CERT": str(authority.ca)}
        client = str(authority.issue("client"))
        assert await one({**env, "DB_SSL_CERT": client, "DB_SSL_KEY": client}) == 1
        monkeypatch.setattr(postgres, "_CONNECT_TRIES_MAX", 3)  # a refusal looks like a server that goes away
        with pytest.raises((ssl.SSLError, OSError, asyncpg.PostgresError, UnauthenticatedError)):
            await one(env)


async def answer(**fields: object) -> object:
    """Opens the client of the trace service, asks it for 1, and closes it."""
    client = ClickHouse(ClickHouseSettings.model_validate(fields))
    try:
        await client.open(timeout_s=2)
        return (await client.query("SELECT 1"))[0][0]
    finally:
        await client.close()


# the driver turns this warning off when it is imported; a test that comes later has it again
@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
async def test_cluster_03_clickhouse_is_spoken_to_by_https_and_verified(authority: Authority, tmp_path: Path) -> None:
    server = ClickHouseServer(tmp_path / "clickhouse").start()

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", server.port)

    try:
        context = server_context(authority.issue("clickhouse", "localhost"))
        async with plain_front(context, connect) as port:
            there = {"clickhouse_host": "localhost", "clickhouse_port": port, "clickhouse_secure": True}
            assert await answer(**there, clickhouse_ca_cert=authority.ca) == 1
            assert await answer(**there, clickhouse_verify=False) == 1
            for wrong in (there, {**there, "clickhouse_ca_cert": Authority(tmp_path / "other").ca}):
                with pytest.raises(RetryableError, match=r"https://localhost:\d+: check .*CLICKHOUSE_CA_CERT"):
                    await answer(**wrong)
        both = server_context(authority.issue("clickhouse", "localhost"), clients=authority.ca)
        async with plain_front(both, connect) as port:
            there = {"clickhouse_host": "localhost", "clickhouse_port": port, "clickhouse_secure": True}
            there |= {"clickhouse_ca_cert": authority.ca}
            assert await answer(**there, clickhouse_client_cert=authority.issue("client")) == 1
            with pytest.raises(RetryableError):
                await answer(**there)
    finally:
        server.stop()


def test_cluster_03_the_port_of_clickhouse_follows_the_protocol() -> None:
    assert ClickHouseSettings().clickhouse_port_used == 8123
    assert ClickHouseSettings(clickhouse_secure=True).clickhouse_port_used == 8443
    assert ClickHouseSettings(clickhouse_secure=True, clickhouse_port=9440).clickhouse_port_used == 9440
    with pytest.raises(InvalidError, match="CLICKHOUSE_SECURE=true"):
        tls.for_clickhouse(ClickHouseSettings(clickhouse_ca_cert=Path(__file__)))


def settings(**fields: str) -> DatabaseSettings:
    return DatabaseSettings(**{"db_host": "db.example", **fields})


def test_cluster_03_a_mode_that_may_go_without_tls_takes_no_certificate(authority: Authority) -> None:
    for mode in ("disable", "allow", "prefer"):
        with pytest.raises(InvalidError, match="DB_SSL_MODE=verify-full"):
            tls.for_postgres(settings(db_ssl_mode=mode, db_ssl_root_cert=str(authority.ca)))


def test_cluster_03_a_file_that_is_no_certificate_is_named_with_its_setting(tmp_path: Path) -> None:
    wrong = tmp_path / "not.pem"
    wrong.write_text("this is prose")
    with pytest.raises(InvalidError, match="DB_SSL_ROOT_CERT"):
        tls.for_postgres(settings(db_ssl_mode="verify-full", db_ssl_root_cert=str(wrong)))
    with pytest.raises(InvalidError, match="CLICKHOUSE_CA_CERT"):
        tls.for_clickhouse(ClickHouseSettings(clickhouse_secure=True, clickhouse_ca_cert=wrong))
    with pytest.raises(InvalidError, match="DB_SSL_KEY is set without DB_SSL_CERT"):
        tls.for_postgres(settings(db_ssl_mode="verify-full", db_ssl_key=str(wrong)))


def test_cluster_03_a_service_says_which_setting_is_wrong_and_ends(tmp_path: Path) -> None:
    env = {**os.environ, "DB_SSL_ROOT_CERT": str(tmp_path / "missing.pem"), "DB_SSL_MODE": "verify-all"}
    done = subprocess.run(
        [sys.executable, "-m", "agentflow_cost"], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "DB_SSL_ROOT_CERT" in done.stderr
    assert "DB_SSL_MODE" in done.stderr
    assert "Traceback" not in done.stderr
