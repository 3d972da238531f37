"""What a client of the gateway is told when a server behind it goes away: UNAVAILABLE, and when to come again."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from agentflow_common import ids
from agentflow_common.connections import transient
from agentflow_common.embedded.postgres import PostgresServer
from agentflow_common.errors import AgentFlowError, RetryableError
from agentflow_gateway.api import errors
from tests.support.api import API_METHODS
from tests.support.gateway import DEFINITION, GatewayUnderTest, running_gateway
from tests.support.servers import NatsLike
from tests.support.waiting import until

pytestmark = pytest.mark.integration

NEVER = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}
QUERIES_MIN = 8  # calls that wait in a query of their own when the database dies


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    """A server of this test's own, in a folder that another pytest session does not tidy away."""
    with (
        tempfile.TemporaryDirectory(prefix="agentflow-pg-", ignore_cleanup_errors=True) as folder,
        PostgresServer(Path(folder) / "data") as server,
    ):
        yield server


@pytest.fixture
async def gateway(nats_url: str, postgres: PostgresServer) -> AsyncIterator[GatewayUnderTest]:
    async with running_gateway(nats_url, postgres.env(), key_cache_s=600.0) as found:
        yield found


def request_for(method: MethodDescriptor) -> Any:
    """A request that gets past the checks of most methods: every text is filled in."""
    request = message_factory.GetMessageClass(method.input_type)()
    known = {"run_id": ids.new_run_id(), "definition_text": DEFINITION, "org_id": "default"}
    for field in method.input_type.fields:
        if field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated and field.containing_oneof is None:
            setattr(request, field.name, known.get(field.name, "" if "token" in field.name else "review"))
    return request


async def call(gateway: GatewayUnderTest, method: MethodDescriptor) -> grpc.aio.AioRpcError | None:
    """The error of one call; None if it went well."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    reply = message_factory.GetMessageClass(method.output_type)
    kind = gateway.channel.unary_stream if method.server_streaming else gateway.channel.unary_unary
    invoke: Any = kind(path, lambda request: request.SerializeToString(), reply.FromString)
    try:
        if method.server_streaming:
            async for _ in invoke(request_for(method), metadata=gateway.auth()):
                pass
        else:
            await invoke(request_for(method), metadata=gateway.auth())
    except grpc.aio.AioRpcError as error:
        return error
    return None


def check(found: dict[str, grpc.aio.AioRpcError | None]) -> set[str]:
    """The methods that answered UNAVAILABLE, each with a time to come again; none answered an internal error."""
    bad = {name: error.details() for name, error in found.items() if error is not None and error.code() in NEVER}
    assert bad == {}
    away = {name: error for name, error in found.items() if error and error.code() is grpc.StatusCode.UNAVAILABLE}
    for name, error in away.items():
        status: Any = rpc_status.from_call(error)
        hints = [item for item in status.details if item.Is(error_details_pb2.RetryInfo.DESCRIPTOR)]
        assert hints, f"{name}: {error.details()} without a time to come again"
    return set(away)


async def all_calls(gateway: GatewayUnderTest) -> dict[str, grpc.aio.AioRpcError | None]:
    answers = await asyncio.gather(*(call(gateway, method) for method in API_METHODS))
    return {method.full_name: answer for method, answer in zip(API_METHODS, answers, strict=True)}


@pytest.mark.parametrize("how", ["stopped", "killed"])
async def test_cluster_09_every_method_says_unavailable_when_postgresql_dies_under_its_query(
    gateway: GatewayUnderTest, postgres: PostgresServer, how: str
) -> None:
    env = postgres.env()
    lock = await asyncpg.connect(
        host=env["DB_HOST"], port=int(env["DB_PORT"]), user=env["DB_USER"], password=env["DB_PASSWORD"]
    )
    await until(lambda: gateway.context.health.ready)
    before = check(await all_calls(gateway))
    tables = await lock.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'gateway'")
    transaction = lock.transaction()
    await transaction.start()
    for row in tables:
        await lock.execute(f'LOCK TABLE gateway."{row["tablename"]}" IN ACCESS EXCLUSIVE MODE')
    calls = asyncio.create_task(all_calls(gateway))
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"

    async def enough() -> bool:
        await lock.execute("SELECT pg_stat_clear_snapshot()")  # a transaction keeps the first look at the activity
        return int(await lock.fetchval(waiting)) >= min(QUERIES_MIN, gateway.context.settings.db_pool_max)

    await until(enough, what="too few calls wait in a query")
    postgres.kill() if how == "killed" else postgres.stop()
    under = check(await calls)
    assert len(under) >= QUERIES_MIN, f"only {under} met the outage"
    without = check(await all_calls(gateway))
    assert len(without) >= QUERIES_MIN
    lock.terminate()
    postgres.start()
    await until(lambda: gateway.context.health.ready)
    assert check(await all_calls(gateway)) == before


async def test_cluster_09_every_method_says_unavailable_when_a_key_can_not_be_looked_up(
    nats_url: str, postgres: PostgresServer
) -> None:
    async with running_gateway(nats_url, postgres.env(), key_cache_s=0.0) as gateway:
        postgres.kill()
        assert check(await all_calls(gateway)) == {method.full_name for method in API_METHODS}


async def test_cluster_09_every_method_says_unavailable_when_nats_is_away(
    nats_server: NatsLike, db_env: dict[str, str]
) -> None:
    async with running_gateway(nats_server.url, db_env, key_cache_s=600.0) as gateway:
        await until(lambda: gateway.context.health.ready)
        check(await all_calls(gateway))
        nats_server.kill()
        async with asyncio.TaskGroup() as group:
            calls = group.create_task(all_calls(gateway))
            away = check(await calls)
            assert len(away) >= QUERIES_MIN
            nats_server.start()
        await until(lambda: gateway.context.health.ready)


def test_cluster_09_what_passes_by_itself_is_told_apart_from_what_does_not() -> None:
    passing: list[Exception] = [
        asyncpg.AdminShutdownError("x"), asyncpg.CrashShutdownError("x"), asyncpg.CannotConnectNowError("x"),
        asyncpg.ConnectionDoesNotExistError("x"), asyncpg.InterfaceError("connection is closed"),
        asyncpg.TooManyConnectionsError("x"), asyncpg.DeadlockDetectedError("x"), asyncpg.DiskFullError("x"),
        asyncpg.QueryCanceledError("x"), asyncpg.InvalidPasswordError("x"), ConnectionResetError(), TimeoutError(),
    ]  # fmt: skip
    for error in passing:
        told = errors.for_client(error)
        assert (told.code, bool(told.retry_after_ms), told.retryable) == ("unavailable", True, True), error
    lasting: list[Exception] = [
        asyncpg.exceptions._base.DataError("value out of range"), asyncpg.DataError("x"), ValueError("x"),
        asyncpg.UndefinedTableError("x"), asyncpg.UniqueViolationError("x"), KeyError("x"),
    ]  # fmt: skip
    for error in lasting:
        assert transient.as_retryable(error) is None, error
        assert errors.for_client(error).code == "internal"
    hinted = errors.for_client(RetryableError("the event log is not reachable", kind="log_unavailable"))
    assert hinted.retry_after_ms
    assert errors.for_client(AgentFlowError("x")).retry_after_ms is None
