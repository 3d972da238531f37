"""Following many runs, and slow and compact watches, through real gRPC, NATS and PostgreSQL."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from nats.aio.msg import Msg

from agentflow.v1 import workflow_pb2 as pb
from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.log.event_log import Entry
from agentflow_gateway import run_tails
from agentflow_sdk import RunEvent
from tests.support.gateway import FACT, GatewayUnderTest, consumers_are, running_gateway
from tests.support.waiting import PATIENCE_S, until

pytestmark = pytest.mark.integration

COMPLETED = pb.RUN_STATUS_COMPLETED


async def rest(stream: Any) -> list[Any]:
    """The answers that are left of a stream that was read from: gRPC refuses to mix `read` and `async for`."""
    found = []
    while (answer := await stream.read()) is not grpc.aio.EOF:
        found.append(answer)
    return found


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
    waiting = asyncio.create_task(gateway.wait(pb.WaitRunRequest(run_id=run)))
    watch = pb.WatchRunRequest(run_id=run, compact=True)
    stream = gateway.workflows.WatchRun(watch, metadata=gateway.auth())
    first = await stream.read()
    await gateway.finish(run)
    async with asyncio.timeout(PATIENCE_S):
        answer = await waiting
        late = await gateway.wait(pb.WaitRunRequest(run_id=run))
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
        waits = [asyncio.create_task(gateway.wait(pb.WaitRunRequest(run_id=run))) for run in runs]
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
    await gateway.begin("run_busy")
    watch = pb.WatchRunRequest(run_id="run_busy", compact=True)
    streams = [gateway.workflows.WatchRun(watch, metadata=gateway.auth()) for _ in range(run_tails.MANY)]
    for stream in streams:
        await stream.read()
    await gateway.append(ev.RunStarted(**FACT, run="run_busy", workflow="w", version=1, steps=1, seen=1), "out_run")
    for stream in streams:
        assert [event.type for event in (await stream.read()).events] == ["run.started"]
    for number in range(3):
        beat = ev.StepProgressed(**FACT, run="run_busy", step="a", attempt=1, detail=str(number))
        await gateway.append(beat, "run_in")
        await asyncio.sleep(0.1)
    await gateway.end("run_busy")  # the end does not wait
    async with asyncio.timeout(PATIENCE_S):
        answers = [[event.type for event in item.events] for item in await rest(streams[-1])]
    assert answers == [["step.progressed"] * 3 + ["run.completed"]]
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
    early_wait = asyncio.create_task(gateway.wait(pb.WaitRunRequest(run_id=run)))
    await early_watch.read()
    await asyncio.sleep(0.1)
    await gateway.finish(run)
    async with asyncio.timeout(PATIENCE_S):
        assert (await early_wait).run.status == COMPLETED
        seen = [item.event.type for item in await rest(early_watch)]
        assert (await gateway.wait(pb.WaitRunRequest(run_id=run))).run.status == COMPLETED
        late_watch = gateway.workflows.WatchRun(pb.WatchRunRequest(run_id=run), metadata=gateway.auth())
        assert [item.event.type for item in await rest(late_watch)] == ["run.submitted", *seen]
    opens_it.cancel()


async def test_a_slow_client_reads_from_the_log_what_it_was_too_slow_for(nats_url: str, db_env: dict[str, str]) -> None:
    async with running_gateway(nats_url, db_env, watch_queue_max=2) as gateway:
        await gateway.begin("run_long")
        watch = pb.WatchRunRequest(run_id="run_long", compact=True)
        stream = gateway.workflows.WatchRun(watch, metadata=gateway.auth())
        seen = [event.sequence for event in (await stream.read()).events]
        key = subjects.key_of("default", "run_long")
        wanted = list(seen)
        for number in range(60):
            beat = ev.StepProgressed(**FACT, run="run_long", step="a", attempt=1, detail=str(number))
            wanted.append((await gateway.context.log.append(Entry(subjects.run_in(key), ev.encode(beat)))).seq)
        await gateway.end("run_long")
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
    return [item async for item in client.workflows.watch(run, timeout=PATIENCE_S) if isinstance(item, RunEvent)]


async def test_a_watch_follows_a_chain_and_names_the_run_of_each_event(gateway: GatewayUnderTest) -> None:
    for run, following in (("run_one", "run_two"), ("run_two", "run_three")):
        await gateway.begin(run)
        await gateway.end(run, following)
    await gateway.begin("run_three")
    request = pb.WatchRunRequest(run_id="run_one", follow_chain=True)
    stream = gateway.workflows.WatchRun(request, metadata=gateway.auth())
    seen = [(await stream.read()).event for _ in range(5)]
    assert [(event.run_id, event.type) for event in seen] == [
        ("run_one", "run.submitted"), ("run_one", "run.completed"), ("run_two", "run.submitted"),
        ("run_two", "run.completed"), ("run_three", "run.submitted"),
    ]  # fmt: skip
    await gateway.end("run_three")
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
        found = [event async for event in client.workflows.watch("run_one", chain=True, timeout=PATIENCE_S)]
        assert [event.run_id for event in found if isinstance(event, RunEvent)] == [
            "run_one", "run_one", "run_two", "run_two", "run_three", "run_three"
        ]  # fmt: skip
        assert [run.run_id for run in await client.workflows.chain("run_two")] == ["run_two", "run_three"]
