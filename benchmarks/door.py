"""Group `door`: the whole embedded stack through the Python SDK, in turn with the engine alone."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final, Literal

import psutil

from agentctl.stack import control
from agentctl.stack.layout import Options, StackInfo
from agentflow_sdk import AsyncClient
from agentflow_sdk.models.statuses import RunStatus
from benchmarks.drive import drive
from benchmarks.output import Emit
from benchmarks.stack import CONCURRENCY, HELD_POOL, HERE, chain, engine

ROUNDS = 5
IN_FLIGHT = 50
CHAIN = 10
RUNS_PER_ROUND = 500  # fewer show how a round begins and ends, not how the stack runs
SUBMISSIONS_PER_ROUND = 1_000
CALLS = 300  # one after the other
DURABILITY: Final = "default"

Work = Callable[[AsyncClient], Awaitable[Any]]


class Door:
    """A client of a whole stack, and the processor time that every process has used."""

    def __init__(self, client: AsyncClient, info: StackInfo) -> None:
        self.client = client
        names = {service.pid: name for name, service in info.services.items()}
        self._parts = {names.get(part.pid, part.name()): part for part in psutil.Process(info.pid).children()}

    def cpu_s(self) -> dict[str, float]:
        """Returns the processor seconds that the client and each part of the stack have used."""
        found = {"client": time.process_time()}
        for name, part in self._parts.items():
            times = []
            with contextlib.suppress(psutil.NoSuchProcess):  # what started a server may end after it
                times = [process.cpu_times() for process in (part, *part.children(recursive=True))]
            found[name.replace("-", "_")] = sum(one.user + one.system for one in times)
        return found

    def cpu_us(self, before: dict[str, float], count: int) -> dict[str, float]:
        """Returns the processor time for each of `count` operations since `before`. It counts idle work too."""
        used = {name: seconds - before[name] for name, seconds in self.cpu_s().items()}
        return {f"{name}_cpu_us": round(seconds / count * 1e6, 1) for name, seconds in used.items()}


@contextlib.asynccontextmanager
async def stack(durability: Literal["default", "fsync"] = DURABILITY) -> AsyncIterator[Door]:
    """Starts a fresh stack with all services, and registers the workflows `chain` and `chain_held`."""
    with tempfile.TemporaryDirectory(prefix="agentflow-bench-") as folder:
        data_dir = Path(folder) / "stack"
        options = Options(
            data_dir=data_dir,
            load=[str(HERE / "steps.py")],
            env={"WORKER_CONCURRENCY": str(CONCURRENCY)},
            durability=durability,
        )
        info = await asyncio.to_thread(control.start, options)
        try:
            token = Path(info.dev_key_file).read_text().strip()
            async with AsyncClient(info.grpc, token=token) as client:
                await client.workflows.register(chain(CHAIN))
                await client.workflows.register(chain(CHAIN, HELD_POOL) | {"name": "chain_held"})
                yield Door(client, info)
        finally:
            await asyncio.to_thread(control.down, data_dir)


async def run(emit: Emit, _options: object) -> None:
    async with stack() as door:
        await submissions(door, emit)
        await one_by_one(door, emit)
        await chains(door, emit)


async def submissions(door: Door, emit: Emit) -> None:
    """Measures door.submit_per_s. The steps wait in a pool without workers, so that the figure shows the door."""
    await timed(door.client, _submit_held, SUBMISSIONS_PER_ROUND // 2)
    before, rates = door.cpu_s(), []
    for number in range(ROUNDS):
        rates.append(SUBMISSIONS_PER_ROUND / await timed(door.client, _submit_held, SUBMISSIONS_PER_ROUND))
        print(f"submit round {number + 1}/{ROUNDS}: {rates[-1]:,.0f} submissions/s", file=sys.stderr)
    cpu = door.cpu_us(before, ROUNDS * SUBMISSIONS_PER_ROUND)
    rate = statistics.median(rates)
    emit("door.submit_per_s", rate, "submissions/s", ROUNDS, DURABILITY, in_flight=IN_FLIGHT, **cpu)


async def one_by_one(door: Door, emit: Emit) -> None:
    """Measures door.submit_ms and door.get_ms, each call alone."""
    ended = await completed(door.client)

    async def get(client: AsyncClient) -> None:
        await client.workflows.get(ended)

    for name, work in {"submit": _submit_held, "get": get}.items():
        times = []
        used = door.cpu_s()
        for _ in range(CALLS + CALLS // 10):
            began = time.perf_counter()
            await work(door.client)
            times.append(1000 * (time.perf_counter() - began))
        cpu = door.cpu_us(used, len(times))
        times = sorted(times[CALLS // 10 :])
        p99 = round(times[CALLS * 99 // 100], 4)
        emit(f"door.{name}_ms", statistics.median(times), "ms", CALLS, DURABILITY, p99=p99, **cpu)


async def chains(door: Door, emit: Emit) -> None:
    """Measures the chain of group `engine` through the door, by each way to its end, in turn with the engine alone."""
    ways: dict[str, Work] = {"wait": completed, "watch": _watched}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    shares: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, dict[str, float]] = {}
    definition = chain(CHAIN)
    async with engine() as alone:
        await drive(alone, definition, RUNS_PER_ROUND, IN_FLIGHT)
        for work in ways.values():
            await timed(door.client, work, RUNS_PER_ROUND // 2)
        for number in range(ROUNDS):
            limit = RUNS_PER_ROUND * CHAIN / await drive(alone, definition, RUNS_PER_ROUND, IN_FLIGHT)
            for name, work in ways.items():
                before = door.cpu_s()
                rates[name].append(RUNS_PER_ROUND * CHAIN / await timed(door.client, work, RUNS_PER_ROUND))
                cpu[name] = door.cpu_us(before, RUNS_PER_ROUND)  # of the last round
                shares[name].append(rates[name][-1] / limit)
            shown = ", ".join(f"{name} {found[-1]:,.0f}" for name, found in rates.items())
            print(f"chain10 round {number + 1}/{ROUNDS}: engine {limit:,.0f}, {shown} steps/s", file=sys.stderr)
    for name, found in rates.items():
        share = round(statistics.median(shares[name]), 4)
        emit(
            f"door.chain10_{name}.steps_per_s", statistics.median(found), "steps/s", ROUNDS, DURABILITY,
            in_flight=IN_FLIGHT, share_of_engine=share, **cpu[name],
        )  # fmt: skip


async def timed(client: AsyncClient, work: Work, count: int) -> float:
    """Returns the seconds to do the work `count` times, at most IN_FLIGHT at once."""
    numbers = iter(range(count))

    async def worker() -> None:
        for _ in numbers:
            await work(client)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(worker())
    return time.perf_counter() - began


async def _submit_held(client: AsyncClient) -> None:
    await client.workflows.submit("chain_held")


async def completed(client: AsyncClient, workflow: str = "chain") -> str:
    """Returns the id of a run that has completed. RuntimeError for one that ended otherwise."""
    submitted = await client.workflows.submit(workflow)
    _check((await client.workflows.wait(submitted)).status)
    return submitted.run_id


async def _watched(client: AsyncClient) -> None:
    submitted = await client.workflows.submit("chain")
    last = ""
    async for event in client.workflows.watch(submitted):
        last = getattr(event, "type", last)
    if last != "run.completed":
        raise RuntimeError(f"run {submitted.run_id} ended with {last!r}")


def _check(status: RunStatus) -> None:
    if status is not RunStatus.COMPLETED:
        raise RuntimeError(f"a run of the chain is {status.value}")
