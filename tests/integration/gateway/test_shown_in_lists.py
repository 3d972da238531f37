"""What lists show of things that are not registered or not served."""

from __future__ import annotations

import grpc
import pytest

from agentflow.v1 import control_pb2 as pb
from agentflow.v1 import control_pb2_grpc, workflow_pb2
from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.log.event_log import Entry
from tests.support.gateway import GatewayUnderTest, stub

pytestmark = pytest.mark.integration
TEXT = """\
name: review
version: 1
dag: {nodes: [{id: work, type: function, config: {function_name: f}}]}
"""


async def submitted(gateway: GatewayUnderTest) -> str:
    request = workflow_pb2.SubmitWorkflowRequest(definition_text=TEXT)
    return str((await gateway.workflows.SubmitWorkflow(request, metadata=gateway.auth())).run_id)


async def test_a_pool_that_steps_wait_for_is_shown_before_a_worker_serves_it(gateway: GatewayUnderTest) -> None:
    run, auth, lanes = await submitted(gateway), gateway.auth(), stub(control_pb2_grpc.LaneServiceStub, gateway.channel)
    offered = ev.StepScheduled(
        org="default", run=run, ts=1, step="work", attempt=1, lane="gpu", kind="function", config={}, seen=1
    )
    key = subjects.key_of("default", run)
    await gateway.context.log.append(Entry(subjects.out_task(key, "gpu"), ev.encode(offered)))
    lane = (await lanes.GetLane(pb.GetLaneRequest(name="gpu"), metadata=auth)).lane
    assert (lane.name, lane.keyed, lane.workers, lane.active, lane.queued) == ("gpu", False, 0, 0, 1)
    with pytest.raises(grpc.aio.AioRpcError, match="there is no lane 'gp'"):
        await lanes.GetLane(pb.GetLaneRequest(name="gp"), metadata=auth)


async def test_a_list_marks_runs_whose_definition_is_not_registered(gateway: GatewayUnderTest) -> None:
    run, auth = await submitted(gateway), gateway.auth()

    async def marks() -> tuple[bool, bool]:
        got = await gateway.workflows.GetRun(workflow_pb2.GetRunRequest(run_id=run), metadata=auth)
        (row,) = (await gateway.workflows.ListRuns(workflow_pb2.ListRunsRequest(), metadata=auth)).runs
        return got.run.unregistered, row.unregistered

    assert await marks() == (True, True)
    same = workflow_pb2.RegisterWorkflowRequest(definition_text=TEXT)
    await gateway.workflows.RegisterWorkflow(same, metadata=auth)
    assert await marks() == (False, False)
