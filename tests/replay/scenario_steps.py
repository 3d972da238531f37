"""Functions and tools of the workflows in scenarios.py; load them into the worker (`agentctl up --load`)."""

from __future__ import annotations

import asyncio
from typing import Any

from agentflow_common.errors import RetryableError
from agentflow_worker.context import StepContext
from agentflow_worker.registry import function, tool


@function(name="s.pass")
async def passed(x: Any = None, seconds: float = 0.0) -> Any:
    await asyncio.sleep(seconds)
    return x


@function(name="s.flaky")
async def flaky(context: StepContext, x: Any = None, failures: int = 1) -> Any:
    if context.attempt <= failures:
        raise RetryableError("not yet")
    return x


@function(name="s.beats")
async def beats(context: StepContext) -> str:
    context.heartbeat(0.5, "half of it")
    await asyncio.sleep(1.2)
    return "done"


@function(name="s.note")
async def note(state: dict[str, Any]) -> dict[str, Any]:
    """A node of a graph: one more note; done after three."""
    return {"notes": [f"note {len(state['notes'])}"], "count": 1, "done": len(state["notes"]) >= 2}


@tool(name="s.pay", idempotent=False)
async def pay(amount: int = 1, seconds: float = 0.0) -> dict[str, int]:
    await asyncio.sleep(seconds)
    return {"paid": amount}
