"""The secrets of webhooks, and what triggers are told, with a real gateway, scheduler, NATS and PostgreSQL."""

from __future__ import annotations

import json
import time
from typing import Any

import grpc
import httpx
import pytest
from nats.js import api

from agentflow.v1 import schedule_pb2 as pb
from tests.support.gateway import details
from tests.support.gateway_schedules import SchedulesUnderTest
from tests.support.waiting import until

pytestmark = pytest.mark.integration


async def test_a_secret_is_rotated_with_an_overlap_and_an_older_file_does_not_bring_it_back(
    schedules: SchedulesUnderTest,
) -> None:
    async def rotate(**how: Any) -> Any:
        return (await schedules.call("RotateWebhook", pb.RotateWebhookRequest(name="nightly", **how))).webhook

    async def code(found: Any, delivery: str) -> tuple[int, bool]:
        async with httpx.AsyncClient(timeout=30) as client:
            headers = {"authorization": f"Bearer {found.secret}", "x-delivery-id": delivery}
            answer = await client.post(f"http://{found.address}{found.path}", headers=headers)
        return answer.status_code // 100, "old secret" in answer.json().get("warning", "")

    await schedules.create(cron=(), trigger={"webhook": True}, overlap="allow")
    first = await schedules.call("GetWebhook", pb.GetWebhookRequest(name="nightly"))
    assert (first.key_version, first.old_secret_until) == (1, 0)
    second = await rotate(overlap_ms=3_600_000)
    assert (second.key_version, second.secret != first.secret) == (2, True)
    assert abs(second.old_secret_until - time.time() * 1000 - 3_600_000) < 60_000
    assert [await code(second, "a"), await code(first, "b")] == [(2, False), (2, True)]

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rotate(overlap_ms=3_600_000)
    assert details(caught.value)[0] == "rotation_under_way"
    assert not (await schedules.create(cron=(), trigger={"webhook": True}, overlap="allow")).created, (
        "it is there already"
    )
    spec = {
        "name": "nightly",
        "workflow": "report",
        "inputs": {"text": "new"},
        "trigger": {"webhook": True},
        "overlap": "allow",
    }
    update = pb.UpdateScheduleRequest(source=pb.ScheduleSource(text=json.dumps(spec)))
    await schedules.call("UpdateSchedule", update)
    assert await schedules.call("GetWebhook", pb.GetWebhookRequest(name="nightly")) == second
    spec["trigger"] = {"webhook": True, "key_version": 1}
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await schedules.call(
            "UpdateSchedule", pb.UpdateScheduleRequest(source=pb.ScheduleSource(text=json.dumps(spec)))
        )
    assert details(caught.value)[1][0][0] == "trigger.key_version"

    assert (await rotate(end_overlap=True)).secret == second.secret
    assert await code(first, "c") == (4, False)
    third = await rotate()
    assert [(await code(found, "d"))[0] for found in (first, second, third)] == [4, 4, 2]
    for bad in ({"overlap_ms": -1}, {"overlap_ms": 31 * 86_400_000}, {"overlap_ms": 1, "end_overlap": True}):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await rotate(**bad)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_queue_of_work_is_read_from_its_first_message_on(schedules: SchedulesUnderTest) -> None:
    js = schedules.gateway.context.nc.jetstream()
    config = api.StreamConfig(name="WORK", subjects=["work.>"], retention=api.RetentionPolicy.WORK_QUEUE)
    await js.add_stream(config)
    await js.publish("work.new", b"early")
    await schedules.create(
        cron=(), trigger={"subject": "work.new"}, inputs={"text": "{{trigger.payload}}"}, overlap="allow"
    )
    await js.publish("work.new", b"late")
    state = await schedules.until(lambda state: state.number == 2)
    texts = [(await schedules.submitted(fire.child)).inputs.value["text"] for fire in state.recent]
    assert sorted(texts) == ["early", "late"]

    async def taken() -> bool:
        return not (await js.stream_info("WORK")).state.messages

    await until(taken)


async def test_who_triggers_by_hand_is_told_what_comes_of_it(schedules: SchedulesUnderTest) -> None:
    async def ask(trigger_id: str, overlap: str = "") -> Any:
        request = pb.TriggerScheduleRequest(name="nightly", trigger_id=trigger_id, overlap=overlap)
        return await schedules.trigger(request)

    await schedules.create(cron="@yearly", inputs={"text": "{{trigger.id}}"})
    first = await ask("a")
    assert (first.status, first.reason, first.HasField("error")) == ("started", "", False)
    await schedules.submitted(first.run_id)
    assert await ask("a") == first, "the same trigger"
    skipped = await ask("b")
    assert (skipped.status, skipped.reason, skipped.run_id) == ("skipped", "overlap", "")
    waits = await ask("c", "buffer_one")
    assert (waits.status, bool(waits.run_id)) == ("waiting", True)
    await schedules.call("DeleteSchedule", pb.DeleteScheduleRequest(name="nightly"))
    assert (await schedules.until(lambda state: state.over)).skipped["deleted"] == 1

    await schedules.create(cron="@yearly", inputs={"text": "{{trigger.payload.order}}"})
    refused = await ask("d")
    assert (refused.status, refused.run_id, bool(refused.error.message)) == ("refused", "", True)
