"""Temporal: one process with the worker and the client. Argument: the dev server's address."""

from __future__ import annotations

import asyncio
import sys
import uuid
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import PollerBehaviorAutoscaling, UnsandboxedWorkflowRunner, Worker

from benchmarks.peers.programs import protocol

QUEUE = "bench"
START_S_MAX = 60.0


@activity.defn
async def step(n: int) -> int:
    return n + 1


@workflow.defn
class Chain:
    @workflow.run
    async def run(self, length: int) -> int:
        n = 0
        for _ in range(length):
            n = await workflow.execute_activity(step, n, start_to_close_timeout=timedelta(seconds=60))
        return n


async def connected(address: str) -> Client:
    """Connects. The server listens for a while before its namespace exists."""
    async with asyncio.timeout(START_S_MAX):
        while True:
            try:
                client = await Client.connect(address)
                await client.count_workflows()
            except (RPCError, RuntimeError) as error:
                print(f"temporal: not up yet: {error}", file=sys.stderr)
                await asyncio.sleep(0.5)
            else:
                return client


async def main() -> None:
    client = await connected(sys.argv[1])
    worker = Worker(
        client,
        task_queue=QUEUE,
        workflows=[Chain],
        activities=[step],
        max_concurrent_activities=512,  # as our worker
        max_concurrent_workflow_tasks=100,
        workflow_task_poller_behavior=PollerBehaviorAutoscaling(),
        activity_task_poller_behavior=PollerBehaviorAutoscaling(),
        workflow_runner=UnsandboxedWorkflowRunner(),
    )

    async def chain(length: int) -> int:
        run = f"bench-{uuid.uuid4().hex}"
        return int(await client.execute_workflow(Chain.run, length, id=run, task_queue=QUEUE))

    async with worker:
        await protocol.serve(chain, versions=protocol.versions(["temporalio"]))


if __name__ == "__main__":
    protocol.run(main())
