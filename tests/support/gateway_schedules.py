"""For tests: the schedules of a gateway that runs in this process (see gateway.py)."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC
from typing import Any

from agentflow.v1 import schedule_pb2 as pb
from agentflow.v1 import schedule_pb2_grpc, workflow_pb2
from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.log.event_log import Entry
from agentflow_common.schedules import fire_times
from agentflow_common.schedules import load as schedule_log
from agentflow_common.schedules.state import ScheduleState
from agentflow_gateway.schedules import commands
from tests.support.gateway import GatewayUnderTest, running_gateway, stub
from tests.support.waiting import PATIENCE_S, until

WORKFLOW = """\
name: report
version: 1
inputs:
  text: {type: string}
  limit: {type: integer, default: 3}
dag:
  nodes:
    - id: read
      type: function
      config: {function_name: text_splitter, inputs: {text: "{{text}}"}}
"""
FAR = "@at 2090-01-01T00:00:00"


def ms(text: str) -> int:
    """UTC"""
    return fire_times.parse_time(text, UTC)


class SchedulesUnderTest:
    """The schedules of a running gateway."""

    def __init__(self, gateway: GatewayUnderTest) -> None:
        self.gateway = gateway
        self.stub: Any = stub(schedule_pb2_grpc.ScheduleServiceStub, gateway.channel)

    async def call(self, method: str, request: Any, key: str = "") -> Any:
        return await getattr(self.stub, method)(request, metadata=self.gateway.auth(key))

    async def create(self, **spec: Any) -> Any:
        plain = {"name": "nightly", "workflow": "report", "inputs": {"text": "hello"}, "cron": "@daily", **spec}
        request = pb.CreateScheduleRequest(source=pb.ScheduleSource(text=json.dumps(plain)))
        return await self.call("CreateSchedule", request)

    async def get(self, name: str = "nightly") -> Any:
        return (await self.call("GetSchedule", pb.GetScheduleRequest(name=name))).schedule

    async def trigger(self, request: pb.TriggerScheduleRequest) -> Any:
        """The answer, once it is decided, which may take longer than the door waits: the same id is one trigger."""

        async def decided() -> Any:
            told = await self.call("TriggerSchedule", request)
            return None if told.status in {"accepted", "fired"} else told

        return await until(decided)

    async def state(self, name: str = "nightly") -> ScheduleState:
        state = await schedule_log.load_schedule(self.gateway.context.log, commands.key_of("default", name))
        if state is None:
            raise LookupError(name)
        return state

    async def until(self, holds: Any, name: str = "nightly", timeout_s: float = PATIENCE_S) -> ScheduleState:
        """The schedule's state, once it is as wanted."""
        async with asyncio.timeout(timeout_s):
            while not holds(state := await self.state(name)):
                await asyncio.sleep(0.05)
            return state

    async def submitted(self, run: str) -> ev.RunSubmitted:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                stored = await self.gateway.context.log.read(subjects.run_in(subjects.key_of("default", run)), limit=1)
                if stored:
                    event = ev.decode(stored[0].data)
                    if isinstance(event, ev.RunSubmitted):
                        return event
                await asyncio.sleep(0.05)

    async def cancel_run(self, run: str) -> None:
        """Ends it in the scheduler."""
        event = ev.RunCancelRequested(org="default", run=run, ts=1, force=True)
        key = subjects.key_of("default", run)
        await self.gateway.context.log.append(Entry(subjects.run_in(key), ev.encode(event)))


@contextlib.asynccontextmanager
async def running_schedules(
    nats_url: str, db_env: dict[str, str], **settings: Any
) -> AsyncIterator[SchedulesUnderTest]:
    async with running_gateway(nats_url, db_env, **settings) as gateway:
        await gateway.workflows.RegisterWorkflow(register(WORKFLOW), metadata=gateway.auth())
        yield SchedulesUnderTest(gateway)


def register(text: str) -> Any:
    return workflow_pb2.RegisterWorkflowRequest(definition_text=text)
