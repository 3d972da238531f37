"""Fixtures: real servers on free ports and temporary folders (AGENTFLOW_TEST_BACKEND chooses wheels or containers)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support import distribution, servers

# fixtures fork servers while gRPC's threads run; its fork handlers then crash now and then in the child, before exec
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

# a busy machine draws slowly; every machine judges a change by the same examples (`make test-all` draws others)
for name, same in (("steady", True), ("explore", False)):
    settings.register_profile(name, deadline=None, derandomize=same, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = distribution.in_order(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> distribution.LongestFirst | None:
    if config.getvalue("dist") != "loadfile":
        return None
    config.option.loadscopereorder = False  # it would put the files with the most tests first
    return distribution.LongestFirst(config, log)


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[servers.NatsLike]:
    """A fresh nats-server with JetStream; `.url`, `.kill()`, `.start()` (same port, same data), `.stop()`."""
    server = servers.nats(tmp_path / "nats-store")
    _start(server)
    yield server
    server.stop()


@pytest.fixture
def nats_url(nats_server: servers.NatsLike) -> str:
    """The URL of a fresh nats-server."""
    return nats_server.url


@pytest.fixture(scope="session")
def pg() -> Iterator[servers.PostgresLike]:
    """One PostgreSQL for the session, in a folder that another pytest session does not tidy away."""
    with tempfile.TemporaryDirectory(prefix="agentflow-pg-", ignore_cleanup_errors=True) as folder:
        server = servers.postgres(Path(folder) / "data")
        _start(server)
        yield server
        server.stop()


@pytest.fixture
def db_env(pg: servers.PostgresLike) -> Iterator[dict[str, str]]:
    """DB_HOST, DB_PORT, DB_USER, DB_PASSWORD, DB_NAME of a fresh empty database."""
    env = servers.create_database(pg)
    yield env
    servers.drop_database(pg, env["DB_NAME"])


def _start(server: servers.NatsLike | servers.PostgresLike) -> None:
    if servers.backend() == "testcontainers":
        from tests.support.containers import NoDockerError

        try:
            server.start()
        except NoDockerError as error:
            pytest.skip(str(error))
    else:
        server.start()
