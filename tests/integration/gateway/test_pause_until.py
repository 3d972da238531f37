"""A pause until a time, over the gateway's door: what becomes of it, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest

from agentflow.v1 import control_pb2 as pb
from agentflow.v1 import control_pb2_grpc, workflow_pb2
from agentflow_common import events as ev
from agentflow_common import subjects
from tests.support.gateway import GatewayUnderTest, stub
from tests.support.waiting import until

pytestmark = pytest.mark.integration
TEXT = """
name: review
dag: {nodes: [{id: paid, type: signal, config: {signal: paid}}]}
"""


async def submitted(gateway: GatewayUnderTest) -> str:
    request = workflow_pb2.SubmitWorkflowRequest(definition_text=TEXT)
    return str((await gateway.workflows.SubmitWorkflow(request, metadata=gateway.auth())).run_id)


def controls(gateway: GatewayUnderTest) -> Any:
    return stub(control_pb2_grpc.RunControlServiceStub, gateway.channel)


def lanes(gateway: GatewayUnderTest) -> Any:
    return stub(control_pb2_grpc.LaneServiceStub, gateway.channel)


async def refused(call: Any) -> tuple[Any, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), str(caught.value.details())


async def test_the_end_of_a_run_s_pause_is_a_fact_and_the_run_says_it(gateway: GatewayUnderTest) -> None:
    run, door, auth = await submitted(gateway), controls(gateway), gateway.auth()
    later = gateway.context.clock.now_ms() + 3_600_000
    for end in (later, later, later + 1, 0):
        await door.PauseRun(pb.PauseRunRequest(run_id=run, until=end), metadata=auth)
        shown = (await gateway.workflows.GetRun(workflow_pb2.GetRunRequest(run_id=run), metadata=auth)).run
        assert shown.paused_until == end
    stored = await gateway.context.log.read(subjects.run_in(subjects.key_of("default", run)))
    said = [
        event for event in map(ev.decode, (item.data for item in stored)) if isinstance(event, ev.RunPauseRequested)
    ]
    assert [event.until for event in said] == [later, later + 1, 0]
    for end in (1, later * 1000, -1):
        code, text = await refused(door.PauseRun(pb.PauseRunRequest(run_id=run, until=end), metadata=auth))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert f"the pause can't end at {end}" in text
        code, _ = await refused(
            door.PauseWorkflow(pb.PauseWorkflowRequest(workflow="review", until=end), metadata=auth)
        )
        assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_batch_pauses_until_a_time(gateway: GatewayUnderTest) -> None:
    runs = [await submitted(gateway) for _ in range(3)]
    door, auth = controls(gateway), gateway.auth()
    later = gateway.context.clock.now_ms() + 3_600_000

    async def batch(**fields: Any) -> list[Any]:
        wanted = pb.RunFilter(workflow="review")
        request = pb.BatchRunsRequest(filter=wanted, execute=True, **fields)
        return [message async for message in door.BatchRuns(request, metadata=auth)]

    async def is_listed() -> bool:
        return (await batch(action=pb.BATCH_ACTION_RESUME, limit=1))[0].matched == 0

    await until(is_listed)  # every run is in the table, and none of them is paused
    first = await batch(action=pb.BATCH_ACTION_PAUSE, until=later, limit=2)
    assert (first[-1].done, first[-1].finished) == (2, False)
    rest = await batch(action=pb.BATCH_ACTION_PAUSE, until=later + 5, cursor=first[-1].cursor)
    assert (rest[-1].done, rest[-1].failed, rest[-1].finished) == (1, 0, True)
    requests = [workflow_pb2.GetRunRequest(run_id=run) for run in runs]
    shown = [(await gateway.workflows.GetRun(request, metadata=auth)).run for request in requests]
    assert sorted(run.paused_until for run in shown) == [later, later, later + 5]
    for action, end, text in (
        (pb.BATCH_ACTION_PAUSE, 1, "the pause can't end at 1"),
        (pb.BATCH_ACTION_CANCEL, later, "only a pause ends by itself, and the action is cancel"),
    ):
        code, said = await refused(batch(action=action, until=end))
        assert (code, text in said) == (grpc.StatusCode.INVALID_ARGUMENT, True)


async def test_the_end_of_a_workflow_s_pause_stands_beside_it(gateway: GatewayUnderTest) -> None:
    await submitted(gateway)
    door, auth = controls(gateway), gateway.auth()
    later = gateway.context.clock.now_ms() + 3_600_000
    for end in (later, later, later + 1):
        await door.PauseWorkflow(pb.PauseWorkflowRequest(workflow="review", until=end), metadata=auth)
    bucket = await gateway.context.log.nc.jetstream().key_value(subjects.CONTROLS_BUCKET)
    entry = await bucket.get("workflow.default.review")
    assert (entry.revision, json.loads(entry.value)["paused_until"]) == (2, later + 1)


async def test_a_lane_is_not_paused_any_more_when_the_time_has_come(gateway: GatewayUnderTest) -> None:
    door, auth = lanes(gateway), gateway.auth()
    soon = gateway.context.clock.now_ms() + 300
    request = pb.SetLaneRequest(name="acme 42", paused=True, reason="db", until=soon, limit=2)
    lane = (await door.SetLane(request, metadata=auth)).lane
    assert (lane.paused, lane.paused_until, lane.reason) == (True, soon, "db")

    async def is_over() -> bool:
        return not (await door.GetLane(pb.GetLaneRequest(name="acme 42"), metadata=auth)).lane.paused

    await until(is_over)
    lane = (await door.GetLane(pb.GetLaneRequest(name="acme 42"), metadata=auth)).lane
    assert (lane.paused_until, lane.reason, lane.limit) == (0, "", 2)
    code, text = await refused(door.SetLane(pb.SetLaneRequest(name="acme 42", limit=1, until=soon), metadata=auth))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "only a pause has an end" in text
