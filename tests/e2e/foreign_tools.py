"""The work that the steps of other engines' examples do: containers, workers and Lambda functions in the originals."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from agentflow_common.errors import RetryableError, TerminalError
from agentflow_worker.context import StepContext
from agentflow_worker.registry import function, tool


@function("foreign.say")
async def say(text: str) -> dict[str, Any]:
    """Returns a text, as a container that prints it."""
    return {"result": text}


@function("foreign.add")
async def add(a: int, b: int = 1) -> dict[str, Any]:
    """Returns the sum of two numbers."""
    return {"result": a + b}


@function("foreign.sum")
async def total(numbers: list[int]) -> dict[str, Any]:
    """Returns the sum of a list."""
    return {"result": sum(numbers)}


@function("foreign.parity")
async def parity(num: int) -> dict[str, Any]:
    """Returns a number, and whether it is even."""
    return {"num": num, "evenness": "odd" if num % 2 else "even"}


@function("foreign.fail")
async def fail(kind: str = "broken") -> None:
    """Fails for good."""
    raise TerminalError("it does not work", kind=kind)


@function("foreign.flaky")
async def flaky(context: StepContext, works_at: int = 3) -> dict[str, Any]:
    """Fails until an attempt, as a service that is away for a while."""
    if context.attempt < works_at:
        raise RetryableError("away", kind="http_503")
    return {"attempt": context.attempt}


@function("foreign.sleep")
async def sleep(seconds: float) -> dict[str, Any]:
    """Returns after a while."""
    await asyncio.sleep(seconds)
    return {"slept": seconds}


@function("foreign.job")
async def job(seen: int) -> dict[str, Any]:
    """Returns the state of a job that is done when it is asked the third time."""
    return {"state": "SUCCEEDED" if seen >= 3 else "RUNNING", "seen": seen}


@tool("foreign.note", idempotent=True)
async def note(text: str, context: StepContext) -> dict[str, Any]:
    """Writes a line into the run's notes, which tell what was done outside, in which order."""
    folder = Path(os.environ["AGENTFLOW_BUCKET_ROOT"]) / "notes"
    await asyncio.to_thread(_append, folder / f"{context.run}.txt", text)
    return {"noted": text}


def _append(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as file:
        file.write(f"{text}\n")


@tool("print_message", idempotent=True)
async def print_message(message: str) -> dict[str, Any]:
    """Returns a message as the result, as the tool that an import asks for."""
    return {"result": message}


@tool("add_numbers", idempotent=True)
async def add_numbers(a: int, b: int) -> dict[str, Any]:
    """Returns the sum of two numbers."""
    return {"sum": a + b}
