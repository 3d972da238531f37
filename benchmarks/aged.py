"""The cost of a log with many finished runs: the same chain on a fresh and on an aged log, in turn."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import sys
import time

from agentflow_common import ids, subjects
from agentflow_common.log.consumers import WorkQueue
from agentflow_common.log.event_log import ATOMIC_BATCH_MAX, Entry
from agentflow_scheduler.shards.snapshots import save_snapshot
from benchmarks.drive import SILENCE_S_MAX, drive
from benchmarks.history import Line, copy, tasks, template
from benchmarks.output import Emit
from benchmarks.stack import SERVICES, Engine, chain, engine

ROUNDS = 5
RUNS_PER_ROUND = 150
IN_FLIGHT = 50
CHAIN = 10
AGED_CHAIN = 2  # steps of a finished run: the number of runs (their subjects) ages a log, and making steps costs time


async def run(emit: Emit, options: argparse.Namespace) -> None:
    """Measures engine.aged_log_slowdown: time of chain10 on an aged log, divided by that on a fresh log."""
    runs: int = options.runs
    definition = chain(CHAIN)
    async with engine() as fresh, engine() as aged:
        began = time.perf_counter()
        await _age(aged, runs)
        made_s = time.perf_counter() - began
        for name in SERVICES:
            aged.spawn(name)
        began = time.perf_counter()
        for name in SERVICES:
            await aged.ready(name)
        await drive(aged, definition)
        first_s = time.perf_counter() - began
        print(f"aged log: made in {made_s:.1f} s, first run done after {first_s:.1f} s", file=sys.stderr)
        for stack in (fresh, aged):
            await drive(stack, definition, 100, IN_FLIGHT)
        ratios, cpu = [], {"fresh": 0.0, "aged": 0.0}
        for number in range(ROUNDS):
            seconds = {"fresh": 0.0, "aged": 0.0}
            # there and back, so that neither the order nor a slow drift of the machine favours one
            for label, stack in (("fresh", fresh), ("aged", aged), ("aged", aged), ("fresh", fresh)):
                before = sum(stack.cpu_s(name) for name in SERVICES)
                seconds[label] += await drive(stack, definition, RUNS_PER_ROUND, IN_FLIGHT)
                cpu[label] += sum(stack.cpu_s(name) for name in SERVICES) - before
            ratios.append(seconds["aged"] / seconds["fresh"])
            print(f"aged log round {number + 1}/{ROUNDS}: {ratios[-1]:.3f}", file=sys.stderr)
        emit(
            "engine.aged_log_slowdown",
            statistics.median(ratios),
            "ratio",
            ROUNDS,
            aged.durability,
            finished_runs=runs,
            cpu_ratio=round(cpu["aged"] / cpu["fresh"], 4),
            restart_to_first_run_s=round(first_s, 2),
        )


async def _age(stack: Engine, runs: int) -> None:
    """Appends `runs` finished runs while no service runs.

    They are copies of one run of the engine.
    """
    run_id, entry = stack.submission(chain(AGED_CHAIN))
    await stack.log.append(entry)
    await drive(stack, chain(AGED_CHAIN))  # when this run ends, the one before has ended too
    lines = template(await stack.log.read(subjects.run_all(subjects.key_of(stack.org, run_id))))
    stack.stop()
    queue = asyncio.create_task(_take_tasks(stack, runs * tasks(lines)))
    try:
        await _append_copies(stack, lines, runs)
        await queue
        # the engine snapshots every 20,000 events: a log of this age has snapshots
        store = await stack.nc.jetstream().object_store(subjects.SNAPSHOT_BUCKET)
        seq = await stack.log.last_seq()
        for shard in range(subjects.SHARDS):
            await save_snapshot(store, shard, seq, [])
    finally:
        queue.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await queue


async def _append_copies(stack: Engine, lines: list[Line], runs: int) -> None:
    a_batch = ATOMIC_BATCH_MAX // len(lines)
    seq = await stack.log.last_seq()
    made = 0
    while made < runs:
        entries: list[Entry] = []
        for _ in range(min(a_batch, runs - made)):
            entries += copy(lines, ids.new_run_id(), seq + len(entries))
            made += 1
        ack = await stack.log.append_batch(entries)
        if ack.seq != seq + len(entries):
            raise RuntimeError("something else writes to the log: the copies would not be what the engine writes")
        seq = ack.seq
        if made // 20_000 != (made - a_batch) // 20_000:
            print(f"aged log: {made:,} of {runs:,} runs", file=sys.stderr)


async def _take_tasks(stack: Engine, count: int) -> None:
    """Acknowledges the tasks of the copies for the worker: their results are in the log already."""
    queue = WorkQueue(stack.nc, subjects.EVENTS_STREAM, subjects.pool_durable(subjects.DEFAULT_POOL), credit=5_000)
    await queue.start()
    heard = time.monotonic()
    while count > 0:
        found = await queue.batch(5.0)  # the answer is also empty when room was made in between
        if found:
            heard = time.monotonic()
        elif time.monotonic() - heard > SILENCE_S_MAX:
            raise RuntimeError(f"{count:,} tasks of the copied runs did not come in {SILENCE_S_MAX:g} s")
        for delivery in found:
            await stack.log.ack(delivery)
        queue.release(len(found))
        count -= len(found)
    await queue.stop()
    await stack.nc.flush()
