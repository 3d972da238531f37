"""Tools and functions that the worker's own tests run."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter

from agentflow_worker.context import StepContext
from agentflow_worker.registry import function, tool

SEEN: list[str] = []
RUNNING: Counter[str] = Counter()
MOST: Counter[str] = Counter()
RELEASE = threading.Event()


@tool(name="w.tidy", idempotent=True)
async def tidy(context: StepContext, seconds: float = 60) -> str:
    """Cleans up when it is stopped."""
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        await asyncio.sleep(0.05)
        SEEN.append(f"tidied {context.run}")
        raise
    return "done"


@tool(name="w.finish", idempotent=True)
async def finish(context: StepContext) -> str:
    """Ends its work although it is stopped."""
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        await asyncio.sleep(0.05)
    return "finished"


@tool(name="w.stubborn", idempotent=True)
async def stubborn(context: StepContext) -> str:
    """Ignores the first word, not the second."""
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        SEEN.append(f"ignored {context.run}")
        await asyncio.sleep(60)
    return "never"


@tool(name="w.slow_to_stop", idempotent=True)
async def slow_to_stop(context: StepContext) -> str:
    """Tidies up for long when it runs first; answers when it runs again."""
    RUNNING[context.run] += 1
    return "again" if RUNNING[context.run] > 1 else await stubborn(context)


@function(name="w.thread")
def thread(context: StepContext, raises: bool = False) -> str:
    """A loop in a thread that looks at the flag."""
    while not context.cancelled.is_set():
        time.sleep(0.01)
    if raises:
        raise RuntimeError("gave up")
    return "stopped in time"


@function(name="w.deaf")
def deaf(context: StepContext) -> str:
    """A thread that does not look, and beats on when it was left behind."""
    RELEASE.wait(100)
    context.heartbeat(0.9, "late")
    return "too late"


@function(name="w.beats")
async def beats(context: StepContext, count: int, every_s: float, say: str = "page") -> int:
    """Beats `count` times."""
    for number in range(count):
        context.heartbeat((number + 1) / count, f"{say} {number + 1}")
        await asyncio.sleep(every_s)
    return count


@function(name="w.thread_beats")
def thread_beats(context: StepContext) -> int:
    """Beats from a thread."""
    context.heartbeat(0.25)
    context.heartbeat(detail="same progress")
    return 1


@function(name="w.bad_beat")
async def bad_beat(context: StepContext) -> int:
    """Says nonsense."""
    context.heartbeat(4)
    return 1


@function(name="w.slot")
async def slot(pool: str, seconds: float) -> int:
    """Counts how many run at once."""
    RUNNING[pool] += 1
    MOST[pool] = max(MOST[pool], RUNNING[pool])
    try:
        await asyncio.sleep(seconds)
    finally:
        RUNNING[pool] -= 1
    return 1
