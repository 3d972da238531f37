"""Run lanes from the SDK through the gateway to the scheduler and a worker, all of them real."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from agentflow_common import events as ev
from agentflow_sdk import InvalidArgumentError, RunStatus
from tests.support.platform import Platform, gated, open_gate, running_platform
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.integration


@pytest.fixture
async def platform(nats_url: str, db_env: dict[str, str]) -> AsyncIterator[Platform]:
    async with running_platform(nats_url, db_env) as made:
        yield made


def in_lane(policy: str) -> str:
    lane = f"{{key: '{{{{customer}}}}', policy: {policy}}}"
    return f"inputs: {{customer: {{type: string}}}}\nrun_lane: {lane}"


async def test_a_run_lane_tells_who_holds_it_and_obeys_its_limit_live(platform: Platform) -> None:
    top, inputs = in_lane("queue"), {"customer": "acme"}
    first = await platform.submit(gated("s", "queue"), top=top, inputs=inputs)
    await platform.reaches(first, lambda item: item.step("s").attempt == 1)
    second = await platform.submit(gated("s", "queue"), top=top, inputs=inputs)
    await platform.status(second, "waiting")
    told = await platform.flows.why(second)
    assert told.summary.startswith("the run waits for a slot of the run lane run:")
    (waiting,) = told.waiting
    assert (waiting.step, waiting.kind) == ("", "lane")
    assert waiting.text == f"lane {waiting.on} is full: 1 of 1, used by {first}, number 1 of 1 in the queue"
    skipped = await platform.submit(gated("s", "queue"), top=in_lane("skip"), inputs=inputs)
    ended = await platform.flows.wait(skipped, timeout=PATIENCE_S)
    assert ended.status == RunStatus.CANCELLED
    assert ended.error is not None
    assert ended.error.type == "skipped"
    lane = await platform.client.lanes.set(waiting.on, limit=2)
    assert (lane.keyed, lane.limit, lane.holders) == (True, 2, (first,))
    await platform.reaches(second, lambda item: item.step("s").attempt == 1)
    open_gate("queue")
    for run in (first, second):
        assert (await platform.flows.wait(run, timeout=PATIENCE_S)).status == RunStatus.COMPLETED


async def test_no_setting_gives_a_lock_a_second_slot(platform: Platform) -> None:
    await platform.client.lanes.set("*", limit=3)
    with pytest.raises(InvalidArgumentError, match="is a lock, which one run has at a time"):
        await platform.client.lanes.set("lock:default:acme", limit=3)
    top = "lock: {key: acme, nodes: [s]}"
    first = await platform.submit(gated("s", "locked"), top=top, inputs={})
    await platform.reaches(first, lambda item: item.step("s").attempt == 1)
    second = await platform.submit(gated("s", "locked"), top=top, inputs={})
    await platform.status(second, "waiting")
    lane = await platform.client.lanes.get("lock:default:acme")
    assert (lane.limit, lane.holders) == (1, (f"{first}",))
    open_gate("locked")
    for run in (first, second):
        assert (await platform.flows.wait(run, timeout=PATIENCE_S)).status == RunStatus.COMPLETED


async def test_a_newcomer_takes_the_slot_of_the_run_that_has_it(platform: Platform) -> None:
    top, inputs = in_lane("cancel_running"), {"customer": "acme"}
    first = await platform.submit(gated("s", "take"), top=top, inputs=inputs)
    await platform.reaches(first, lambda item: item.step("s").attempt == 1)
    second = await platform.submit(gated("s", "take"), top=top, inputs=inputs)
    ended = await platform.flows.wait(first, timeout=PATIENCE_S)
    assert ended.status == RunStatus.CANCELLED
    (end,) = [event for event in await platform.log(first) if isinstance(event, ev.RunCancelled)]
    assert end.reason == f"the run {second} takes its slot of the run lane run:default:acme"
    await platform.reaches(second, lambda item: item.step("s").attempt == 1)
    open_gate("take")
    assert (await platform.flows.wait(second, timeout=PATIENCE_S)).status == RunStatus.COMPLETED


async def test_a_lock_is_between_two_runs_and_why_names_who_has_it(platform: Platform) -> None:
    top = "inputs: {account: {type: string}}\nlock: {key: '{{account}}', nodes: [s]}"
    inputs = {"account": "42"}
    first = await platform.submit(gated("s", "lock"), top=top, inputs=inputs)
    await platform.reaches(first, lambda item: item.step("s").attempt == 1)
    second = await platform.submit(gated("s", "lock"), top=top, inputs=inputs)
    await platform.status(second, "waiting")
    (waiting,) = (await platform.flows.why(second)).waiting
    assert (waiting.step, waiting.kind, waiting.on) == ("s", "lock", "lock:default:42")
    assert waiting.text == f"waits for the lock lock:default:42, which {first} has, number 1 of 1 in the queue"
    await platform.flows.cancel(first)
    await platform.reaches(second, lambda item: item.step("s").attempt == 1)
    open_gate("lock")
    assert (await platform.flows.wait(second, timeout=PATIENCE_S)).status == RunStatus.COMPLETED
