"""Tools whose effects can be counted: each call is a line in a file, written at once."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from zlib import crc32

from agentflow_common.errors import RetryableError
from agentflow_worker.context import StepContext
from agentflow_worker.registry import tool

FOLDER = Path(os.environ["EFFECTS_FOLDER"])


def is_flaky(run: str) -> bool:
    return crc32(run.encode()[::-1]) % 3 == 0  # a run's shard is another remainder of its own


def _note(file: str, context: StepContext) -> None:
    descriptor = os.open(FOLDER / file, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.write(descriptor, f"{context.run} {context.step} {context.attempt}\n".encode())
    os.close(descriptor)


@tool(name="effects.add", idempotent=True)
async def add(context: StepContext, n: int = 0) -> int:
    """n + 1; may run again."""
    _note("add", context)
    return n + 1


@tool(name="effects.flaky", idempotent=True)
async def flaky(context: StepContext, n: int = 0) -> int:
    """n + 1; one run in three fails at the first attempt, so that it waits for a timer."""
    _note("add", context)
    if is_flaky(context.run) and context.attempt == 1:
        raise RetryableError("not yet", kind="flaky")
    return n + 1


@tool(name="effects.pay", idempotent=False)
async def pay(context: StepContext, n: int = 0) -> int:
    """n + 1; must not happen twice. Long enough for a fault to fall between the effect and its report."""
    _note("pay", context)
    await asyncio.sleep(0.2)
    return n + 1
