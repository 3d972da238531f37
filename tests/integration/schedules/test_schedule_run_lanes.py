"""A schedule gives its runs a run lane: through the SDK, the gateway, the scheduler and a worker, all of them real."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentflow_sdk import RunStatus, ScheduleTriggered
from tests.support.gateway_schedules import FAR
from tests.support.platform import Platform, gated, open_gate, running_platform, workflow
from tests.support.waiting import PATIENCE_S, until

pytestmark = pytest.mark.integration

LANE = "run:default:reports"


@pytest.fixture
async def platform(nats_url: str, db_env: dict[str, str]) -> AsyncIterator[Platform]:
    async with running_platform(nats_url, db_env) as made:
        await made.flows.register(workflow(gated("g", "reports"), name="report"))
        yield made


def spec(name: str, run_lane: Any) -> dict[str, Any]:
    return {"name": name, "workflow": "report", "cron": FAR, "run_lane": run_lane, "overlap": "allow"}


async def triggered(platform: Platform, name: str, number: int = 1) -> ScheduleTriggered:
    """The answer once it is decided; the same id is one trigger."""

    async def decided() -> ScheduleTriggered | None:
        answer = await platform.client.schedules.trigger(name, trigger_id=f"{name}-{number}")
        return None if answer.status in {"accepted", "fired"} else answer

    return await until(decided)


async def begins(platform: Platform, run: str) -> None:
    await platform.reaches(run, lambda item: item.step("g").attempt == 1)


async def test_schedules_share_a_run_lane_and_an_update_changes_it(platform: Platform) -> None:
    schedules = platform.client.schedules
    made = await schedules.create(spec("one", "reports"))
    assert made.schedule.spec["run_lane"] == {"key": "reports"}
    await schedules.create(spec("two", {"key": "reports", "limit": 1}))
    await schedules.create(spec("three", {"key": "reports", "policy": "skip"}))
    first = (await triggered(platform, "one")).run_id
    await begins(platform, first)
    second = (await triggered(platform, "two")).run_id
    await platform.status(second, "waiting")
    (waiting,) = (await platform.flows.why(second)).waiting
    assert (waiting.step, waiting.kind, waiting.on) == ("", "lane", LANE)
    assert waiting.text == f"lane {LANE} is full: 1 of 1, used by {first}, number 1 of 1 in the queue"
    skipped = (await triggered(platform, "three")).run_id
    ended = await platform.flows.wait(skipped, timeout=PATIENCE_S)
    assert (ended.status, ended.error and ended.error.type) == (RunStatus.CANCELLED, "skipped")

    async def shown() -> Any:
        fires = (await schedules.get("three")).recent
        return fires[0] if fires and fires[0].status == "cancelled" else None

    assert (await until(shown)).error.type == "skipped"
    changed = await schedules.update(spec("two", "{{schedule.name}}"))
    assert (changed.changed, changed.schedule.spec["run_lane"]) == (True, {"key": "{{schedule.name}}"})
    third = (await triggered(platform, "two", 2)).run_id
    await begins(platform, third)
    assert (await platform.client.lanes.get("run:default:two")).holders == (third,)
    open_gate("reports")
    for run in (first, second, third):
        assert (await platform.flows.wait(run, timeout=PATIENCE_S)).status == RunStatus.COMPLETED
    assert (await platform.client.lanes.get(LANE)).holders == ()


async def test_a_key_that_a_fire_can_not_compute_refuses_its_run(platform: Platform) -> None:
    await platform.client.schedules.create(spec("keyed", "{{trigger.payload.customer}}"))
    answer = await triggered(platform, "keyed")
    assert answer.status == "refused"
    assert answer.error is not None
    assert answer.error.message == "run_lane.key: the key must be a text of 1 to 128 characters, got 'None'"
