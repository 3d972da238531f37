"""Functions and tools that the engine's tests run. Numbers only: nothing here needs the security service."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from typing import Any

from agentflow_common.errors import RetryableError, TerminalError
from agentflow_worker.context import StepContext
from agentflow_worker.registry import function, tool

CALLS: Counter[str] = Counter()
STOPPED: list[str] = []
GATES: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)  # by name: a test opens it


@function(name="t.add")
async def add(a: float = 0, b: float = 0) -> float:
    """a + b"""
    return a + b


@function(name="t.numbers")
async def numbers(width: int) -> list[int]:
    """0 .. width-1"""
    return list(range(width))


@function(name="t.total")
async def total(numbers: list[float | None]) -> float:
    """The sum of what is there."""
    return sum(n for n in numbers if n is not None)


@function(name="t.flaky")
async def flaky(context: StepContext, failures: int) -> int:
    """Fails `failures` times, then gives the attempt's number."""
    if context.attempt <= failures:
        raise RetryableError("not yet", kind="flaky")
    return context.attempt


@function(name="t.broken")
async def broken(a: int = 0, b: int = 0) -> None:
    """Fails for good, whatever it is given."""
    raise TerminalError("broken", kind="broken")


@function(name="t.sleep")
async def sleep(context: StepContext, seconds: float) -> int:
    """Sleeps; remembers if it was stopped."""
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        STOPPED.append(context.run)
        raise
    return 1


@function(name="t.gate")
async def gate(name: str) -> int:
    """Waits until the test opens the gate."""
    await GATES[name].wait()
    return 1


@function(name="t.big")
async def big(size: int) -> list[float]:
    """A list of numbers too large for an event."""
    return [1.5] * size


@function(name="t.forged")
async def forged() -> dict[str, object]:
    """An output that pretends to be stored out of line."""
    return {"$blob": {"sha256": "a" * 64, "size": 1}, "path": []}


@function(name="t.shared")
async def shared(n: int, shared: list[float]) -> int:
    """n, and how long the shared list is."""
    return n + len(shared)


@tool(name="t.pay", idempotent=False)
async def pay(context: StepContext, amount: int) -> int:
    """Must not happen twice."""
    CALLS[context.idempotency_key] += 1
    return amount


GAUGE: list[int] = []
UNDONE: list[str] = []
_running: Counter[str] = Counter()


@function(name="t.gauge")
async def gauge(n: int, at: int) -> int:
    """Notes how many of it run at once; those that came first end last."""
    _running["n"] += 1
    GAUGE.append(_running["n"])
    await asyncio.sleep(0.02 + 0.001 * (20 - n))
    _running["n"] -= 1
    return n * 10 + at


@function(name="t.odd")
async def odd(n: int) -> int:
    """Fails for good on even numbers."""
    if n % 2 == 0:
        raise TerminalError(f"{n} is even", kind="even")
    return n


@function(name="t.tick")
async def tick() -> int:
    """One."""
    return 1


@function(name="t.undo")
async def undo(what: str, value: float) -> str:
    """Remembers what was undone."""
    assert value == 1
    UNDONE.append(what)
    return what


@function(name="t.stubborn")
async def stubborn(name: str) -> int:
    """Does not let itself be stopped before its gate is open, or a test that fails was long over."""
    end = asyncio.get_running_loop().time() + 100
    while not GATES[name].is_set() and asyncio.get_running_loop().time() < end:
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            continue
    return 1


@function(name="t.beating")
async def beating(context: StepContext, seconds: float) -> int:
    """Says how far it is."""
    for part in range(10):
        context.heartbeat(part / 10, f"part {part}")
        await asyncio.sleep(seconds / 10)
    return 1


@function(name="t.refine")
async def refine(n: int, step: int = 1) -> dict[str, object]:
    """Takes what it needs of a graph's state, and gives back a part of it."""
    return {"n": n + step, "log": n}


@function(name="t.review")
async def review(state: dict[str, Any], context: StepContext) -> dict[str, object]:
    """Takes the whole state; fails once, so that its retry is seen."""
    if context.attempt == 1 and state["n"] == 0:
        raise RetryableError("not yet", kind="flaky")
    return {"log": [state["n"], len(state["log"])], "pages": [1.5] * 10_000 * state["n"]}


@function(name="t.mail")
async def mail(name: str) -> str:
    """Somebody's address."""
    return f"{name}.doe" + "@example.com"


def nested(depth: int) -> Any:
    """A list in a list in a list."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


ODD_VALUES: dict[str, Any] = {
    "huge": 2**60 + 1,
    "huger": -(2**70),
    "nan": {"a": [1, float("nan")]},
    "infinity": float("inf"),
    "surrogate": {"a": "x\ud800"},
    "key": {"\ud800": 1},
    "digits": 10**5_000,
    "deep": nested(100),
    "deeper": nested(500),
    "bottomless": nested(100_000),
}


@function(name="t.odd_value")
async def odd_value(name: str) -> Any:
    """A value that JSON holds exactly, or not at all."""
    CALLS[f"odd_value {name}"] += 1
    return ODD_VALUES[name]


@function(name="t.odd_error")
async def odd_error(where: str, context: StepContext) -> None:
    """Fails with a lone surrogate somewhere in what it says."""
    CALLS[f"odd_error {where}"] += 1
    context.heartbeat(0.5, "\ud83d")
    raise {
        "text": TerminalError("x\ud800", kind="odd"),
        "kind": TerminalError("x", kind="odd\ud800"),
    }[where]


@tool(name="t.odd_payment", idempotent=False)
async def odd_payment() -> float:
    """Pays, and gives what JSON lacks."""
    return float("nan")


@tool(name="t.text_payment", idempotent=False)
async def text_payment() -> str:
    """Pays, and gives a text that has to be examined before it is stored."""
    CALLS["text_payment"] += 1
    return "paid; a receipt went to jo.doe" + "@example.com"
