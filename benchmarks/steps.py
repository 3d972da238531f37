"""Steps for benchmarks: they do nothing or sleep, so that the figures show the engine."""

from __future__ import annotations

import asyncio
import time

from agentflow_worker.registry import function


@function(name="bench.noop")
async def noop(n: int = 0) -> int:
    """Returns its argument."""
    return n


@function(name="bench.range")
async def number_range(width: int) -> list[int]:
    """Returns 0 .. width-1."""
    return list(range(width))


@function(name="bench.now")
async def now() -> float:
    """Returns milliseconds since the epoch."""
    return time.time_ns() / 1e6


@function(name="bench.sleep")
async def sleep(seconds: float) -> float:
    """Sleeps and returns the seconds."""
    await asyncio.sleep(seconds)
    return seconds
