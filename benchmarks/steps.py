"""The steps that benchmarks run: they do nothing or sleep, so that the figure is the engine's."""

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
    """0 .. width-1"""
    return list(range(width))


@function(name="bench.now")
async def now() -> float:
    """Milliseconds since the epoch."""
    return time.time_ns() / 1e6


@function(name="bench.sleep")
async def sleep(seconds: float) -> float:
    """Takes as long as it is told."""
    await asyncio.sleep(seconds)
    return seconds
