"""Run lanes that a step gives the run of its subworkflow, through the gateway, the scheduler and a worker."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from agentflow_common import events as ev
from agentflow_sdk import RunStatus
from tests.support.platform import Platform, gated, open_gate, running_platform, workflow
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.integration

LANE = "run:default:acme"


@pytest.fixture
async def platform(nats_url: str, db_env: dict[str, str]) -> AsyncIterator[Platform]:
    async with running_platform(nats_url, db_env) as made:
        yield made


async def submit(platform: Platform, policy: str, more: str = "") -> str:
    """Returns a run whose step `s` starts the workflow `below` in the lane of its customer."""
    lane = f"{{key: '{{{{customer}}}}', policy: {policy}}}"
    node = f"{{id: s, type: subworkflow, {more} config: {{workflow: below, run_lane: {lane}}}}}"
    return await platform.submit(node, top="inputs: {customer: {type: string}}", inputs={"customer": "acme"})


async def child(platform: Platform, run: str) -> str:
    """The run that the step `s` has started."""
    await platform.reaches(run, lambda item: item.step("s").child_run_id)
    return str((await platform.flows.get(run)).step("s").child_run_id)


async def test_subworkflows_share_the_lane_that_their_steps_name(platform: Platform) -> None:
    await platform.flows.register(workflow(gated("g", "given"), name="below"))
    first = await submit(platform, "queue")
    holder = await child(platform, first)
    await platform.reaches(holder, lambda item: item.step("g").attempt == 1)
    second = await submit(platform, "queue")
    waiter = await child(platform, second)
    await platform.status(waiter, "waiting")
    (waiting,) = (await platform.flows.why(waiter)).waiting
    assert (waiting.step, waiting.kind, waiting.on) == ("", "lane", LANE)
    assert waiting.text == f"lane {LANE} is full: 1 of 1, used by {holder}, number 1 of 1 in the queue"
    skipped = await submit(platform, "skip")
    ended = await platform.flows.wait(skipped, timeout=PATIENCE_S)
    assert (ended.status, ended.error and ended.error.type) == (RunStatus.FAILED, "skipped")
    tolerant = await submit(platform, "skip", "policy: {on_failure: continue},")
    assert (await platform.flows.wait(tolerant, timeout=PATIENCE_S)).status == RunStatus.COMPLETED
    await platform.flows.cancel(first)
    await platform.reaches(waiter, lambda item: item.step("g").attempt == 1)
    open_gate("given")
    assert (await platform.flows.wait(second, timeout=PATIENCE_S)).status == RunStatus.COMPLETED
    lane = await platform.client.lanes.get(LANE)
    assert (lane.holders, lane.queued) == ((), 0)


async def test_a_retry_of_such_a_run_takes_a_slot_again(platform: Platform) -> None:
    await platform.flows.register(workflow(gated("g", "again"), name="below"))
    first = await submit(platform, "queue")
    one = await child(platform, first)
    await platform.reaches(one, lambda item: item.step("g").attempt == 1)
    await platform.flows.cancel(one)
    await platform.flows.wait(first, timeout=PATIENCE_S)
    second = await submit(platform, "queue")
    two = await child(platform, second)
    await platform.reaches(two, lambda item: item.step("g").attempt == 1)
    retried = (await platform.flows.retry(one)).run_id
    await platform.status(retried, "waiting")
    assert [event.lane for event in await platform.log(retried) if isinstance(event, ev.RunQueued)] == [LANE]
    assert f"used by {two}" in (await platform.flows.why(retried)).waiting[0].text
    open_gate("again")
    for run in (second, retried):
        assert (await platform.flows.wait(run, timeout=PATIENCE_S)).status == RunStatus.COMPLETED
