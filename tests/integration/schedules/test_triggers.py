"""Schedules that webhooks and messages start, with a real scheduler, NATS and PostgreSQL; nobody runs the steps."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import httpx
import pytest

from agentflow.v1 import schedule_pb2 as pb
from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.log.event_log import Entry
from agentflow_common.runtime.service import running
from agentflow_gateway.schedules import commands
from agentflow_scheduler.app import app as scheduler_app
from agentflow_scheduler.settings import SchedulerSettings
from tests.support.gateway import details
from tests.support.gateway_schedules import WORKFLOW, SchedulesUnderTest, register, running_schedules
from tests.support.waiting import PATIENCE_S, until
from tests.support.webhooks import sign

pytestmark = pytest.mark.integration


async def test_a_webhook_starts_a_run_for_a_signed_delivery_and_for_no_other(schedules: SchedulesUnderTest) -> None:
    await schedules.create(
        cron=(), trigger={"webhook": True}, inputs={"text": "{{trigger.payload.order}}"}, overlap="allow"
    )
    hook = await schedules.call("GetWebhook", pb.GetWebhookRequest(name="nightly"))
    url = f"http://{hook.address}{hook.path}"
    body = b'{"order": "seven"}'
    now = int(time.time())
    async with httpx.AsyncClient() as client:

        async def post(content: bytes = body, path: str = url, **given: str) -> httpx.Response:
            headers = {name.replace("_", "-"): value for name, value in given.items()}
            return await client.post(path, content=content, headers=headers)

        async def started(**given: str) -> str:
            """The run, once the scheduler has decided."""

            async def told() -> str:
                answer = await post(**given)  # type: ignore[arg-type]
                assert answer.status_code == 202, answer.text
                return str(answer.json().get("run_id", ""))

            return await until(told)

        signed = sign(hook.secret, body, now)
        run = await started(x_agentflow_signature=signed)
        assert (await schedules.submitted(run)).inputs.value["text"] == "seven"
        assert await started(x_agentflow_signature=signed) == run  # replayed: the same delivery
        assert await started(x_agentflow_signature=signed, x_delivery_id="d2") != run
        bearer = await post(authorization=f"Bearer {hook.secret}", idempotency_key="d3")
        assert bearer.status_code == 202
        await schedules.until(lambda state: state.number == 3)

        refused = [
            await post(),
            await post(x_agentflow_signature=sign("whk_wrong", body, now)),
            await post(x_agentflow_signature=sign(hook.secret, body, now - 3600)),
            await post(b'{"order": "eight"}', x_agentflow_signature=signed),
            await post(authorization="Bearer whk_wrong"),
            await post(path=url + "x", x_agentflow_signature=signed),
            await post(path=url.replace("/default/", "/other/"), x_agentflow_signature=signed),
        ]
        assert [answer.status_code for answer in refused] == [401] * 7
        assert all(hook.secret not in answer.text for answer in refused)
        bad = b"{"
        assert (await post(bad, x_agentflow_signature=sign(hook.secret, bad, now))).status_code == 400
        big = b'"' + b"x" * 300_000 + b'"'
        assert (await post(big, x_agentflow_signature=sign(hook.secret, big, now))).status_code == 413
        await schedules.call("PauseSchedule", pb.PauseScheduleRequest(name="nightly"))
        paused = await post(x_agentflow_signature=sign(hook.secret, body, now - 1))
        assert paused.status_code == 409 and paused.json()["error"]["kind"] == "schedule_paused"
    assert (await schedules.state()).number == 3
    for stored in await schedules.gateway.context.log.read(subjects.ALL_EVENTS):
        assert hook.secret.encode() not in stored.data


class Hook:
    """A schedule's webhook."""

    def __init__(self, client: httpx.AsyncClient, found: Any) -> None:
        self._client = client
        self._url = f"http://{found.address}{found.path}"
        self._secret = found.secret

    async def send(self, delivery: str, payload: Any = None) -> tuple[int, dict[str, Any]]:
        """The answer, once the scheduler has decided: on a busy machine that takes longer than the door waits."""

        async def decided() -> tuple[int, dict[str, Any]] | None:
            code, told = await self.send_once(delivery, payload)
            return None if told["status"] in {"accepted", "fired"} else (code, told)

        answer = await until(decided)
        assert answer is not None
        return answer

    async def send_once(self, delivery: str, payload: Any = None) -> tuple[int, dict[str, Any]]:
        headers = {"authorization": f"Bearer {self._secret}", "x-delivery-id": delivery}
        answer = await self._client.post(self._url, json=payload, headers=headers)
        return answer.status_code, answer.json()


@contextlib.asynccontextmanager
async def hooked(schedules: SchedulesUnderTest, **spec: Any) -> AsyncIterator[Hook]:
    await schedules.create(cron=(), trigger={"webhook": True}, **spec)
    async with httpx.AsyncClient(timeout=30) as client:
        yield Hook(client, await schedules.call("GetWebhook", pb.GetWebhookRequest(name="nightly")))


async def test_a_webhook_says_what_its_schedule_made_of_it(schedules: SchedulesUnderTest) -> None:
    async with hooked(schedules, inputs={"text": "{{trigger.payload.order}}"}, overlap="skip") as hook:
        assert await hook.send("none", {"order": {"not": "a text"}}) == (200, {
            "trigger_id": "none", "status": "refused", "error": (await _refusal(schedules)),
        })  # fmt: skip
        code, first = await hook.send("d1", {"order": "one"})
        assert (code, first["status"], set(first)) == (202, "started", {"trigger_id", "status", "run_id"})
        await schedules.submitted(first["run_id"])
        skipped = (200, {"trigger_id": "d2", "status": "skipped", "reason": "overlap"})
        assert await hook.send("d2", {"order": "two"}) == skipped
        assert await hook.send("d2", {"order": "two"}) == skipped, "told again, it is the same delivery"
        assert await hook.send("d1", {"order": "one"}) == (202, first)
        await schedules.cancel_run(first["run_id"])
        await schedules.until(lambda state: not state.active)
        assert await hook.send("d1", {"order": "one"}) == (202, first)
        assert await hook.send("d2", {"order": "two"}) == skipped
        assert (await schedules.state()).number == 2

        log, subject = schedules.gateway.context.log, subjects.run_in(commands.key_of("default", "nightly"))

        async def long_after(delivery: str) -> tuple[int, dict[str, Any]]:
            """The answer to a delivery that became a second event: the server had forgotten its message id."""
            events = [ev.decode(item.data) for item in await log.read(subject)]
            first = next(e for e in events if isinstance(e, ev.ScheduleTriggered) and e.id == delivery)
            ack = await log.append(Entry(subject, ev.encode(first)))
            await schedules.until(lambda state: state.facts_seq >= ack.seq)
            return await hook.send(delivery, {"order": "late"})

        assert await long_after("d1") == (202, first)
        assert await long_after("d2") == skipped
        code, refused = await long_after("none")
        assert (code, refused["status"], refused["error"]["kind"]) == (200, "refused", "invalid_error")
        assert (await schedules.state()).number == 2


async def _refusal(schedules: SchedulesUnderTest) -> dict[str, str]:
    error = (await schedules.state()).recent[-1].error
    assert error is not None
    return {"kind": error.type, "message": error.message}


async def test_a_webhook_says_that_its_run_waits_for_an_earlier_one(schedules: SchedulesUnderTest) -> None:
    async with hooked(schedules, overlap="buffer_one") as hook:
        code, first = await hook.send("d1")
        assert (code, first["status"]) == (202, "started")
        code, second = await hook.send("d2")
        assert (code, second["status"]) == (202, "waiting")
        assert await hook.send("d3") == (200, {"trigger_id": "d3", "status": "skipped", "reason": "buffer_full"})
        await schedules.cancel_run(first["run_id"])
        await schedules.submitted(second["run_id"])
        assert await hook.send("d2") == (202, {**second, "status": "started"})


async def test_a_webhook_that_nobody_decides_is_accepted_and_says_where_to_look(
    nats_url: str, db_env: dict[str, str]
) -> None:
    async with running_schedules(nats_url, db_env) as schedules, hooked(schedules, overlap="skip") as hook:
        code, told = await hook.send_once("d1")
        assert (code, told["status"], "run_id" in told) == (202, "accepted", False)
        assert "X-Delivery-Id: d1" in told["look"]
        async with running("scheduler", SchedulerSettings(nats_url=nats_url), scheduler_app):
            state = await schedules.until(lambda state: any(active.started for active in state.active.values()))
            assert await hook.send("d1") == (
                202, {"trigger_id": "d1", "status": "started", "run_id": state.active[1].child},
            )  # fmt: skip


async def test_a_message_on_a_stream_starts_one_run_even_if_no_gateway_was_there(
    nats_url: str, db_env: dict[str, str]
) -> None:
    async with running("scheduler", SchedulerSettings(nats_url=nats_url), scheduler_app) as scheduler:
        js = scheduler.nc.jetstream()
        await js.add_stream(name="ORDERS", subjects=["orders.>"])
        async with running_schedules(nats_url, db_env) as schedules:
            await schedules.create(
                cron=(),
                trigger={"subject": "orders.created"},
                inputs={"text": "{{trigger.payload.id}}"},
                overlap="allow",
            )
            async with asyncio.timeout(PATIENCE_S):
                while not await scheduler.nc.jsm().consumers_info("ORDERS"):
                    await asyncio.sleep(0.05)
            await js.publish("orders.created", b'{"id": "a"}')
            await js.publish("orders.deleted", b'{"id": "no"}')
            state = await schedules.until(lambda state: state.number == 1)
            assert (await schedules.submitted(state.active[1].child)).inputs.value["text"] == "a"
        await js.publish("orders.created", b'{"id": "b"}', headers={"Nats-Msg-Id": "m-b"})
        async with running_schedules(nats_url, db_env) as schedules:
            state = await schedules.until(lambda state: state.number == 2)
            assert (await schedules.submitted(state.active[2].child)).inputs.value["text"] == "b"
            await schedules.call("DeleteSchedule", pb.DeleteScheduleRequest(name="nightly"))
            async with asyncio.timeout(PATIENCE_S):
                while await scheduler.nc.jsm().consumers_info("ORDERS"):
                    await asyncio.sleep(0.05)


async def test_a_message_of_core_nats_starts_a_run(schedules: SchedulesUnderTest) -> None:
    await schedules.create(cron=(), trigger={"subject": "news.*"}, inputs={"text": "{{trigger.payload}}"})
    nc = schedules.gateway.context.nc
    async with asyncio.timeout(PATIENCE_S):
        while (await schedules.state()).number == 0:  # the subscription comes a moment after the answer
            await nc.publish("news.today", b"plain words")
            await asyncio.sleep(0.1)
    state = await schedules.until(lambda state: bool(state.active))
    assert (await schedules.submitted(state.active[1].child)).inputs.value["text"] == "plain words"


async def test_another_org_may_listen_to_its_own_subjects_only(schedules: SchedulesUnderTest) -> None:
    key = await schedules.gateway.key_for("acme", "read", "write")
    await schedules.gateway.workflows.RegisterWorkflow(register(WORKFLOW), metadata=schedules.gateway.auth(key))

    async def create(subject: str) -> Any:
        spec = {"name": "s", "workflow": "report", "inputs": {"text": "x"}, "trigger": {"subject": subject}}
        request = pb.CreateScheduleRequest(source=pb.ScheduleSource(text=json.dumps(spec)))
        return await schedules.call("CreateSchedule", request, key)

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await create("orders.created")
    assert details(caught.value)[0] == "subject_not_allowed"
    assert (await create("acme.orders")).created
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await schedules.get("s")  # it is acme's
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
