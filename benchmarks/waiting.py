"""Many waiting runs: their cost in memory, and the time that a killed scheduler needs to continue."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from typing import Any

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.log.consumers import Tail
from benchmarks.drive import arrivals, drive
from benchmarks.output import Emit
from benchmarks.stack import HELD_POOL, Engine, chain, engine, fanout

RUNS = 10_000
ROUNDS = 5
WIDTH = 10_000
WINDOW = "20000"  # so that all of them are offered: a step in the scheduler's memory takes less


async def run(emit: Emit, _options: object) -> None:
    """Measures engine.bytes_per_waiting_step and engine.recovery_10000_runs_s."""
    async with engine(SCHEDULER_WINDOW_STEPS=WINDOW) as stack:
        await drive(stack, chain(10), 1000, 50)  # a working scheduler needs this memory anyway
        before = stack.rss_bytes("scheduler")
        await _hold(stack, fanout(WIDTH, HELD_POOL), 1, WIDTH)
        per_child = (stack.rss_bytes("scheduler") - before) / WIDTH
    async with engine(SCHEDULER_WINDOW_STEPS=WINDOW) as stack:
        await drive(stack, chain(10), 1000, 50)
        events = await stack.log.last_seq()
        idle = await _recoveries(stack, "no active run, no snapshot", 1)
        before = stack.rss_bytes("scheduler")
        await _hold(stack, chain(10, HELD_POOL), RUNS, 1)
        per_run = (stack.rss_bytes("scheduler") - before) / RUNS
        emit(
            "engine.bytes_per_waiting_step", per_run, "bytes", 1, stack.durability,
            runs=RUNS, bytes_per_waiting_child=round(per_child, 1),
        )  # fmt: skip
        loaded = await _recoveries(stack, f"{RUNS:,} active runs", ROUNDS)
    emit(
        f"engine.recovery_{RUNS}_runs_s", statistics.median(loaded), "s", ROUNDS, stack.durability,
        events_without_snapshot=events, s_with_those_events_alone=round(idle[0], 4),
    )  # fmt: skip


async def _hold(stack: Engine, definition: dict[str, object], runs: int, steps: int) -> None:
    """Submits runs and returns when each has `steps` steps waiting in a pool that no worker serves."""
    tail = stack.log.tail([subjects.pool_tasks(HELD_POOL)], await stack.log.last_seq() + 1)
    await tail.start()
    pending: list[Any] = []
    left = runs * steps
    try:
        for _ in range(runs):
            pending.append(await stack.log.publish(stack.submission(definition)[1]))
            if len(pending) == 200:
                await asyncio.gather(*pending)
                pending.clear()
        await asyncio.gather(*pending)
        while left:
            left -= len(await arrivals(stack, tail))
    finally:
        await tail.stop()
    await asyncio.sleep(1.0)  # time to write a snapshot that is due


async def _recoveries(stack: Engine, label: str, rounds: int) -> list[float]:
    """Returns the seconds from the scheduler's start to its first decision after a kill -9, several times."""
    times = []
    for number in range(rounds):
        stack.kill("scheduler")
        # submitted while no scheduler runs: its start is the first decision after the recovery
        run_id, entry = stack.submission(chain(1))
        tail = stack.log.tail([subjects.ALL_RUN_DECISIONS], await stack.log.last_seq() + 1)
        await tail.start()
        await stack.log.append(entry)
        began = time.perf_counter()
        stack.spawn("scheduler")
        await _started(tail, run_id)
        times.append(time.perf_counter() - began)
        await tail.stop()
        await stack.ready("scheduler")
        print(f"recovery, {label}, round {number + 1}/{rounds}: {times[-1]:.2f} s", file=sys.stderr)
    return times


async def _started(tail: Tail, run_id: str) -> None:
    async with asyncio.timeout(120):
        while True:
            for delivery in await tail.batch(1.0):
                event = ev.decode(delivery.data)
                if isinstance(event, ev.RunStarted) and event.run == run_id:
                    return
