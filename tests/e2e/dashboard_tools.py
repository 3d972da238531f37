"""Tools that fail in known ways."""

from __future__ import annotations

import asyncio

from agentflow_common.errors import RetryableError, TerminalError
from agentflow_worker.context import StepContext
from agentflow_worker.registry import tool


@tool("planted.flaky", idempotent=True)
async def flaky(context: StepContext, text: str) -> dict[str, str]:
    """Fails at its first attempt."""
    if context.attempt == 1:
        raise RetryableError("the first attempt fails", kind="planted")
    return {"text": text}


@tool("planted.broken", idempotent=True)
async def broken() -> None:
    """Fails."""
    raise TerminalError("it fails", kind="planted")


@tool("planted.slow", idempotent=True)
async def slow() -> None:
    """Takes longer than a test."""
    await asyncio.sleep(600)
