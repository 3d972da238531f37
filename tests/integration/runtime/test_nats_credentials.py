"""What a service does when a NATS server that wants a token does not take the one that it has."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agentflow_common.embedded.nats import NatsServer
from agentflow_common.errors import UnauthenticatedError
from agentflow_common.runtime.service import Context, running
from agentflow_common.settings import Settings
from tests.support.waiting import PATIENCE_S, until

pytestmark = pytest.mark.integration


@contextlib.asynccontextmanager
async def nothing(_context: Context[Settings]) -> AsyncIterator[None]:
    yield


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    found = NatsServer(tmp_path / "nats", 0, token=secrets.token_hex(12))
    found.start()
    yield found
    found.stop()


def wrong_urls(server: NatsServer) -> tuple[str, ...]:
    place = server.url.rpartition("@")[2]
    guess = secrets.token_hex(12)
    return (
        f"nats://{place}",
        f"nats://{guess}@{place}",
        f"nats://someone:{guess}@{place}",
        f"{place},nats://{guess}@{place}",
    )


async def test_a_service_does_not_start_with_credentials_that_are_refused(server: NatsServer) -> None:
    place = server.url.rpartition("@")[2]
    for url in wrong_urls(server):
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(UnauthenticatedError, match="set NATS_URL") as caught:
                await running("test", Settings(nats_url=url), nothing).__aenter__()
        assert (caught.value.kind, place in caught.value.message) == ("nats_credentials_refused", True)
        for secret in (server.token, url.rpartition("@")[0].removeprefix("nats://")):
            assert not secret or secret not in caught.value.message
    async with running("test", Settings(nats_url=f"{wrong_urls(server)[1]},{server.url}"), nothing) as context:
        assert context.health.ready, "one server takes them"


def test_a_process_ends_and_says_why(server: NatsServer) -> None:
    url = wrong_urls(server)[1]
    guess = url.removeprefix("nats://").partition("@")[0]
    done = subprocess.run(
        [sys.executable, "-m", "agentflow_scheduler"], env={**os.environ, "NATS_URL": url}, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    told = done.stdout + done.stderr
    assert (done.returncode, "refuses the credentials: set NATS_URL" in told) == (1, True), told
    assert guess not in told and "Traceback" not in told


async def test_readiness_says_so_when_a_server_comes_back_with_another_token(server: NatsServer) -> None:
    right = server.token
    async with running("test", Settings(nats_url=server.url), nothing) as context:
        assert context.health.ready
        server.kill()
        server.token = secrets.token_hex(12)
        server.start()
        await until(lambda: "credentials refused; see NATS_URL" in context.health.body()["parts"]["nats"])
        assert not context.health.ready
        server.kill()
        server.token = right
        server.start()
        await until(lambda: context.health.ready)
        await context.nc.flush()
        assert not context.stopping.is_set()


async def test_a_service_stops_when_its_credentials_are_taken_back(server: NatsServer) -> None:
    async with running("test", Settings(nats_url=server.url), nothing) as context:
        config = server.folder / "nats-server.conf"
        config.write_text(config.read_text().replace(server.token, secrets.token_hex(12)))
        assert server.process is not None
        server.process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(PATIENCE_S):
            await context.stopping.wait()
        assert not context.health.alive
