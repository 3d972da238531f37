"""Durable steps a second, time of a sequential step, fan-out, beside the server's own limit."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from typing import Any

from agentflow_common.definition.parse import parse_dict
from agentflow_common.log.event_log import Entry
from benchmarks.drive import drive, outputs
from benchmarks.output import Emit
from benchmarks.stack import SERVICES, Engine, chain, engine, fanout, node

ROUNDS = 5
IN_FLIGHT = 50
CHAIN = 10
RUNS_PER_ROUND = 300
WARM_UP_RUNS = 100
CHAIN10_RUNS = WARM_UP_RUNS + ROUNDS * RUNS_PER_ROUND
FANOUT = 1000
WIDE_FANOUT = 10_000
WIDE_ROUNDS = 3
SUBMISSIONS = 300


async def run(emit: Emit, _options: object) -> None:
    async with engine() as stack:
        before = await stack.messages()
        steps = await chain10(stack, emit)
        messages = (await stack.messages() - before) / CHAIN10_RUNS
        emit("engine.chain10.messages_per_run", messages, "messages", ROUNDS, stack.durability)
        limit = await publish_limit(stack, emit)
        share = steps / CHAIN * messages / limit
        emit("engine.chain10.share_of_publish_limit", share, "ratio", ROUNDS, stack.durability)
        await chain10_fsync(stack, emit)
        await sequential(stack, emit)
        await first_task(stack, emit)
        await fan(stack, emit, FANOUT, ROUNDS)
        await chain10_singly(stack, emit)
        await chain10_offered(stack, emit)


async def wide(emit: Emit, _options: object) -> None:
    """Measures engine.fanout10000.steps_per_s."""
    async with engine() as stack:
        await fan(stack, emit, WIDE_FANOUT, WIDE_ROUNDS)


async def publish_limit(stack: Engine, emit: Emit) -> float:
    """Returns the acknowledged publishes a second of one client: 500 in flight, 300 bytes, the same
    stream.
    """
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
    emit("jetstream.publish_limit_per_s", rate, "messages/s", len(rates), stack.durability)
    return rate


async def chain10(stack: Engine, emit: Emit) -> float:
    definition = chain(CHAIN)
    await drive(stack, definition, WARM_UP_RUNS, IN_FLIGHT)
    before = [stack.cpu_s(name) for name in SERVICES]
    rates = [await _chain10_round(stack, definition, number) for number in range(ROUNDS)]
    steps = ROUNDS * RUNS_PER_ROUND * CHAIN
    # processor time shows the cost of a step on a busy machine too
    cpu = {
        f"{name}_cpu_us_per_step": round((stack.cpu_s(name) - was) / steps * 1e6, 1)
        for name, was in zip(SERVICES, before, strict=True)
    }
    rate = statistics.median(rates)
    emit("engine.chain10.steps_per_s", rate, "steps/s", ROUNDS, stack.durability, in_flight=IN_FLIGHT, **cpu)
    return rate


async def chain10_singly(together: Engine, emit: Emit) -> None:
    """Measures the chain with each step reported by itself."""
    async with engine(WORKER_REPORTS_TOGETHER="false") as stack:
        rate, share = await _in_turn(stack, together)
    name = "engine.chain10_singly.steps_per_s"
    emit(name, rate, "steps/s", ROUNDS, "default", in_flight=IN_FLIGHT, share_of_together=share)


async def chain10_offered(chained: Engine, emit: Emit) -> None:
    """Measures the chain with each step offered separately, as in workflows without chains."""
    async with engine(SCHEDULER_ROW_STEPS="0") as stack:
        rate, share = await _in_turn(stack, chained)
    name = "engine.chain10_offered.steps_per_s"
    emit(name, rate, "steps/s", ROUNDS, "default", in_flight=IN_FLIGHT, share_of_rows=share)


async def chain10_fsync(default: Engine, emit: Emit) -> None:
    async with engine("fsync") as stack:
        rate, share = await _in_turn(stack, default)
    name = "engine.chain10_fsync.steps_per_s"
    emit(name, rate, "steps/s", ROUNDS, "fsync", in_flight=IN_FLIGHT, share_of_default=share)


async def _in_turn(stack: Engine, other: Engine) -> tuple[float, float]:
    """Returns steps a second and the share of the other stack's, from rounds of both in turn."""
    definition = chain(CHAIN)
    rates, shares = [], []
    await drive(stack, definition, WARM_UP_RUNS, IN_FLIGHT)
    for number in range(ROUNDS):
        rates.append(await _chain10_round(stack, definition, number))
        shares.append(rates[-1] / await _chain10_round(other, definition, number))
    return statistics.median(rates), round(statistics.median(shares), 4)


async def _chain10_round(stack: Engine, definition: dict[str, object], number: int) -> float:
    rate = RUNS_PER_ROUND * CHAIN / await drive(stack, definition, RUNS_PER_ROUND, IN_FLIGHT)
    print(f"chain10 {stack.durability} round {number + 1}/{ROUNDS}: {rate:,.0f} steps/s", file=sys.stderr)
    return rate


async def sequential(stack: Engine, emit: Emit) -> None:
    """Measures milliseconds a step of one run alone: a chain of 200, the median of several."""
    length = 200
    definition = chain(length)
    await drive(stack, definition)
    times = [1000 * await drive(stack, definition) / length for _ in range(ROUNDS)]
    emit("engine.sequential_step_ms", statistics.median(times), "ms", ROUNDS, stack.durability)


async def first_task(stack: Engine, emit: Emit) -> None:
    """Measures the time from a submission to the first line of the first step, on an idle engine.

    The step returns its own start time, by the same machine's clock.
    """
    definition = parse_dict({"name": "first", "dag": {"nodes": [node("now", "bench.now", {})]}}).canonical()
    await outputs(stack, definition, 50)
    waits = sorted(output["now"] - published for published, output in await outputs(stack, definition, SUBMISSIONS))
    p99 = round(waits[len(waits) * 99 // 100], 4)
    emit("engine.submit_to_first_task_ms", statistics.median(waits), "ms", len(waits), stack.durability, p99=p99)


async def fan(stack: Engine, emit: Emit, width: int, rounds: int) -> None:
    definition = fanout(width)
    await drive(stack, definition)
    rates = []
    for number in range(rounds):
        rates.append((width + 2) / await drive(stack, definition))
        print(f"fanout{width} round {number + 1}/{rounds}: {rates[-1]:,.0f} steps/s", file=sys.stderr)
    emit(f"engine.fanout{width}.steps_per_s", statistics.median(rates), "steps/s", rounds, stack.durability)
