"""Tools whose calls leave a line in a file, at once; each output tells which call gave it, and what it was given."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path
from typing import Any

from agentflow_worker.context import StepContext
from agentflow_worker.registry import tool

FILE = Path(os.environ["CALLS_FILE"])
_random = random.Random()


async def _call(context: StepContext, given: int) -> dict[str, Any]:
    number = _random.randrange(100_000)  # no detector takes so few digits for anything
    descriptor = os.open(FILE, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.write(descriptor, f"{context.run} {context.step} {context.attempt} {given} {number}\n".encode())
    os.close(descriptor)
    await asyncio.sleep(0.004)
    return {"number": number, "given": given}


@tool(name="chains.add", idempotent=True)
async def add(context: StepContext, given: int = 0) -> dict[str, Any]:
    """May run again."""
    return await _call(context, given)


@tool(name="chains.pay", idempotent=False)
async def pay(context: StepContext, given: int = 0) -> dict[str, Any]:
    """Must not happen twice in an attempt."""
    return await _call(context, given)
