"""The gateway outlives its NATS server: watchers and waits go on, submissions work again, lists catch up."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import Any

import grpc
import pytest

from agentflow.v1 import workflow_pb2 as pb
from agentflow.v1 import workflow_pb2_grpc
from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.log.event_log import Entry
from agentflow_common.runtime.service import running
from agentflow_gateway.app import app
from agentflow_gateway.settings import GatewaySettings
from agentflow_sdk import AsyncClient
from tests.support import deadlines
from tests.support.waiting import PATIENCE_S

pytestmark = [pytest.mark.integration, pytest.mark.fault]

DEFINITION = "name: one\ndag: {nodes: [{id: a, type: function, config: {function_name: noop}}]}\n"


async def test_nats_is_killed_under_a_watcher(nats_server: Any, db_env: dict[str, str]) -> None:
    key = secrets.token_hex(16)
    database: dict[str, Any] = {name.lower(): value for name, value in db_env.items()}
    settings = GatewaySettings(nats_url=nats_server.url, api_key=key, **database)
    auth = (("authorization", f"Bearer {key}"),)
    async with running("gateway", settings, app) as context, contextlib.AsyncExitStack() as stack:
        channel = deadlines.channel(f"127.0.0.1:{context.ports['grpc']}")
        await stack.enter_async_context(channel)
        make: Any = workflow_pb2_grpc.WorkflowServiceStub
        workflow = make(channel)
        submit = pb.SubmitWorkflowRequest(definition_text=DEFINITION, idempotency_key="k")
        run = (await workflow.SubmitWorkflow(submit, metadata=auth)).run_id
        stream = workflow.WatchRun(pb.WatchRunRequest(run_id=run), metadata=auth)
        assert (await stream.read()).event.type == "run.submitted"
        client = AsyncClient(f"127.0.0.1:{context.ports['grpc']}", key)
        stack.push_async_callback(client.close)
        waiting = asyncio.create_task(client.workflows.wait(run, timeout=3 * PATIENCE_S))
        await asyncio.sleep(0)
        at: dict[str, Any] = {"org": "default", "run": run, "ts": 5}
        key_of_run = subjects.key_of("default", run)
        first = await context.log.newest(subjects.run_in(key_of_run))
        beat = ev.encode(ev.StepProgressed(**at, step="a", attempt=1))
        await context.log.append(Entry(subjects.run_in(key_of_run), beat))

        nats_server.kill()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await workflow.SubmitWorkflow(submit, metadata=auth, timeout=2)
        assert caught.value.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
        nats_server.start()

        async with asyncio.timeout(3 * PATIENCE_S):
            while True:
                try:
                    again = await workflow.SubmitWorkflow(submit, metadata=auth, timeout=5)
                    break
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.2)
            assert (again.run_id, again.deduplicated) == (run, True)
            await context.log.append(Entry(subjects.run_in(key_of_run), beat))
            out = subjects.out_run(key_of_run)
            await context.log.append(Entry(out, ev.encode(ev.RunCompleted(**at, cost_nano=7, seen=first))))
            kinds = [(await stream.read()).event.type for _ in range(3)]
            assert kinds == ["step.progressed", "step.progressed", "run.completed"], "no gap, nothing twice"
            assert await stream.read() is grpc.aio.EOF
            assert (await waiting).status == "completed"
            while True:
                listed = await workflow.ListRuns(pb.ListRunsRequest(), metadata=auth)
                if [r.cost_nano_usd for r in listed.runs] == [7]:
                    break
                await asyncio.sleep(0.1)
