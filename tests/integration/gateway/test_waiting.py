"""Waiting for runs, and following many of them, through real gRPC, NATS and PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.rpc import status_pb2
from nats.aio.msg import Msg

from agentflow.v1 import workflow_pb2 as pb
from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.log.event_log import Entry
from agentflow_gateway import run_tails
from agentflow_gateway.api import door
from agentflow_gateway.api.call import Call
from agentflow_gateway.grpc_services.run_answers import RunAnswers
from agentflow_sdk import DeadlineExceededError, NotFoundError, RunEvent
from tests.replay.record import HISTORIES
from tests.support.gateway import GatewayUnderTest, consumers_are, details, running_gateway
from tests.support.waiting import PATIENCE_S, until

pytestmark = pytest.mark.integration

COMPLETED = pb.RUN_STATUS_COMPLETED
SUBMITTED = {"org": "default", "ts": 5}


async def end(gateway: GatewayUnderTest, run: str, continued_as: str = "") -> None:
    seen = await gateway.context.log.newest(subjects.run_in(subjects.key_of("default", run)))
    await gateway.append(ev.RunCompleted(**SUBMITTED, run=run, continued_as=continued_as, seen=seen), "out_run")


async def begin(gateway: GatewayUnderTest, run: str) -> None:
    event = ev.RunSubmitted(**SUBMITTED, run=run, workflow="w", version=1, definition={"dag": {"nodes": []}})
    await gateway.append(event, "run_in")


async def test_a_wait_is_answered_with_the_run_as_get_gives_it(gateway: GatewayUnderTest) -> None:
    run = (await gateway.submit()).run_id
    asked = pb.WaitRunRequest(run_id=run)
    waits = [asyncio.create_task(_wait(gateway, asked)) for _ in range(3)]
    await asyncio.sleep(0.1)
    assert not any(task.done() for task in waits)
    await gateway.finish(run)
    async with asyncio.timeout(PATIENCE_S):
        answers = await asyncio.gather(*waits)
    shown = (await gateway.workflows.GetRun(pb.GetRunRequest(run_id=run), metadata=gateway.auth())).run
    assert [answer.run for answer in answers] == [shown] * 3
    assert (shown.status, shown.run_id, len(shown.steps)) == (COMPLETED, run, 2)
    assert (await _wait(gateway, asked)).run == shown, "a run that has ended is answered at once"


async def rest(stream: Any) -> list[Any]:
    """The answers that are left of a stream that was read from: gRPC refuses to mix `read` and `async for`."""
    found = []
    while (answer := await stream.read()) is not grpc.aio.EOF:
        found.append(answer)
    return found


async def _wait(gateway: GatewayUnderTest, request: pb.WaitRunRequest) -> Any:
    return await gateway.workflows.WaitRun(request, metadata=gateway.auth())


async def test_a_wait_ends_at_its_time_with_the_run_so_far(gateway: GatewayUnderTest) -> None:
    run = (await gateway.submit()).run_id
    answer = await _wait(gateway, pb.WaitRunRequest(run_id=run, timeout_ms=50))
    assert (answer.run.run_id, answer.run.status) == (run, pb.RUN_STATUS_PENDING)
    request = pb.WaitRunRequest(run_id=run)
    answer = await gateway.workflows.WaitRun(request, metadata=gateway.auth(), timeout=1)
    assert answer.run.status == pb.RUN_STATUS_PENDING, "the client's deadline bounds the wait, and is kept"
    for wrong, code in (
        (pb.WaitRunRequest(run_id="run_unknown"), grpc.StatusCode.NOT_FOUND),
        (pb.WaitRunRequest(run_id=run, timeout_ms=-1), grpc.StatusCode.INVALID_ARGUMENT),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _wait(gateway, wrong)
        assert caught.value.code() is code


async def test_another_orgs_run_is_not_waited_for(gateway: GatewayUnderTest) -> None:
    run = (await gateway.submit()).run_id
    other = await gateway.key_for("other", "read")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.workflows.WaitRun(pb.WaitRunRequest(run_id=run), metadata=gateway.auth(other))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_wait_follows_a_chain_to_its_last_run(gateway: GatewayUnderTest) -> None:
    for run in ("run_one", "run_two", "run_three"):
        await begin(gateway, run)
    await end(gateway, "run_one", "run_two")
    waits = [
        asyncio.create_task(_wait(gateway, pb.WaitRunRequest(run_id=run, follow_chain=True)))
        for run in ("run_one", "run_two")
    ]
    first = (await _wait(gateway, pb.WaitRunRequest(run_id="run_one"))).run
    assert (first.run_id, first.continued_as) == ("run_one", "run_two")
    await end(gateway, "run_two", "run_three")
    so_far = await _wait(gateway, pb.WaitRunRequest(run_id="run_one", follow_chain=True, timeout_ms=50))
    assert (so_far.run.run_id, so_far.run.status) == ("run_three", pb.RUN_STATUS_PENDING)
    await end(gateway, "run_three")
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
    served = door.ACTIVE.labels("WaitRuns")._sum.get
    async with gateway.client() as client:
        waits = [asyncio.create_task(client.workflows.wait(run)) for run in runs]
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
        waits = [asyncio.create_task(client.workflows.wait(run)) for _ in range(2)]

        async def refused() -> str:
            try:
                await _wait(gateway, pb.WaitRunRequest(run_id=run, timeout_ms=1))
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
            await client.workflows.wait("run_unknown")
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


async def test_many_watchers_share_few_consumers_and_nobody_reads_for_them_afterwards(
    gateway: GatewayUnderTest,
) -> None:
    jsm = gateway.context.nc.jsm()

    async def projecting() -> bool:
        return gateway.context.health.parts.get("projection") == "ok"

    await until(projecting)
    before = len(await jsm.consumers_info(subjects.EVENTS_STREAM))
    runs = [(await gateway.submit()).run_id for _ in range(8)]
    streams = {
        (run, number): gateway.workflows.WatchRun(pb.WatchRunRequest(run_id=run), metadata=gateway.auth())
        for run in runs
        for number in range(4)
    }
    for stream in streams.values():
        assert (await stream.read()).event.type == "run.submitted"
    there = len(await jsm.consumers_info(subjects.EVENTS_STREAM))
    assert before < there <= before + run_tails.MANY, "a few for single shards, and one for all who came later"
    for run in runs:
        await gateway.finish(run)
    kinds = ["run.started", "step.scheduled", "step.completed", "step.skipped", "run.completed"]
    async with asyncio.timeout(PATIENCE_S):
        for stream in streams.values():
            assert [item.event.type for item in await rest(stream)] == kinds
    await until(lambda: consumers_are(jsm, before))


async def test_a_run_that_begins_while_others_are_followed_is_not_read_from_the_log(
    gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_tails, "MANY", 1)
    other = (await gateway.submit()).run_id
    follower = gateway.workflows.WatchRun(pb.WatchRunRequest(run_id=other), metadata=gateway.auth())
    assert (await follower.read()).event.type == "run.submitted"

    read: list[str] = []

    async def note(message: Msg) -> None:
        read.append(message.subject + message.data.decode())

    await gateway.context.nc.subscribe("$JS.API.DIRECT.GET.>", cb=note)
    run = (await gateway.submit()).run_id
    waiting = asyncio.create_task(_wait(gateway, pb.WaitRunRequest(run_id=run)))
    watch = pb.WatchRunRequest(run_id=run, compact=True)
    stream = gateway.workflows.WatchRun(watch, metadata=gateway.auth())
    first = await stream.read()
    await gateway.finish(run)
    async with asyncio.timeout(PATIENCE_S):
        answer = await waiting
        late = await _wait(gateway, pb.WaitRunRequest(run_id=run))
        events = [event.type for item in (first, *await rest(stream)) for event in item.events]
    assert events == [
        "run.submitted", "run.started", "step.scheduled", "step.completed", "step.skipped", "run.completed",
    ]  # fmt: skip
    await gateway.context.nc.flush()
    assert len([text for text in read if run in text]) == 1, "`finish` itself looks for the first event"
    shown = (await gateway.workflows.GetRun(pb.GetRunRequest(run_id=run), metadata=gateway.auth())).run
    assert (answer.run, late.run) == (shown, shown)


async def test_who_comes_shortly_after_many_have_followed_begins_no_other_tail(
    gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_tails, "MANY", 2)
    jsm = gateway.context.nc.jsm()

    async def followed(count: int) -> None:
        runs = [(await gateway.submit()).run_id for _ in range(count)]
        waits = [asyncio.create_task(_wait(gateway, pb.WaitRunRequest(run_id=run))) for run in runs]
        await asyncio.sleep(0.1)
        for run in runs:
            await gateway.finish(run)
        async with asyncio.timeout(PATIENCE_S):
            assert {answer.run.status for answer in await asyncio.gather(*waits)} == {COMPLETED}

    await followed(3)
    there = len(await jsm.consumers_info(subjects.EVENTS_STREAM))
    for _ in range(3):
        run = (await gateway.submit()).run_id
        stream = gateway.workflows.WatchRun(pb.WatchRunRequest(run_id=run), metadata=gateway.auth())
        assert (await stream.read()).event.type == "run.submitted"
        assert len(await jsm.consumers_info(subjects.EVENTS_STREAM)) <= there, "nobody reads this run's shard alone"
        await gateway.finish(run)
        async with asyncio.timeout(PATIENCE_S):
            assert (await rest(stream))[-1].event.type == "run.completed"


async def test_many_watchers_get_compact_answers_less_often(
    gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_tails, "CROWD_GATHER_S", 600.0)
    run = (await gateway.submit()).run_id
    watch = pb.WatchRunRequest(run_id=run, compact=True)
    streams = [gateway.workflows.WatchRun(watch, metadata=gateway.auth()) for _ in range(run_tails.MANY)]
    for stream in streams:
        await stream.read()
    await gateway.finish(run, pause_s=0.1)
    async with asyncio.timeout(PATIENCE_S):
        answers = [[event.type for event in item.events] for item in await rest(streams[-1])]
    assert answers[-1][-3:] == ["step.completed", "step.skipped", "run.completed"], "the end does not wait"
    for stream in streams:
        stream.cancel()


async def test_the_tail_of_all_runs_may_lag_behind_the_tails_that_few_follow(
    gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_tails, "GATHER_S", 600.0)
    monkeypatch.setattr(run_tails, "GATHER_FULL", 1)
    monkeypatch.setattr(run_tails, "MANY", 1)
    monkeypatch.setattr(run_tails, "STILL_MANY_S", 0.0)
    lagging = (await gateway.submit()).run_id
    opens_it = gateway.workflows.WatchRun(pb.WatchRunRequest(run_id=lagging), metadata=gateway.auth())
    assert (await opens_it.read()).event.type == "run.submitted"
    monkeypatch.setattr(run_tails, "MANY", 1_000)

    run = (await gateway.submit()).run_id
    early_watch = gateway.workflows.WatchRun(pb.WatchRunRequest(run_id=run), metadata=gateway.auth())
    early_wait = asyncio.create_task(_wait(gateway, pb.WaitRunRequest(run_id=run)))
    await early_watch.read()
    await asyncio.sleep(0.1)
    await gateway.finish(run)
    async with asyncio.timeout(PATIENCE_S):
        assert (await early_wait).run.status == COMPLETED
        seen = [item.event.type for item in await rest(early_watch)]
        assert (await _wait(gateway, pb.WaitRunRequest(run_id=run))).run.status == COMPLETED
        late_watch = gateway.workflows.WatchRun(pb.WatchRunRequest(run_id=run), metadata=gateway.auth())
        assert [item.event.type for item in await rest(late_watch)] == ["run.submitted", *seen]
    opens_it.cancel()


async def test_a_slow_client_reads_from_the_log_what_it_was_too_slow_for(nats_url: str, db_env: dict[str, str]) -> None:
    async with running_gateway(nats_url, db_env, watch_queue_max=2) as gateway:
        await begin(gateway, "run_long")
        watch = pb.WatchRunRequest(run_id="run_long", compact=True)
        stream = gateway.workflows.WatchRun(watch, metadata=gateway.auth())
        seen = [event.sequence for event in (await stream.read()).events]
        key = subjects.key_of("default", "run_long")
        wanted = list(seen)
        for number in range(60):
            beat = ev.StepProgressed(**SUBMITTED, run="run_long", step="a", attempt=1, detail=str(number))
            wanted.append((await gateway.context.log.append(Entry(subjects.run_in(key), ev.encode(beat)))).seq)
        await end(gateway, "run_long")
        async with asyncio.timeout(PATIENCE_S):
            seen += [event.sequence for item in await rest(stream) for event in item.events]
        assert seen[:-1] == wanted


async def test_compact_answers_have_the_same_events(gateway: GatewayUnderTest) -> None:
    run = (await gateway.submit()).run_id
    async with gateway.client() as client:
        watched = asyncio.create_task(_watched(client, run))
        await asyncio.sleep(0.05)
        await gateway.finish(run)
        live = await watched
        assert live == await _watched(client, run)
    stream = gateway.workflows.WatchRun(pb.WatchRunRequest(run_id=run), metadata=gateway.auth())
    plain = [item.event async for item in stream]
    assert [event.sequence for event in live] == [event.sequence for event in plain]
    for mine, theirs in zip(live, plain, strict=True):
        assert mine.body == json_format.MessageToDict(theirs.body)
        same = (mine.type, mine.ts, mine.step, mine.attempt, mine.cost_nano_usd, mine.steps_done, mine.steps_total)
        assert same == (
            theirs.type, theirs.ts, theirs.step, theirs.attempt, theirs.cost_nano_usd, theirs.steps_done,
            theirs.steps_total,
        )  # fmt: skip


async def _watched(client: Any, run: str) -> list[RunEvent]:
    return [item async for item in client.workflows.watch(run) if isinstance(item, RunEvent)]


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


async def test_a_watch_follows_a_chain_and_names_the_run_of_each_event(gateway: GatewayUnderTest) -> None:
    for run, following in (("run_one", "run_two"), ("run_two", "run_three")):
        await begin(gateway, run)
        await end(gateway, run, following)
    await begin(gateway, "run_three")
    request = pb.WatchRunRequest(run_id="run_one", follow_chain=True)
    stream = gateway.workflows.WatchRun(request, metadata=gateway.auth())
    seen = [(await stream.read()).event for _ in range(5)]
    assert [(event.run_id, event.type) for event in seen] == [
        ("run_one", "run.submitted"), ("run_one", "run.completed"), ("run_two", "run.submitted"),
        ("run_two", "run.completed"), ("run_three", "run.submitted"),
    ]  # fmt: skip
    await end(gateway, "run_three")
    assert [(answer.event.run_id, answer.event.type) for answer in await rest(stream)] == [
        ("run_three", "run.completed")
    ]
    resumed = pb.WatchRunRequest(run_id="run_one", follow_chain=True, after_sequence=seen[3].sequence)
    answers = [answer async for answer in gateway.workflows.WatchRun(resumed, metadata=gateway.auth())]
    assert [answer.event.run_id for answer in answers] == ["run_three", "run_three"]
    alone = pb.WatchRunRequest(run_id="run_one")
    answers = [answer async for answer in gateway.workflows.WatchRun(alone, metadata=gateway.auth())]
    assert [(answer.event.run_id, answer.event.type) for answer in answers] == [
        ("", "run.submitted"), ("", "run.completed")
    ]  # fmt: skip
    async with gateway.client() as client:
        found = [event async for event in client.workflows.watch("run_one", chain=True)]
        assert [event.run_id for event in found if isinstance(event, RunEvent)] == [
            "run_one", "run_one", "run_two", "run_two", "run_three", "run_three"
        ]  # fmt: skip
        assert [run.run_id for run in await client.workflows.chain("run_two")] == ["run_two", "run_three"]
