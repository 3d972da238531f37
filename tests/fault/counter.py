"""A tool whose effect can be counted: it is idempotent by key, and it remembers how often it was called."""

from __future__ import annotations

import os
from pathlib import Path

from agentflow_worker.context import StepContext
from agentflow_worker.registry import function, tool

FOLDER = Path(os.environ["COUNTER_FOLDER"])


@tool(name="counter.add", idempotent=True)
async def add(context: StepContext, n: int = 0) -> int:
    """Counts the step once, however often it runs; returns n + 1."""
    name = context.idempotency_key.replace("/", "__")
    try:
        os.close(os.open(FOLDER / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        descriptor = os.open(FOLDER.parent / "repeats", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        os.write(descriptor, f"{name}\n".encode())
        os.close(descriptor)
    return n + 1


@function(name="counter.items")
async def items(width: int) -> list[int]:
    """0 .. width-1"""
    return list(range(width))
