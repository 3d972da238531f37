"""Wires the worker: a queue for each pool, heartbeats for long steps, cancellation, the published
registry.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from typing import Final

import msgspec
import nats.errors
from nats.aio.msg import Msg

from agentflow_common import subjects, tasks
from agentflow_common.log.consumers import PullError, WorkQueue
from agentflow_common.metrics.log import QUEUE_LAG
from agentflow_common.rpc import bus
from agentflow_common.runtime.service import Context
from agentflow_worker.models.llm_step import LlmDeps
from agentflow_worker.offers import Offers
from agentflow_worker.registry import default_registry
from agentflow_worker.settings import WorkerSettings
from agentflow_worker.sources import routes
from agentflow_worker.tasks.executor import Executor
from agentflow_worker.tasks.pool_queues import PoolQueues

log = logging.getLogger(__name__)
CANCEL_POLL_TURNS: Final = 3


class Hint(msgspec.Struct):
    """A notice of the scheduler that steps should stop. It may get lost; the log decides."""

    run: str
    step: str = ""  # empty: every step of the run
    attempt: int = 0  # 0: every attempt
    mode: str = "forced"  # `graceful`: the scheduler waits for the step's report; `forced`: it does not


@contextlib.asynccontextmanager
async def app(context: Context[WorkerSettings]) -> AsyncIterator[None]:
    settings = context.settings
    registry = default_registry(settings.load)
    llm = LlmDeps.connect(context.nc, settings)
    pools = PoolQueues(context.log, settings, context.clock)
    executor = Executor(context.log, settings, registry, llm, clock=context.clock, is_paused=pools.is_paused)

    async def on_control(msg: Msg) -> None:
        hint = msgspec.json.decode(msg.data, type=Hint)
        forced = hint.mode != "graceful"
        executor.in_hand.cancel(hint.run, hint.step, hint.attempt, forced=forced)
        if forced and hint.step:
            executor.positions.closed.note(hint.run, hint.step, hint.attempt)

    await context.nc.subscribe(subjects.ALL_CONTROL, cb=on_control)
    await pools.start()
    queues = [await _queue(context, pool) for pool in settings.pools]
    offers = Offers(context.nc, registry, settings.worker_id, context.clock)
    await offers.publish()
    work = [_consume(queue, executor, pool) for queue, pool in zip(queues, settings.pools, strict=True)]
    loops = [context.guarded(one) for one in (*work, _extend(context, executor), pools.keep(), offers.keep())]
    context.needs_log()
    context.probes.add("lanes", pools.answer, "the queue of a worker pool does not deliver")
    try:
        async with bus.answering(context.nc, context.name, routes(settings, context.clock)):
            yield
    finally:
        await offers.withdraw()
        for queue in queues:
            await queue.stop()
        await tasks.stop(loops)
        await llm.close()


async def _queue(context: Context[WorkerSettings], pool: str) -> WorkQueue:
    """Starts this worker's share of a pool's queue."""
    durable = subjects.pool_durable(pool)
    queue = WorkQueue(context.nc, subjects.EVENTS_STREAM, durable, context.settings.concurrency)
    await queue.start()
    return queue


async def _consume(queue: WorkQueue, executor: Executor, pool: str) -> None:
    """Runs the tasks of a pool, as many at once as the queue gives."""
    running: set[asyncio.Task[None]] = set()

    def ended(task: asyncio.Task[None]) -> None:
        running.discard(task)
        queue.release()

    try:
        while True:
            try:
                batch = await queue.batch(1.0)
            except PullError as error:
                log.warning("worker pool %s: %s; asking again", pool, error)
                await asyncio.sleep(0.5)
                with contextlib.suppress(nats.errors.Error):
                    await queue.start()
                continue
            for delivery in batch:
                task = asyncio.create_task(executor.handle(delivery))
                running.add(task)
                task.add_done_callback(ended)
            if batch:
                QUEUE_LAG.labels(f"lane.{pool}").set(batch[-1].pending)
    finally:
        await tasks.stop(running)


async def _extend(context: Context[WorkerSettings], executor: Executor) -> None:
    """Tells the queue that long steps are alive, and stops steps whose run is over: the hint to
    stop may be lost.
    """
    every_s = context.settings.ack_wait_s / 3
    turn = 0
    while True:
        await asyncio.sleep(every_s)
        turn += 1
        now = time.time()
        for attempt in executor.in_hand:
            if now - attempt.started < every_s / 2:
                continue
            try:
                await context.log.in_progress(attempt.delivery)
                if turn % CANCEL_POLL_TURNS:
                    continue
                task = attempt.task
                if await executor.positions.is_over(attempt.key):
                    executor.in_hand.cancel(task.run)
                elif await executor.positions.closed.has(attempt.key, task, attempt.delivery.seq):
                    executor.in_hand.cancel(task.run, task.step, task.attempt)
            except Exception:
                log.warning("heartbeat failed; the next one follows", extra={"run": attempt.task.run})
