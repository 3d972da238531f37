"""Waiting for runs through real gRPC, NATS and PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2

from agentflow.v1 import workflow_pb2 as pb
from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.log.event_log import Entry
from agentflow_common.metrics import calls
from agentflow_gateway.api.call import Call
from agentflow_gateway.grpc_services.run_answers import RunAnswers
from agentflow_sdk import DeadlineExceededError, NotFoundError
from tests.replay.record import HISTORIES
from tests.support.gateway import GatewayUnderTest, details, running_gateway
from tests.support.waiting import PATIENCE_S, until

pytestmark = pytest.mark.integration

COMPLETED = pb.RUN_STATUS_COMPLETED


async def test_a_wait_is_answered_with_the_run_as_get_gives_it(gateway: GatewayUnderTest) -> None:
    run = (await gateway.submit()).run_id
    asked = pb.WaitRunRequest(run_id=run)
    waits = [asyncio.create_task(gateway.wait(asked)) for _ in range(3)]
    await asyncio.sleep(0.1)
    assert not any(task.done() for task in waits)
    await gateway.finish(run)
    async with asyncio.timeout(PATIENCE_S):
        answers = await asyncio.gather(*waits)
    shown = (await gateway.workflows.GetRun(pb.GetRunRequest(run_id=run), metadata=gateway.auth())).run
    assert [answer.run for answer in answers] == [shown] * 3
    assert (shown.status, shown.run_id, len(shown.steps)) == (COMPLETED, run, 2)
    assert (await gateway.wait(asked)).run == shown, "a run that has ended is answered at once"


async def test_a_wait_ends_at_its_time_with_the_run_so_far(gateway: GatewayUnderTest) -> None:
    run = (await gateway.submit()).run_id
    answer = await gateway.wait(pb.WaitRunRequest(run_id=run, timeout_ms=50))
    assert (answer.run.run_id, answer.run.status) == (run, pb.RUN_STATUS_PENDING)
    request = pb.WaitRunRequest(run_id=run)
    answer = await gateway.workflows.WaitRun(request, metadata=gateway.auth(), timeout=1)
    assert answer.run.status == pb.RUN_STATUS_PENDING, "the client's deadline bounds the wait, and is kept"
    for wrong, code in (
        (pb.WaitRunRequest(run_id="run_unknown"), grpc.StatusCode.NOT_FOUND),
        (pb.WaitRunRequest(run_id=run, timeout_ms=-1), grpc.StatusCode.INVALID_ARGUMENT),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await gateway.wait(wrong)
        assert caught.value.code() is code


async def test_another_orgs_run_is_not_waited_for(gateway: GatewayUnderTest) -> None:
    run = (await gateway.submit()).run_id
    other = await gateway.key_for("other", "read")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.workflows.WaitRun(pb.WaitRunRequest(run_id=run), metadata=gateway.auth(other))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_wait_follows_a_chain_to_its_last_run(gateway: GatewayUnderTest) -> None:
    for run in ("run_one", "run_two", "run_three"):
        await gateway.begin(run)
    await gateway.end("run_one", "run_two")
    waits = [
        asyncio.create_task(gateway.wait(pb.WaitRunRequest(run_id=run, follow_chain=True)))
        for run in ("run_one", "run_two")
    ]
    first = (await gateway.wait(pb.WaitRunRequest(run_id="run_one"))).run
    assert (first.run_id, first.continued_as) == ("run_one", "run_two")
    await gateway.end("run_two", "run_three")
    so_far = await gateway.wait(pb.WaitRunRequest(run_id="run_one", follow_chain=True, timeout_ms=50))
    assert (so_far.run.run_id, so_far.run.status) == ("run_three", pb.RUN_STATUS_PENDING)
    await gateway.end("run_three")
    async with asyncio.timeout(PATIENCE_S):
        assert [(await task).run.run_id for task in waits] == ["run_three", "run_three"]


async def test_each_of_several_waits_has_its_own_answer(gateway: GatewayUnderTest) -> None:
    runs = [(await gateway.submit()).run_id for _ in range(3)]
    waits = [pb.WaitRunRequest(run_id=run) for run in (*runs[:2], "run_nobody", runs[2])]
    waits[3].timeout_ms = 1
    stream = gateway.workflows.WaitRuns(pb.WaitRunsRequest(waits=waits), metadata=gateway.auth())
    found: dict[int, Any] = {}

    async def answered(count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(found) < count:
                for result in (await stream.read()).results:
                    assert result.number not in found
                    found[result.number] = result

    await answered(2)
    error = status_pb2.Status.FromString(found[2].error)
    assert (error.code, "run_nobody" in error.message) == (grpc.StatusCode.NOT_FOUND.value[0], True)
    assert (found[3].waited.run.run_id, found[3].waited.run.status) == (runs[2], pb.RUN_STATUS_PENDING)
    for number in (1, 0):
        await gateway.finish(runs[number])
        await answered(4 - number)
        shown = (await gateway.workflows.GetRun(pb.GetRunRequest(run_id=runs[number]), metadata=gateway.auth())).run
        assert (found[number].waited.run, shown.status) == (shown, COMPLETED)
    assert await stream.read() is grpc.aio.EOF
    many = pb.WaitRunsRequest(waits=[pb.WaitRunRequest(run_id=run) for run in runs] * 40)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.workflows.WaitRuns(many, metadata=gateway.auth()).read()
    assert "send at most 100 in one call" in str(caught.value.details())


async def test_the_clients_waits_that_begin_together_are_one_call(gateway: GatewayUnderTest) -> None:
    runs = [(await gateway.submit()).run_id for _ in range(4)]
    served = calls.GRPC_STREAM_SECONDS.labels("WaitRuns")._sum.get
    async with gateway.client() as client:
        waits = [asyncio.create_task(client.workflows.wait(run, timeout=PATIENCE_S)) for run in runs]
        await asyncio.sleep(0.1)
        for run in runs:
            await gateway.finish(run)
        async with asyncio.timeout(PATIENCE_S):
            assert [(await wait).run_id for wait in waits] == runs
            await until(lambda: served() > 0)


async def test_waits_have_a_bound_of_their_own(nats_url: str, db_env: dict[str, str]) -> None:
    async with running_gateway(nats_url, db_env, calls_active_max=1, waiters_max=2) as gateway:
        run = (await gateway.submit()).run_id
        client = gateway.client()
        waits = [asyncio.create_task(client.workflows.wait(run, timeout=PATIENCE_S)) for _ in range(2)]

        async def refused() -> str:
            try:
                await gateway.wait(pb.WaitRunRequest(run_id=run, timeout_ms=1))
            except grpc.aio.AioRpcError as error:
                return details(error)[0]
            return ""

        assert await until(refused) == "too_many_waiters"
        await gateway.finish(run)  # and other calls are served meanwhile
        assert (await gateway.workflows.GetRun(pb.GetRunRequest(run_id=run), metadata=gateway.auth())).run.run_id == run
        assert [(await task).status for task in waits] == ["completed"] * 2
        await client.close()


async def test_the_client_waits(gateway: GatewayUnderTest) -> None:
    run = (await gateway.submit()).run_id
    async with gateway.client() as client:
        with pytest.raises(DeadlineExceededError, match=r"still under way after 0\.2 s"):
            await client.workflows.wait(run, timeout=0.2)
        with pytest.raises(NotFoundError):
            await client.workflows.wait("run_unknown", timeout=PATIENCE_S)
        waiting = asyncio.create_task(client.workflows.wait(run, timeout=PATIENCE_S))
        await gateway.finish(run)
        ended = await waiting
        assert ended == await client.workflows.get(run)
        assert ended.status == "completed"


async def test_a_client_that_waits_asks_the_next_gateway(nats_url: str, db_env: dict[str, str]) -> None:
    async with running_gateway(nats_url, db_env) as first:
        port, run = first.context.ports["grpc"], (await first.submit()).run_id
        client = first.client()
        waiting = asyncio.create_task(client.workflows.wait(run, timeout=3 * PATIENCE_S))
        await asyncio.sleep(0.1)
    async with running_gateway(nats_url, db_env, api_port=port, api_key=first.key) as second:
        assert not waiting.done()
        await second.finish(run)
        assert (await waiting).status == "completed"
        await client.close()


@pytest.mark.parametrize("name", ["code_review", "derived", "everything"])
async def test_a_kept_answer_is_what_a_new_one_would_be(
    gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Every event of recorded runs is appended, and after each the kept answer is compared with a new one."""
    kept = RunAnswers.get
    anew: list[str] = []
    make = RunAnswers._anew

    async def compared(self: RunAnswers, call: Call, run_id: str, seq: int = 0) -> Any:
        found = await kept(self, call, run_id, seq)
        fresh = await make(RunAnswers(), call, subjects.key_of(call.org, run_id))
        assert found.SerializeToString(deterministic=True) == fresh.SerializeToString(deterministic=True)
        return found

    async def counted(self: RunAnswers, call: Call, key: subjects.EntityKey) -> Any:
        anew.append(key.name)
        return await make(self, call, key)

    monkeypatch.setattr(RunAnswers, "get", compared)
    monkeypatch.setattr(RunAnswers, "_anew", counted)
    lines = sorted(HISTORIES.glob(f"{name}.*.jsonl"))[0].read_text().splitlines()[1:]
    asked = 0
    run = ""
    for line in lines:
        event = ev.decode(json.dumps(json.loads(line)["event"]).encode())
        run = event.run
        key = subjects.key_of("default", run)
        subject = subjects.out_run(key) if isinstance(event, ev.Decision) else subjects.run_in(key)
        await gateway.context.log.append(Entry(subject, ev.encode(event)))
        for _ in range(2):
            await gateway.workflows.GetRun(pb.GetRunRequest(run_id=run), metadata=gateway.auth())
            asked += 1
    assert (asked, len(anew)) == (2 * len(lines), len(lines)), "an answer is made once for each event"
    await gateway.submit(idempotency_key="fork", tags={"agentflow.other": run})
    await gateway.workflows.GetRun(pb.GetRunRequest(run_id=run), metadata=gateway.auth())
    assert len(anew) == len(lines)
