"""Functions and tools of steps that follow one by one and that a worker runs in one task."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from agentflow_common.errors import RetryableError, TerminalError
from agentflow_worker.context import StepContext
from agentflow_worker.registry import function, tool

CALLS: Counter[tuple[str, str]] = Counter()
GIVEN: dict[tuple[str, str], Any] = {}
HOLDS: dict[str, asyncio.Event] = {}  # by step: its next call waits, whatever its run
HELD: set[tuple[str, str]] = set()  # calls that wait
STOPPED: list[tuple[str, str]] = []


async def _call(context: StepContext, x: Any) -> None:
    name = (context.run, context.step)
    CALLS[name] += 1
    GIVEN[name] = x
    gate = HOLDS.pop(context.step, None)
    if gate is not None:
        HELD.add(name)
        try:
            await gate.wait()
        except asyncio.CancelledError:
            STOPPED.append(name)
            raise


@function(name="r.pass")
async def passed(context: StepContext, x: Any = None) -> Any:
    """x, as it came; the first call may have to wait."""
    await _call(context, x)
    return x


@function(name="r.count")
async def count(context: StepContext, x: Any = None) -> int:
    """Which call of the step it is."""
    await _call(context, x)
    return CALLS[context.run, context.step]


@tool(name="r.pay", idempotent=False)
async def pay(context: StepContext, x: Any = None) -> int:
    """Must not happen twice."""
    await _call(context, x)
    return CALLS[context.run, context.step]


@tool(name="r.reveal", idempotent=True, reveal=("x",))
async def reveal(context: StepContext, x: str) -> int:
    """Is given the original."""
    await _call(context, x)
    return len(x)


@function(name="r.spoil")
async def spoil(context: StepContext, x: list[Any]) -> int:
    """Changes what it is given."""
    x[0] = None
    x.clear()
    return 1


@function(name="r.length")
async def length(x: Any) -> int:
    return len(x)


@function(name="r.zeros")
async def zeros(size: int) -> dict[str, Any]:
    """Lists, one of them of this length."""
    return {"many": [0] * size, "few": [[1, 2], [3]]}


@function(name="r.odd")
async def odd(what: str) -> Any:
    """What is not as it seems once it stands in the log."""
    return {
        "tuple": (1, (2, 3)),
        "keys": {1: {2: "x"}},
        "nan": {"n": float("nan")},
        "nothing": None,
        "surrogate": {"text": "\ud800"},
        "reserved": {"$blob": {"sha256": "a" * 64, "size": 1}, "path": []},
        "object": object(),
    }[what]


@function(name="r.flaky")
async def flaky(context: StepContext, x: Any = None) -> int:
    """Fails at the first attempt."""
    await _call(context, x)
    if context.attempt == 1:
        raise RetryableError("not yet", kind="flaky")
    return context.attempt


@function(name="r.beat")
async def beat(context: StepContext, x: Any = None) -> Any:
    """Says where it is, and may have to wait then."""
    context.heartbeat(0.5)
    await _call(context, x)
    return x


@function(name="r.broken")
async def broken() -> None:
    raise TerminalError("broken", kind="broken")


@function(name="r.mail")
async def mail(name: str) -> str:
    """Somebody's address."""
    return f"{name}.doe" + "@example.com"
