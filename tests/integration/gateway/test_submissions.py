"""Submissions that share calls, statements and remembered rows: each means what it means alone."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.rpc import status_pb2

from agentflow.v1 import workflow_pb2 as pb
from agentflow_common import subjects
from agentflow_common.connections import postgres
from agentflow_gateway.store import changes
from agentflow_gateway.store.definitions import DefinitionRow
from agentflow_gateway.store.derived_memory import DerivedMemory
from agentflow_gateway.store.memory import NOTHING, Memory
from agentflow_sdk import AsyncClient, NotFoundError
from tests.support.gateway import GatewayUnderTest, running_gateway
from tests.support.waiting import until

pytestmark = pytest.mark.integration

FLOW: dict[str, Any] = {
    "name": "one",
    "dag": {"nodes": [{"id": "a", "type": "function", "config": {"function_name": "noop"}}]},
}


@pytest.fixture
async def other(gateway: GatewayUnderTest, nats_url: str, db_env: dict[str, str]) -> AsyncIterator[GatewayUnderTest]:
    """A second gateway over the same log and tables."""
    async with running_gateway(nats_url, db_env, api_key=gateway.key) as running:
        yield running


async def version_of(gateway: GatewayUnderTest, client: AsyncClient, ref: str) -> int:
    """The version that a submission of this reference runs."""
    run = (await client.workflows.submit(ref)).run_id
    first = await gateway.context.log.read(subjects.run_in(subjects.key_of("default", run)), limit=1)
    return int(first[0].data.split(b'"version":')[1].split(b",")[0])


async def test_each_of_several_submissions_has_its_own_result(gateway: GatewayUnderTest) -> None:
    async with gateway.client() as client:
        await client.workflows.register(FLOW)
    refs = ["one", "two", "one", "one@7"]
    keys = ["a", "b", "a", "c"]
    request = pb.SubmitWorkflowsRequest(
        submissions=[
            pb.SubmitWorkflowRequest(workflow=ref, idempotency_key=key) for ref, key in zip(refs, keys, strict=True)
        ]
    )
    results = (await gateway.workflows.SubmitWorkflows(request, metadata=gateway.auth())).results
    assert [result.WhichOneof("result") for result in results] == ["submitted", "error", "submitted", "error"]
    first, again = results[0].submitted, results[2].submitted
    assert first.run_id == again.run_id and sorted([first.deduplicated, again.deduplicated]) == [False, True]
    errors = [status_pb2.Status.FromString(result.error) for result in (results[1], results[3])]
    assert [error.code for error in errors] == [5, 5]
    assert errors[1].message == "workflow 'one' has no version 7; it has 1"


async def test_too_many_submissions_in_one_call_are_refused_with_the_bound(gateway: GatewayUnderTest) -> None:
    request = pb.SubmitWorkflowsRequest(submissions=[pb.SubmitWorkflowRequest(workflow="one")] * 101)
    with pytest.raises(Exception, match="101 submissions are too many"):
        await gateway.workflows.SubmitWorkflows(request, metadata=gateway.auth())


async def test_a_client_submits_many_at_once_and_finds_them_listed(gateway: GatewayUnderTest) -> None:
    async with gateway.client() as client:
        await client.workflows.register(FLOW)
        runs = await asyncio.gather(*(client.workflows.submit("one", idempotency_key=f"k{n}") for n in range(60)))
        listed = await client.workflows.list(limit=100)
        assert {run.run_id for run in listed} == {run.run_id for run in runs} and len(runs) == len(listed) == 60
        again = await asyncio.gather(*(client.workflows.submit("one", idempotency_key=f"k{n}") for n in range(60)))
        assert [(run.run_id, run.deduplicated) for run in again] == [(run.run_id, True) for run in runs]
        traces = {(await client.workflows.get(run)).trace_id for run in runs[:10]}
        assert len(traces) == 10
        with pytest.raises(NotFoundError):
            await asyncio.gather(*(client.workflows.submit("two") for _ in range(5)))


async def test_a_run_that_is_not_listed_yet_is_still_one_run_for_its_key(gateway: GatewayUnderTest) -> None:
    first = await gateway.submit(idempotency_key="k")
    await gateway.store.pool.execute("DELETE FROM runs")
    again = await gateway.submit(idempotency_key="k")
    assert (again.run_id, again.deduplicated) == (first.run_id, True)


async def test_a_listed_run_that_has_left_the_log_gives_its_key_to_another_run(gateway: GatewayUnderTest) -> None:
    first = await gateway.submit(idempotency_key="k")
    await until(lambda: gateway.store.runs.has("default", first.run_id))
    key = subjects.key_of("default", first.run_id)
    await gateway.context.nc.jsm().purge_stream(subjects.EVENTS_STREAM, subject=subjects.run_in(key))
    second = await gateway.submit(idempotency_key="k")
    assert second.run_id != first.run_id and not second.deduplicated
    assert (await gateway.submit(idempotency_key="k")).run_id == second.run_id


async def test_changes_by_one_gateway_are_known_to_the_other(
    gateway: GatewayUnderTest, other: GatewayUnderTest
) -> None:
    async with gateway.client() as here, other.client() as there:
        await here.workflows.register(FLOW)
        await here.workflows.label("one", "prod", version=1)
        assert await version_of(gateway, there, "one@prod") == 1  # and it is remembered there
        for version in (2, 3, 4):
            await here.workflows.register({**FLOW, "version": version})
            assert await version_of(gateway, here, "one") == version  # its own change is known at once
            await here.workflows.label("one", "prod", version=version)
            assert await version_of(gateway, here, "one@prod") == version
            for ref in ("one", "one@prod"):
                await until(lambda ref=ref, version=version: _is(gateway, there, ref, version))  # type: ignore[misc]
        await here.workflows.remove_label("one", "prod")
        await until(lambda: _fails(there, "one@prod"))
        await here.workflows.register({**FLOW, "name": "unused"})
        assert await version_of(gateway, there, "unused@1") == 1


async def _is(gateway: GatewayUnderTest, client: AsyncClient, ref: str, version: int) -> bool:
    return await version_of(gateway, client, ref) == version


async def _fails(client: AsyncClient, ref: str) -> bool:
    try:
        await client.workflows.submit(ref)
    except NotFoundError:
        return True
    return False


async def test_nothing_is_remembered_while_changes_are_not_heard(gateway: GatewayUnderTest) -> None:
    pool = gateway.store.pool
    row = DefinitionRow(name="one", version=1, digest="d", canonical="{}")
    await gateway.store.definitions.add("default", row, 1, "me")
    memory = Memory()
    connect = functools.partial(postgres.connect_one, gateway.context.settings, "gateway")
    heard = changes.Listener(connect, memory, DerivedMemory(), gateway.context.log.last_seq)
    listener = asyncio.ensure_future(heard.run())
    try:

        async def kept() -> bool:
            before = memory.changes
            memory.keep(("default", "one"), 1, row, 2, before)
            return memory.find(("default", "one"), 1, time.monotonic()) is not NOTHING

        await until(kept)
        await gateway.store.definitions.delete("default", row, 2, "me")  # this store has another memory
        await until(lambda: memory.find(("default", "one"), 1, time.monotonic()) is NOTHING)
        await until(kept)
        changes_before = memory.changes
        await pool.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE query LIKE '%pg_notify%' AND pid <> pg_backend_pid()"
        )
        await until(lambda: memory.changes > changes_before)
        await until(kept)  # the listener has come back
    finally:
        listener.cancel()
        with pytest.raises(asyncio.CancelledError):
            await listener
    assert memory.find(("default", "one"), 1, time.monotonic()) is NOTHING


async def test_a_fork_at_one_gateway_is_shown_by_the_other_that_knew_of_none(
    gateway: GatewayUnderTest, other: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: list[bool] = []
    surely_none = DerivedMemory.surely_none

    def noted(self: DerivedMemory, org: str, run: str, first_seq: int, now: float) -> bool:
        known.append(surely_none(self, org, run, first_seq, now))
        return known[-1]

    monkeypatch.setattr(DerivedMemory, "surely_none", noted)
    async with gateway.client() as here, other.client() as there:

        async def derived() -> tuple[str, ...]:
            return (await there.workflows.get(run)).derived_run_ids

        async def knows_of_none() -> bool:
            return await derived() == () and known[-1]

        await until(lambda: _is_known(gateway, there, known))
        run = (await gateway.submit()).run_id
        await gateway.finish(run)
        await until(knows_of_none)
        forked = (await here.workflows.fork(run, "read")).run_id

        async def shown() -> bool:
            return await derived() == (forked,)

        await until(shown)
        assert not known[-1]
        assert await derived() == (forked,), "and it stays"


async def _is_known(gateway: GatewayUnderTest, client: AsyncClient, known: list[bool]) -> bool:
    await client.workflows.get((await gateway.submit()).run_id)
    return known[-1]


async def test_a_connection_goes_back_to_the_pool_without_a_question(gateway: GatewayUnderTest) -> None:
    pool = await postgres.connect(gateway.context.settings, "gateway")
    queries: list[str] = []
    try:
        async with pool.acquire() as connection:
            inner = connection._con
            inner.add_query_logger(lambda record: queries.append(record.query))
            await connection.execute("SELECT 1")
        assert queries == ["SELECT 1"]
        async with pool.acquire() as connection:
            assert connection._con is inner
            await connection.transaction().start()  # is not ended by its caller
        assert queries[1:] == ["BEGIN;", "ROLLBACK"]
    finally:
        await pool.close()
