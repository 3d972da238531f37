"""Tools whose effects can be counted: each call is a line in a file, written at once."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from agentflow_worker.context import StepContext
from agentflow_worker.registry import tool

FOLDER = Path(os.environ["EFFECTS_FOLDER"])


def _note(file: str, context: StepContext) -> None:
    descriptor = os.open(FOLDER / file, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.write(descriptor, f"{context.run} {context.step} {context.attempt}\n".encode())
    os.close(descriptor)


@tool(name="effects.add", idempotent=True)
async def add(context: StepContext, n: int = 0) -> int:
    """n + 1; may run again."""
    _note("add", context)
    return n + 1


@tool(name="effects.pay", idempotent=False)
async def pay(context: StepContext, n: int = 0) -> int:
    """n + 1; must not happen twice. Long enough for a fault to fall between the effect and its report."""
    _note("pay", context)
    await asyncio.sleep(0.2)
    return n + 1
