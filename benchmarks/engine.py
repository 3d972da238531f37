"""Group `engine`: durable steps a second, time of a sequential step, fan-out, beside the server's own limit."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.eventlog import Entry
from benchmarks.stack import Engine, chain, engine, fanout

Emit = Callable[..., None]

ROUNDS = 5
IN_FLIGHT = 50
CHAIN = 10
RUNS_PER_ROUND = 300
FANOUT = 1000


async def run(emit: Emit) -> None:
    async with engine() as stack:
        await publish_limit(stack, emit)
        steps = await chain10(stack, emit)
        await sequential(stack, emit)
        await fan(stack, emit)
        limit = await publish_limit(stack, None)
        # a step is two messages: the ratio tells how much of the server's limit the engine turns into steps
        emit("engine.chain10.share_of_publish_limit", 2 * steps / limit, "ratio", ROUNDS, stack.durability)


async def publish_limit(stack: Engine, emit: Emit | None) -> float:
    """Acknowledged publishes a second of one client with 500 in flight, 300-byte messages, in the same stream."""
    rates = []
    body = b"x" * 300
    for _ in range(3):
        count = 10_000
        began = time.perf_counter()
        pending: list[Any] = []
        for index in range(count):
            pending.append(await stack.log.publish(Entry(f"af.evt.0.limit.r{index % 50}.x", body)))
            if len(pending) >= 500:
                await asyncio.gather(*pending)
                pending.clear()
        await asyncio.gather(*pending)
        rates.append(count / (time.perf_counter() - began))
    rate = statistics.median(rates)
    if emit is not None:
        emit("jetstream.publish_limit_per_s", rate, "messages/s", len(rates), stack.durability)
    return rate


async def _drive(stack: Engine, definition: dict[str, object], runs: int, in_flight: int) -> float:
    """Seconds to complete `runs` runs with at most `in_flight` at once."""
    tail = stack.log.tail([subjects.ALL_RUN_FACTS], await stack.log.last_seq() + 1)
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
            for delivery in await tail.batch(30.0):
                event = ev.decode(delivery.data)
                if isinstance(event, ev.RunFailed | ev.RunCancelled):
                    raise RuntimeError(f"run {event.run}: {event}")
                if isinstance(event, ev.RunCompleted):
                    waiting.discard(event.run)
        return time.perf_counter() - began
    finally:
        await tail.stop()


async def chain10(stack: Engine, emit: Emit, name: str = "engine.chain10.steps_per_s") -> float:
    definition = chain(CHAIN)
    await _drive(stack, definition, 100, IN_FLIGHT)
    rates = []
    for number in range(ROUNDS):
        seconds = await _drive(stack, definition, RUNS_PER_ROUND, IN_FLIGHT)
        rates.append(RUNS_PER_ROUND * CHAIN / seconds)
        print(f"chain10 round {number + 1}/{ROUNDS}: {rates[-1]:,.0f} steps/s", file=sys.stderr)
    rate = statistics.median(rates)
    emit(name, rate, "steps/s", ROUNDS, stack.durability, in_flight=IN_FLIGHT, runs=RUNS_PER_ROUND)
    return rate


async def sequential(stack: Engine, emit: Emit) -> None:
    """Milliseconds a step of one run alone: a chain of 200, the median of several."""
    length = 200
    definition = chain(length)
    await _drive(stack, definition, 1, 1)
    times = [1000 * await _drive(stack, definition, 1, 1) / length for _ in range(ROUNDS)]
    emit("engine.sequential_step_ms", statistics.median(times), "ms", ROUNDS, stack.durability)


async def fan(stack: Engine, emit: Emit) -> None:
    definition = fanout(FANOUT)
    await _drive(stack, definition, 1, 1)
    rates = [(FANOUT + 2) / await _drive(stack, definition, 1, 1) for _ in range(ROUNDS)]
    emit(f"engine.fanout{FANOUT}.steps_per_s", statistics.median(rates), "steps/s", ROUNDS, stack.durability)
