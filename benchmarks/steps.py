"""The steps that benchmarks run: they do nothing, so that the figure is the engine's."""

from __future__ import annotations

from agentflow_worker.registry import function


@function(name="bench.noop")
async def noop(n: int = 0) -> int:
    """Returns its argument."""
    return n


@function(name="bench.range")
async def number_range(width: int) -> list[int]:
    """0 .. width-1"""
    return list(range(width))
