"""For tests: an SDK client, a gateway, a scheduler and a worker in this process, on real servers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_sdk import AsyncClient
from tests.support.engine import loaded, scheduling, working
from tests.support.gateway import GatewayUnderTest, running_gateway
from tests.support.waiting import PATIENCE_S


class Platform:
    def __init__(self, gateway: GatewayUnderTest, client: AsyncClient, stack: contextlib.AsyncExitStack) -> None:
        self.gateway = gateway
        self.client = client
        self.flows = client.workflows
        self.stack = stack

    async def submit(self, *nodes: str, edges: str = "", top: str = "", **options: Any) -> str:
        return (await self.flows.submit(workflow(*nodes, edges=edges, top=top), **options)).run_id

    async def reaches(self, run: str, check: Callable[[Any], bool], timeout_s: float = PATIENCE_S) -> Any:
        """The run once the check holds."""
        async with asyncio.timeout(timeout_s):
            while not check(item := await self.flows.get(run)):
                await asyncio.sleep(0.03)
            return item

    async def status(self, run: str, status: str) -> Any:
        return await self.reaches(run, lambda item: item.status == status)

    async def log(self, run: str) -> list[ev.Event]:
        stored = await self.gateway.context.log.read(subjects.run_all(subjects.key_of("default", run)))
        return [ev.decode(item.data) for item in stored]

    async def has(self, run: str, kind: type[ev.Event]) -> bool:
        return any(isinstance(event, kind) for event in await self.log(run))

    async def scheduled(self, run: str) -> list[str]:
        """Steps that this run itself has offered to workers, in order."""
        return [event.step for event in await self.log(run) if isinstance(event, ev.StepScheduled)]


def workflow(*nodes: str, edges: str = "", top: str = "", name: str = "w") -> str:
    listed = "\n".join(f"    - {node}" for node in nodes)
    return f"name: {name}\n{top}\ndag:\n  nodes:\n{listed}\n  edges: [{edges}]\n"


def add(node: str, a: str, b: str = "1", more: str = "") -> str:
    inputs = f"inputs: {{a: {a}, b: {b}}}"
    return f"{{id: {node}, type: function, {more} config: {{function_name: t.add, {inputs}}}}}"


def gated(node: str, gate: str) -> str:
    """A step that waits until the gate is opened."""
    return f"{{id: {node}, type: function, config: {{function_name: t.gate, inputs: {{name: {gate}}}}}}}"


def open_gate(gate: str) -> None:
    loaded().GATES[gate].set()


@contextlib.asynccontextmanager
async def running_platform(
    nats_url: str,
    db_env: dict[str, str],
    worker: bool = True,
    scheduler: bool = True,
    **bounds: Any,
) -> AsyncIterator[Platform]:
    async with contextlib.AsyncExitStack() as stack:
        if scheduler:
            await stack.enter_async_context(scheduling(nats_url))
        if worker:
            await stack.enter_async_context(working(nats_url))
        gateway = await stack.enter_async_context(running_gateway(nats_url, db_env, **bounds))
        client = await stack.enter_async_context(gateway.client())
        yield Platform(gateway, client, stack)
