"""Submits runs and follows them to their end."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from agentflow_common import events as ev
from agentflow_common import subjects, tasks
from agentflow_common.log.consumers import Delivery, Tail
from benchmarks.stack import Engine

SILENCE_S_MAX = 120.0  # a working engine reports progress in less; a longer workflow has its own bound


async def arrivals(stack: Engine, tail: Tail, silence_s_max: float = SILENCE_S_MAX) -> list[Delivery]:
    """Returns the next messages of the tail.

    Raises RuntimeError if a service has ended or no message comes, which would take forever.
    """
    silent_since = time.monotonic()
    while not (found := await tail.batch(5.0)):
        tasks.heed_cancellation()  # of Ctrl-C, which comes once
        stack.check()
        if time.monotonic() - silent_since > silence_s_max:
            raise RuntimeError(f"no run made any progress for {silence_s_max:.0f} s")
    return found


async def drive(
    stack: Engine,
    definition: dict[str, object],
    runs: int = 1,
    in_flight: int = 1,
    silence_s_max: float = SILENCE_S_MAX,
) -> float:
    """Returns the seconds to complete `runs` runs with at most `in_flight` at once."""
    tail = stack.log.tail([subjects.ALL_RUN_DECISIONS], await stack.log.last_seq() + 1)
    await tail.start()
    waiting: set[str] = set()
    left = runs
    began = time.perf_counter()
    try:
        while left or waiting:
            fresh = []
            while left and len(waiting) < in_flight:
                run_id, entry = stack.submission(definition)
                waiting.add(run_id)
                left -= 1
                fresh.append(await stack.log.publish(entry))
            if fresh:
                await asyncio.gather(*fresh)
            for delivery in await arrivals(stack, tail, silence_s_max):
                end = ended(delivery.data)
                if end is not None:
                    waiting.discard(end.run)
        return time.perf_counter() - began
    finally:
        await tail.stop()


async def outputs(stack: Engine, definition: dict[str, object], runs: int) -> list[tuple[float, Any]]:
    """Runs one after the other, alone.

    Returns (ms since the epoch of the submission, output) for each.
    """
    tail = stack.log.tail([subjects.ALL_RUN_DECISIONS], await stack.log.last_seq() + 1)
    await tail.start()
    found: list[tuple[float, Any]] = []
    try:
        for _ in range(runs):
            _run, entry = stack.submission(definition)
            published = time.time_ns() / 1e6
            await stack.log.append(entry)
            count = len(found)
            while len(found) == count:
                for delivery in await arrivals(stack, tail):
                    end = ended(delivery.data)
                    if end is not None:
                        found.append((published, end.output.value))
        return found
    finally:
        await tail.stop()


def ended(data: bytes) -> ev.RunCompleted | None:
    """Returns the run's completion, or None for another event. A failed run is an error."""
    event = ev.decode(data)
    if isinstance(event, ev.RunFailed | ev.RunCancelled):
        raise RuntimeError(f"run {event.run}: {event}")
    return event if isinstance(event, ev.RunCompleted) else None
