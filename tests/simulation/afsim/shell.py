"""What the services are given in the place of clocks, pools and bounds."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import agentflow_common.log.blobs
import agentflow_common.log.group_commit
import agentflow_common.log.object_reads
import agentflow_scheduler.app
import agentflow_scheduler.engine.append
import agentflow_scheduler.engine.decider
import agentflow_scheduler.engine.load_report
import agentflow_scheduler.engine.packing
import agentflow_scheduler.lanes.machine
import agentflow_scheduler.runs.chain
import agentflow_scheduler.schedules.machine
import agentflow_scheduler.shards.leases
import agentflow_worker.app
import agentflow_worker.tasks.attempt
import agentflow_worker.tasks.executor
import agentflow_worker.tasks.kept_reports
import agentflow_worker.tasks.step_calls
import agentflow_worker.tasks.task_chain
import agentflow_worker.tasks.task_positions
from afsim import checker
from afsim.loop import PROCESS, Process, SimLoop
from afsim.server import Server
from agentflow_common import subjects
from agentflow_scheduler.runs.invariants import check_invariants
from agentflow_scheduler.runs.run import Run
from agentflow_scheduler.settings import SchedulerSettings
from agentflow_worker.settings import WorkerSettings
from agentflow_worker.tasks.pool_queues import PoolQueues

if TYPE_CHECKING:
    from afsim.world import World


@functools.cache
def scheduler_settings() -> SchedulerSettings:
    return SchedulerSettings()


@functools.cache
def worker_settings() -> WorkerSettings:
    return WorkerSettings()


class SimClock:
    def __init__(self, server: Server, process: Process) -> None:
        self._server, self._process = server, process

    def now_ms(self) -> int:
        return self._server.now_ms() + self._process.clock_ms


class SimTime:
    """Stands for the module `time` in the worker."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop

    def monotonic(self) -> float:
        return self._loop.time()

    perf_counter = monotonic

    def time(self) -> float:
        return 1_700_000_000 + self._loop.time()


class FixedPools(PoolQueues):
    """Worker pools whose limits nobody changes."""

    async def start(self) -> None:
        for pool in self._pools:
            await self._make(pool)

    async def keep(self) -> None:
        await asyncio.Event().wait()


@contextlib.contextmanager
def patched(*changes: tuple[Any, Any, Any]) -> Iterator[None]:
    before = [
        (place, name, place[name] if isinstance(place, dict) else getattr(place, name)) for place, name, _ in changes
    ]
    for place, name, value in changes:
        _put(place, name, value)
    try:
        yield
    finally:
        for place, name, value in reversed(before):
            _put(place, name, value)


def _put(place: Any, name: Any, value: Any) -> None:
    if isinstance(place, dict):
        place[name] = value
    else:
        setattr(place, name, value)


@contextlib.contextmanager
def small_engine(world: World) -> Iterator[None]:
    """Virtual time for the worker, and bounds so small that a few steps reach them."""
    engine_class = agentflow_scheduler.app.Engine
    executor_class = agentflow_worker.app.Executor

    def engine(*args: Any) -> Any:
        made = engine_class(*args)
        process = PROCESS.get()
        assert process is not None
        world.engines[process.name] = (process, checker.Watched(made, world))
        return made

    def executor(*args: Any, **more: Any) -> Any:
        made = executor_class(*args, **more)
        world.executors.append(made)
        return made

    real_decide = agentflow_scheduler.engine.decider.decide_entity

    def decide_entity(key: Any, entity: Any, *rest: Any) -> Any:
        out = real_decide(key, entity, *rest)
        if isinstance(entity, Run):
            try:
                check_invariants(entity)
            except AssertionError as error:
                world.fail(f"the bookkeeping of a run is wrong: {error}")
        return out

    real_call = agentflow_worker.tasks.step_calls.StepCalls._call

    async def call(self: Any, attempt: Any) -> Any:
        result = await real_call(self, attempt)
        result.llm = world.effects.usage(attempt.context)
        return result

    async def close() -> None:
        """There is no model."""

    async def read(store: Any, name: str) -> bytes:
        data: bytes = (await store.get(name)).data
        return data

    llm = SimpleNamespace(connect=lambda *_: SimpleNamespace(close=close))
    time = SimTime(world.loop)
    with patched(
        (subjects, "SHARDS", 2),
        (agentflow_common.log.blobs, "INLINE_BYTES_MAX", 800),
        (agentflow_common.log.object_reads, "read", read),
        (agentflow_scheduler.engine.packing, "INLINE_BYTES_MAX", 800),
        (agentflow_scheduler.engine.packing, "PACK_BYTES_MIN", 300),
        (agentflow_scheduler.engine.append, "ATOMIC_BATCH_MAX", 5),
        (agentflow_scheduler.engine.append, "BATCH_MIN", 2),
        (agentflow_scheduler.engine.decider, "decide_entity", decide_entity),
        (agentflow_common.log.group_commit, "ATOMIC_BATCH_MAX", 5),
        (agentflow_common.log.group_commit, "BATCH_MIN", 2),
        (agentflow_scheduler.engine.load_report, "resident_bytes", lambda: 0),
        (agentflow_scheduler.shards.leases, "new_token", lambda: str(PROCESS.get())),
        (agentflow_scheduler.app, "Engine", engine),
        (agentflow_worker.app, "Executor", executor),
        (agentflow_worker.tasks.step_calls.StepCalls, "_call", call),
        (agentflow_scheduler.lanes.machine, "CHECKPOINT_EVENTS", 25),
        (agentflow_scheduler.schedules.machine, "CHECKPOINT_EVERY", 9),
        (agentflow_worker.app, "LlmDeps", llm),
        (agentflow_worker.app, "PoolQueues", FixedPools),
        (agentflow_worker.app, "default_registry", lambda _load: world.effects.registry),
        (agentflow_worker.app, "time", time),
        (agentflow_worker.tasks.executor, "time", time),
        (agentflow_worker.tasks.attempt, "time", time),
        (agentflow_worker.tasks.kept_reports, "QUICK_MS", world.quick.quick_ms),
        (agentflow_worker.tasks.kept_reports, "KEPT_S_MAX", world.quick.kept_s),
        (agentflow_worker.tasks.task_chain, "time", time),
        (agentflow_worker.tasks.task_chain, "CHAIN_S_MAX", 3.0),
        (agentflow_worker.tasks.task_chain, "OLD_S", 1.0),
        (agentflow_worker.tasks.task_positions, "time", time),
        (agentflow_scheduler.runs.chain, "SLOW_MS", 3000),
    ):
        yield
