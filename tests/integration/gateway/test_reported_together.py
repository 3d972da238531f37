"""Watching steps that were reported in one event, through real gRPC, NATS and PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from google.protobuf import json_format

from agentflow.v1 import control_pb2, control_pb2_grpc
from agentflow.v1 import workflow_pb2 as pb
from agentflow_common.log.event_log import Entry
from agentflow_sdk import Client, RunEvent
from tests.support import reported_together
from tests.support.gateway import GatewayUnderTest, stub
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.integration

TOGETHER, SINGLY = "run_together", "run_singly"


async def append(gateway: GatewayUnderTest, entries: Sequence[Entry]) -> int:
    """Returns the sequence of the first one."""
    first, *_ = [(await gateway.context.log.append(entry)).seq for entry in entries]
    return first


async def written(gateway: GatewayUnderTest, upto: int | None = None) -> int:
    """Writes the run and its twin, whose steps were reported one by one. upto: the messages of the first one."""
    entries = reported_together.messages("default", TOGETHER)[:upto]
    end = None if upto is None else upto + 2
    await append(gateway, reported_together.messages("default", SINGLY, singly=True)[:end])
    return await append(gateway, entries)


async def watched(gateway: GatewayUnderTest, run: str, **fields: Any) -> list[Any]:
    request = pb.WatchRunRequest(run_id=run, **fields)
    async with asyncio.timeout(PATIENCE_S):
        answers = [answer async for answer in gateway.workflows.WatchRun(request, metadata=gateway.auth())]
    return [event for answer in answers for event in answer.events or [answer.event]]


def told(event: Any) -> dict[str, Any]:
    """What an event says beside the name of the run and its place in the log."""
    plain = json_format.MessageToDict(event, preserving_proto_field_name=True)
    return {**plain, "body": {**plain["body"], "run": ""}, "sequence": 0, "part": 0}


async def test_each_step_is_an_event_as_if_it_had_been_reported_by_itself(gateway: GatewayUnderTest) -> None:
    first = await written(gateway)
    events = await watched(gateway, TOGETHER, parts=True)
    singly = await watched(gateway, SINGLY, parts=True)
    assert [told(event) for event in events] == [told(event) for event in singly]
    assert [(event.sequence - first, event.part, event.step, event.steps_done) for event in events] == [
        (0, 0, "", 0), (1, 0, "", 0), (2, 0, "fetch", 0), (3, 0, "fetch", 1), (3, 1, "clean", 2), (3, 2, "count", 3),
        (4, 0, "rank", 4), (5, 0, "", 4),
    ]  # fmt: skip
    assert not any("before" in event.body for event in events)
    assert {event.part for event in singly} == {0}


@pytest.mark.parametrize("compact", [False, True])
async def test_a_client_goes_on_after_any_step(gateway: GatewayUnderTest, compact: bool) -> None:
    first = await written(gateway)
    every = await watched(gateway, TOGETHER, parts=True, compact=compact)
    assert len(every) == 8
    for number, event in enumerate(every, 1):
        after = {"after_sequence": event.sequence, "after_part": event.part}
        assert await watched(gateway, TOGETHER, parts=True, compact=compact, **after) == every[number:]
    forgetful = await watched(gateway, TOGETHER, parts=True, compact=compact, after_sequence=first + 3)
    assert forgetful == every[4:], "a step that may not have been seen comes"
    whole = await watched(gateway, TOGETHER, parts=True, after_sequence=first + 3, after_part=2**32 - 1)
    assert [event.step for event in whole] == ["rank", ""]


async def test_a_client_that_knows_no_parts_gets_what_the_log_has_and_misses_nothing(
    gateway: GatewayUnderTest,
) -> None:
    first = await written(gateway)
    every = await watched(gateway, TOGETHER)
    assert [(event.sequence - first, event.part, event.step, event.steps_done) for event in every] == [
        (0, 0, "", 0), (1, 0, "", 0), (2, 0, "fetch", 0), (3, 0, "count", 3), (4, 0, "rank", 4), (5, 0, "", 4),
    ]  # fmt: skip
    assert [done["step"] for done in every[3].body["before"]] == ["fetch", "clean"]
    for number, event in enumerate(every, 1):
        assert await watched(gateway, TOGETHER, after_sequence=event.sequence) == every[number:]


async def test_the_sdk_goes_on_after_any_step(gateway: GatewayUnderTest) -> None:
    await written(gateway)

    def blocking(**after: Any) -> list[Any]:
        with Client(gateway.endpoint, gateway.key) as client:
            return list(client.workflows.watch(TOGETHER, timeout=PATIENCE_S, **after))

    async with gateway.client() as client:
        every = [
            item async for item in client.workflows.watch(TOGETHER, timeout=PATIENCE_S) if isinstance(item, RunEvent)
        ]
        assert [event.step for event in every if event.type == "step.completed"] == list(reported_together.NAMES)
        assert [event.body["output"]["value"] for event in every[3:6]] == [{"n": 1}, "b", 2]
        for number, event in enumerate(every, 1):
            after: Any = {"after_sequence": event.sequence, "after_part": event.part}
            assert [item async for item in client.workflows.watch(TOGETHER, timeout=PATIENCE_S, **after)] == every[
                number:
            ]
            assert await asyncio.to_thread(blocking, **after) == every[number:]


async def test_steps_come_to_watchers_while_the_run_goes_on(gateway: GatewayUnderTest) -> None:
    entries = reported_together.messages("default", TOGETHER)
    await append(gateway, entries[:3])
    streams = [
        gateway.workflows.WatchRun(
            pb.WatchRunRequest(run_id=TOGETHER, parts=True, compact=compact), metadata=gateway.auth()
        )
        for compact in (False, True)
    ]
    for stream in streams:
        seen: list[Any] = []
        async with asyncio.timeout(PATIENCE_S):
            while len(seen) < 3:
                answer = await stream.read()
                seen.extend(answer.events or [answer.event])
    await append(gateway, entries[3:4])
    for stream in streams:
        seen = []
        async with asyncio.timeout(PATIENCE_S):
            while len(seen) < 3:
                answer = await stream.read()
                seen.extend(answer.events or [answer.event])
        assert [(event.step, event.part, event.steps_done) for event in seen] == [
            ("fetch", 0, 1), ("clean", 1, 2), ("count", 2, 3),
        ]  # fmt: skip
        stream.cancel()


async def test_a_run_is_shown_and_explained_as_if_each_step_had_been_reported_by_itself(
    gateway: GatewayUnderTest,
) -> None:
    await written(gateway, upto=4)
    controls = stub(control_pb2_grpc.RunControlServiceStub, gateway.channel)

    async def shown(run: str) -> tuple[dict[str, Any], dict[str, Any]]:
        got = await gateway.workflows.GetRun(pb.GetRunRequest(run_id=run), metadata=gateway.auth())
        why = await controls.ExplainRun(control_pb2.ExplainRunRequest(run_id=run), metadata=gateway.auth())
        plain = json_format.MessageToDict(got.run, preserving_proto_field_name=True)
        told = json_format.MessageToDict(why, preserving_proto_field_name=True)
        return {**plain, "run_id": "", "last_sequence": 0}, {**told, "run_id": ""}

    together, singly = await shown(TOGETHER), await shown(SINGLY)
    assert together == singly
    statuses = {step["step"]: step["status"].removeprefix("STEP_STATUS_") for step in together[0]["steps"]}
    assert statuses == {"fetch": "COMPLETED", "clean": "COMPLETED", "count": "COMPLETED", "rank": "SCHEDULED"}
    assert together[0]["redactions"] == {"PHONE_NUMBER": "3"}
