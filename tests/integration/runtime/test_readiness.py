"""Readiness says what is true: a service that does not answer, or lacks what it needs, is not ready.

One that can't come back ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from agentflow_common import rpc, subjects
from agentflow_common.connections.nats_client import connect
from agentflow_common.embedded.nats import NatsServer
from agentflow_common.embedded.postgres import PostgresServer
from agentflow_common.errors import AgentFlowError, RetryableError
from agentflow_common.log.event_log import Entry
from agentflow_common.rpc import bus
from agentflow_common.runtime import probes, service
from agentflow_common.runtime.health_server import STILL_S_MAX, STUCK_S_MAX, Health
from agentflow_common.runtime.service import Context, running
from agentflow_common.settings import Settings
from agentflow_prompt.app import app as prompt_app
from agentflow_prompt.settings import PromptSettings
from agentflow_trace import ingest
from agentflow_trace.app import app as trace_app
from agentflow_trace.settings import TraceSettings
from tests.support.clickhouse_server import ClickHouseServer
from tests.support.waiting import until

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asks often, and takes a part for lost after one slow answer and a bit."""
    monkeypatch.setattr(probes, "EVERY_S", 0.1)
    monkeypatch.setattr(probes, "AGAIN_S", 0.1)
    monkeypatch.setattr(probes, "GRACE_S", 1.1 * probes.ANSWER_S_MAX)


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path / "nats") as found:
        yield found


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    """A server of this test's own, in a folder that another pytest session does not tidy away."""
    with (
        tempfile.TemporaryDirectory(prefix="agentflow-pg-", ignore_cleanup_errors=True) as folder,
        PostgresServer(Path(folder) / "data") as server,
    ):
        yield server


def settings(nats: NatsServer, postgres: PostgresServer) -> PromptSettings:
    return PromptSettings(nats_url=nats.url, **{key.lower(): value for key, value in postgres.env().items()})


async def answer(nats: NatsServer) -> AgentFlowError | None:
    """What the prompt service answers when it is asked directly; None: what it should."""
    nc = await connect(nats.url, "test")
    try:
        await bus.call(nc, rpc.PROMPT_LIST, rpc.ListPromptsRequest(org="default"), timeout_s=5.0)
    except AgentFlowError as error:
        return error
    finally:
        await nc.close()
    return None


async def test_cluster_01_readiness_follows_what_answers(nats: NatsServer, postgres: PostgresServer) -> None:
    async with running("prompt", settings(nats, postgres), prompt_app) as context:
        health = context.health
        assert health.ready and await answer(nats) is None
        for stop in (postgres.kill, postgres.stop):
            stop()
            await until(lambda: not health.ready, what="it says that it is ready without PostgreSQL")
            assert set(_wrong(health)) == {"postgres"}
            failed = await answer(nats)
            assert isinstance(failed, RetryableError)
            assert (failed.code, failed.kind) == ("unavailable", "database_unavailable")
            assert failed.retry_after_ms
            postgres.start()
            await until(lambda: health.ready, what="it does not see that PostgreSQL is back")
            assert await answer(nats) is None
        for stop in (nats.kill, nats.stop):
            stop()
            await until(lambda: not health.ready, what="it says that it is ready without NATS")
            assert set(_wrong(health)) <= {"nats", "rpc"}
            nats.start()
            await until(lambda: health.ready, what="it does not see that NATS is back")
            assert await answer(nats) is None
        assert health.alive and not context.stopping.is_set()


def _wrong(health: Health) -> dict[str, str]:
    return {part: state for part, state in health.parts.items() if state != "ok"}


async def test_cluster_01_a_service_ends_when_the_connection_that_answers_is_closed_for_good(nats: NatsServer) -> None:
    held: list[Any] = []

    @contextlib.asynccontextmanager
    async def app(context: Context[Settings]) -> AsyncIterator[None]:
        async with context.serving([(rpc.PROMPT_LIST, _list)]):
            yield

    async with running("prompt", Settings(nats_url=nats.url), _holding(app, held)) as context:
        assert context.health.ready
        await held[0].close()
        await context.stopping.wait()
        assert not context.health.alive
        assert "the connection that answers questions" in context.health.body()["parts"]["service"]


def _holding(app: Any, held: list[Any]) -> Any:
    """Keeps the connection on which the service answers."""

    @contextlib.asynccontextmanager
    async def spied(context: Context[Any]) -> AsyncIterator[None]:
        real = bus.nats_client.connect

        async def connecting(*args: Any) -> Any:
            held.append(await real(*args))
            return held[-1]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bus.nats_client, "connect", connecting)
            async with app(context):
                yield

    return spied


async def _list(_request: rpc.ListPromptsRequest) -> rpc.ListPromptsReply:
    return rpc.ListPromptsReply(prompts=())


async def test_cluster_01_a_service_that_does_not_reach_itself_is_not_ready(nats: NatsServer) -> None:
    """Its own connection is open, the subscriptions of the other one are gone."""
    held: list[Any] = []

    @contextlib.asynccontextmanager
    async def app(context: Context[Settings]) -> AsyncIterator[None]:
        async with context.serving([(rpc.PROMPT_LIST, _list)]):
            yield

    async with running("prompt", Settings(nats_url=nats.url), _holding(app, held)) as context:
        assert context.health.ready
        for sid in list(held[0]._subs):
            await held[0]._send_unsubscribe(sid)
        await until(lambda: not context.health.ready, what="it says that it is ready and answers nobody")
        assert set(_wrong(context.health)) == {"rpc"}
        assert context.nc.is_connected and held[0].is_connected


@pytest.mark.parametrize("how", ["by an error", "by itself"])
async def test_cluster_01_a_service_ends_when_work_in_the_background_ended(nats: NatsServer, how: str) -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        if how == "by an error":
            raise RuntimeError("unforeseen")

    @contextlib.asynccontextmanager
    async def app(context: Context[Settings]) -> AsyncIterator[None]:
        async with context.background(work()):
            yield

    async with running("test", Settings(nats_url=nats.url), app) as context:
        await context.stopping.wait()
        assert not context.health.alive and not context.health.ready


def test_cluster_01_a_loop_that_stands_still_is_not_ready_and_at_last_not_alive() -> None:
    health = Health("test", "1")
    health.begun = True
    assert health.ready and health.alive, "a service without a loop of its own"
    health.beat()
    assert health.ready and health.alive
    health._beat_at -= STILL_S_MAX
    assert not health.ready and health.alive
    assert "loop" in health.body()["parts"]
    health._beat_at -= STUCK_S_MAX
    assert not health.alive
    health.beat()
    assert health.ready and health.alive


async def test_cluster_01_a_service_ends_when_nats_came_back_without_the_log(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It makes the log when it starts again."""
    monkeypatch.setattr(service, "GONE_S_MAX", 1.0)

    @contextlib.asynccontextmanager
    async def app(context: Context[Settings]) -> AsyncIterator[None]:
        context.needs_log()
        yield

    async with running("test", Settings(nats_url=nats.url), app) as context:
        assert context.health.ready
        await context.nc.jsm().delete_stream(subjects.EVENTS_STREAM)
        await until(lambda: not context.health.ready)
        await context.stopping.wait()
        assert not context.health.alive
    async with running("test", Settings(nats_url=nats.url), app) as context:
        assert context.health.ready


async def test_cluster_09_traces_say_unavailable_while_clickhouse_is_away(nats: NatsServer, tmp_path: Path) -> None:
    with ClickHouseServer(tmp_path / "clickhouse") as clickhouse:
        wanted = {name.lower(): value for name, value in clickhouse.env.items()}
        settings: Any = TraceSettings(nats_url=nats.url, **wanted)  # type: ignore[arg-type]
        async with running("trace", settings, trace_app) as context:
            assert context.health.ready
            ask = functools.partial(bus.call, context.nc, rpc.TRACE_COUNTS, rpc.TraceCountsRequest())
            await ask()
            for stop in (clickhouse.kill, clickhouse.stop):
                stop()
                with pytest.raises(RetryableError) as caught:
                    await ask()
                assert (caught.value.code, caught.value.kind) == ("unavailable", "clickhouse_unavailable")
                assert caught.value.retry_after_ms
                await until(lambda: "clickhouse" in _wrong(context.health), what="it says that ClickHouse answers")
                assert not context.health.ready
                clickhouse.start()
                await until(lambda: context.health.ready, what="it does not see that ClickHouse is back")
                await ask()


async def test_cluster_01_a_trace_service_ends_when_clickhouse_came_back_without_its_tables(
    nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "NO_TABLES_S_MAX", 1.0)
    server = ClickHouseServer(tmp_path / "clickhouse")
    with server:
        wanted = {name.lower(): value for name, value in server.env.items()}
        settings: Any = TraceSettings(nats_url=nats.url, **wanted)  # type: ignore[arg-type]
        async with running("trace", settings, trace_app) as context:
            server.kill()
            shutil.rmtree(server.folder)
            server.start()
            await context.log.append(Entry(subjects.audit("default", ""), b"{}"))
            await context.stopping.wait()
        async with running("trace", settings, trace_app) as context:
            await until(lambda: context.health.ready)
            counts = await bus.call(context.nc, rpc.TRACE_COUNTS, rpc.TraceCountsRequest(subjects.AUDIT_STREAM))
            assert counts.rows == 1
