"""Tools of test_explain_stack.py, loaded into its workers."""

from __future__ import annotations

import asyncio

from agentflow_common.errors import TerminalError
from agentflow_worker.context import StepContext
from agentflow_worker.registry import function, tool


@tool(name="x.pay", idempotent=False)
async def pay(seconds: float) -> int:
    """Takes long, and may not happen twice."""
    await asyncio.sleep(seconds)
    return 1


@function(name="x.decline")
async def decline() -> None:
    """Fails for good."""
    raise TerminalError("the card was declined", kind="card_declined")


@function(name="x.beats")
async def beats(context: StepContext, seconds: float) -> int:
    """Sends a heartbeat all the time."""
    for _ in range(int(seconds * 10)):
        context.heartbeat()
        await asyncio.sleep(0.1)
    return 1


@function(name="x.one")
async def one() -> int:
    """1"""
    return 1
