"""The shared state of a graph is shown while the graph runs and after it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentflow_sdk import AsyncClient
from tests.support.agentctl import run_agentctl
from tests.support.engine import scheduling, working
from tests.support.gateway import EMAIL, GatewayUnderTest, running_gateway
from tests.support.waiting import PATIENCE_S, until

pytestmark = pytest.mark.integration

TEXT = """\
name: counting
inputs: {mail: {type: string}}
nodes:
  - {name: left, function: t.refine, args: {n: state.n}, writes: {n: output.n}}
  - {name: big, function: t.big, args: {size: 100000}, writes: doc}
  - {name: ask, signal: go, writes: answer}
edges:
  - {from: left, to: left, condition: state.n < 2}
  - {from: left, to: big, condition: state.n == 2}
  - {from: big, to: ask}
entry_point: left
state: {initial: {n: 0, log: []}}
"""


@pytest.fixture
async def gateway(nats_url: str, db_env: dict[str, str]) -> AsyncIterator[GatewayUnderTest]:
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(scheduling(nats_url))
        await stack.enter_async_context(working(nats_url))
        yield await stack.enter_async_context(running_gateway(nats_url, db_env))


async def waiting(client: AsyncClient, run: str) -> Any:
    shown = await client.workflows.get(run)
    return shown if shown.waiting_steps else None


async def test_a_graph_shows_its_state(gateway: GatewayUnderTest) -> None:
    async with gateway.client() as client:
        run = (await client.workflows.submit(TEXT, {"mail": EMAIL})).run_id
        shown = await until(lambda: waiting(client, run))
        assert shown.state is not None
        assert shown.state.pop("doc") == {"$truncated": 400_001}
        assert shown.state == {"mail": "<EMAIL_ADDRESS:ABCDEF>", "n": 2, "log": []}
        assert shown.superstep == 4
        code, out, _ = await run_agentctl(gateway.endpoint, gateway.key, "workflow", "get", run)
        assert code == 0
        assert "shared state" in out and "n: 2" in out
        await client.workflows.signal(run, "go", {"yes": True})
        ended = await client.workflows.wait(run, timeout=PATIENCE_S)
        assert ended.state is not None and ended.state["answer"] == {"yes": True}
        async with gateway.client(await gateway.key_for("default", "read", "reveal")) as auditor:
            revealed = await auditor.workflows.get(run, reveal=True, reason="a ticket")
            assert revealed.state is not None and revealed.state["mail"] == EMAIL


async def test_a_run_that_is_not_a_graph_has_none(gateway: GatewayUnderTest) -> None:
    text = "name: w\ndag: {nodes: [{id: a, type: wait, config: {duration: 1h}}]}\n"
    async with gateway.client() as client:
        shown = await client.workflows.get((await client.workflows.submit(text)).run_id)
        assert (shown.state, shown.superstep) == (None, 0)
