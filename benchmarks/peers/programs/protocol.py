"""The protocol between the benchmark and a peer's program.

It needs only the standard library and uvloop.

Each line is one JSON object. First the program writes {"about": {...}}. Then it answers each
{"runs", "in_flight", "length"} with {"seconds": total, "each": [seconds of each run]}. It ends with
its standard input.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from importlib import metadata
from typing import Any

Chain = Callable[[int], Awaitable[int]]  # length -> length, after so many durable steps


def run(main: Coroutine[Any, Any, None]) -> None:
    """Runs on uvloop, as our services do."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


async def serve(chain: Chain, **about: object) -> None:
    """Runs the requests on standard input. about: fields for the figures."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of a library is not an answer
    _say(answers, {"about": about})
    while line := await asyncio.to_thread(sys.stdin.readline):
        asked = json.loads(line)
        _say(answers, await measure(chain, asked["runs"], asked["in_flight"], asked["length"]))


async def measure(chain: Chain, runs: int, in_flight: int, length: int) -> dict[str, Any]:
    """Returns the seconds of `runs` runs with at most `in_flight` at once, in total and for each."""
    each: list[float] = []
    left = iter(range(runs))

    async def one_after_the_other() -> None:
        for _ in left:
            began = time.perf_counter()
            if await chain(length) != length:
                raise RuntimeError("the chain did not run all its steps")
            each.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(one_after_the_other() for _ in range(min(in_flight, runs))))
    return {"seconds": time.perf_counter() - began, "each": each}


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Returns the versions of installed packages."""
    return {package: metadata.version(package) for package in packages}


def _say(answers: Any, message: dict[str, Any]) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()
