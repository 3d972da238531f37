"""Wires the worker: a queue per lane, heartbeats for long steps, cancellation, the published registry."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Final

import msgspec
import nats.errors
from nats.aio.msg import Msg
from nats.js.errors import APIError

from agentflow_common import subjects, tasks, telemetry
from agentflow_common.log.consumers import PullError, WorkQueue
from agentflow_common.log.streams import patiently
from agentflow_common.runtime.service import Context
from agentflow_worker.models.llm_step import LlmDeps
from agentflow_worker.registry import Registry, default_registry
from agentflow_worker.settings import WorkerSettings
from agentflow_worker.tasks.executor import Executor
from agentflow_worker.tasks.lane_queues import Lanes

log = logging.getLogger(__name__)
CANCEL_POLL_TURNS: Final = 3


class Hint(msgspec.Struct):
    """What the scheduler tells workers. mode: `graceful`, it waits for the step's report; `forced`, it does not."""

    run: str
    step: str = ""
    attempt: int = 0
    mode: str = "forced"


@contextlib.asynccontextmanager
async def app(context: Context[WorkerSettings]) -> AsyncIterator[None]:
    settings = context.settings
    registry = default_registry(settings.load)
    llm = LlmDeps.connect(context.nc, settings)
    executor = Executor(context.log, settings, registry, llm, context.clock)

    async def on_control(msg: Msg) -> None:
        hint = msgspec.json.decode(msg.data, type=Hint)
        executor.cancel(hint.run, hint.step, hint.attempt, forced=hint.mode != "graceful")

    await context.nc.subscribe(subjects.ALL_CONTROL, cb=on_control)
    lanes = Lanes(context.log, settings)
    await lanes.start()
    executor.is_held = lanes.is_held
    queues = [await _queue(context, lane) for lane in settings.lanes]
    await _publish_registry(context, registry)
    loops = [
        context.guarded(_consume(queue, executor, lane)) for queue, lane in zip(queues, settings.lanes, strict=True)
    ]
    loops += [context.guarded(_heartbeats(context, executor)), context.guarded(lanes.keep())]
    context.needs_log()
    context.probes.add("lanes", lanes.answer, "a lane does not deliver")
    try:
        yield
    finally:
        for queue in queues:
            await queue.stop()
        await tasks.stop(loops)
        await llm.close()


async def _queue(context: Context[WorkerSettings], lane: str) -> WorkQueue:
    """This worker's share of a lane."""
    durable = subjects.lane_durable(lane)
    queue = WorkQueue(context.nc, subjects.EVENTS_STREAM, durable, context.settings.concurrency)
    await queue.start()
    return queue


async def _consume(queue: WorkQueue, executor: Executor, lane: str) -> None:
    running: set[asyncio.Task[None]] = set()

    def ended(task: asyncio.Task[None]) -> None:
        running.discard(task)
        queue.release()

    try:
        while True:
            try:
                batch = await queue.batch(1.0)
            except PullError as error:
                log.warning("lane %s: %s; asking again", lane, error)
                await asyncio.sleep(0.5)
                with contextlib.suppress(nats.errors.Error, APIError):
                    await queue.start()
                continue
            for delivery in batch:
                task = asyncio.create_task(executor.handle(delivery))
                running.add(task)
                task.add_done_callback(ended)
            if batch:
                telemetry.QUEUE_LAG.labels(f"lane.{lane}").set(batch[-1].pending)
    finally:
        await tasks.stop(running)


async def _heartbeats(context: Context[WorkerSettings], executor: Executor) -> None:
    """Extends the acknowledgement of long steps, and stops those whose run is over (a lost hint)."""
    every_s = context.settings.ack_wait_s / 3
    turn = 0
    while True:
        await asyncio.sleep(every_s)
        turn += 1
        now = time.time()
        for flight in list(executor.flights.values()):
            if now - flight.started < every_s / 2:
                continue
            try:
                await context.log.in_progress(flight.delivery)
                if turn % CANCEL_POLL_TURNS == 0 and await executor.is_over(flight.key):
                    executor.cancel(flight.task.run)
            except Exception:
                log.warning("heartbeat failed; the next one follows", extra={"run": flight.task.run})


async def _publish_registry(context: Context[WorkerSettings], registry: Registry) -> None:
    """What this worker can run, for checks at submission."""
    js = context.nc.jetstream()
    bucket = await patiently(lambda: js.key_value(subjects.REGISTRY_BUCKET))
    for item in registry.describe():
        await patiently(partial(bucket.put, f"{item['kind']}.{item['name']}", msgspec.json.encode(item)))
