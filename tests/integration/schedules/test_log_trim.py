"""What a schedule needs no more leaves the log: with a real gateway, scheduler, NATS and PostgreSQL."""

from __future__ import annotations

import asyncio

import pytest

from agentflow.v1 import schedule_pb2 as pb
from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.log.event_log import Stored
from agentflow_common.runtime.service import running
from agentflow_gateway.schedules import commands as gateway_schedules
from agentflow_scheduler.app import app as scheduler_app
from agentflow_scheduler.engine import log_trim
from agentflow_scheduler.schedules import machine
from agentflow_scheduler.settings import SchedulerSettings
from tests.support.gateway_schedules import FAR, SchedulesUnderTest, running_schedules

pytestmark = pytest.mark.integration
EVERY = 12  # decisions between two checkpoints


async def left(schedules: SchedulesUnderTest) -> list[Stored]:
    return await schedules.gateway.context.log.read(subjects.run_all(gateway_schedules.key_of("default", "nightly")))


async def test_what_stands_before_a_checkpoint_or_the_end_goes_and_nothing_is_forgotten(
    nats_url: str, db_env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "CHECKPOINT_EVERY", EVERY)
    monkeypatch.setattr(log_trim, "EVERY_S", 0.05)
    settings = SchedulerSettings(nats_url=nats_url)
    async with running_schedules(nats_url, db_env) as schedules:
        async with running("scheduler", settings, scheduler_app):
            await schedules.create(cron=FAR, trigger={"webhook": True}, tags={"team": "data"})
            asked = [pb.TriggerScheduleRequest(name="nightly", trigger_id=str(n)) for n in range(5 * EVERY)]
            for at in range(0, len(asked), 5):
                await asyncio.gather(*(schedules.trigger(request) for request in asked[at : at + 5]))
            async with asyncio.timeout(60):
                while len(await left(schedules)) > 3 * EVERY:
                    await asyncio.sleep(0.05)
            state = await schedules.until(lambda state: state.skipped == {"overlap": 5 * EVERY - 1})
            assert state.number == 1
            # asked again while the server still knows the id of its message: what was decided of it has left the log
            told = await schedules.call("TriggerSchedule", asked[EVERY])
            assert told.status == "skipped"
            assert any(isinstance(ev.decode(stored.data), ev.ScheduleListed) for stored in await left(schedules))
        async with running("scheduler", settings, scheduler_app):  # it reads what is left
            child = next(iter(state.active.values())).child
            await schedules.cancel_run(child)
            ended = await schedules.until(lambda state: not state.active, timeout_s=60)
            assert [fire.status for fire in ended.recent] == ["cancelled"]
            again = await schedules.trigger(pb.TriggerScheduleRequest(name="nightly", trigger_id="last"))
            await schedules.submitted(again.run_id)
            await schedules.call("DeleteSchedule", pb.DeleteScheduleRequest(name="nightly"))
            async with asyncio.timeout(60):
                while len(found := await left(schedules)) > 1:
                    await asyncio.sleep(0.05)
            last = ev.decode(found[0].data)
            assert isinstance(last, ev.ScheduleListed) and last.status == "deleted"
            timers = subjects.run_timers(gateway_schedules.key_of("default", "nightly"))
            async with asyncio.timeout(60):
                while await schedules.gateway.context.log.read(timers):
                    await asyncio.sleep(0.05)
            assert (await schedules.create(cron="@every 1s")).created
            state = await schedules.until(lambda state: state.number == 1, timeout_s=60)
            assert state.recent[0].cause == "time"
