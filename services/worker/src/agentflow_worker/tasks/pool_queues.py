"""The queues of worker pools: how many tasks all workers of a pool have in hand, and whether it
gives out any.

Operators set both in the bucket AF_CONTROLS (lanes/controls.py). Every worker of a pool brings the
pool's durable consumer to that state, so it does not matter which worker is first, or that one is
lost. Each worker looks again every few seconds, in case something else has changed the consumer.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from nats.js import api
from nats.js.errors import NotFoundError

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.clock import Clock
from agentflow_common.ids import check_token
from agentflow_common.lanes.controls import CONTROLS_PREFIX, CONTROLS_STREAM, LIMIT_MAX, ControlSettings
from agentflow_common.log.event_log import EventLog
from agentflow_common.log.streams import patiently
from agentflow_common.log.transient import AWAY
from agentflow_worker.settings import WorkerSettings

log = logging.getLogger(__name__)
RECHECK_S: Final = 5.0
RETRY_S: Final = 0.5
PAUSED_UNTIL: Final = "2200-01-01T00:00:00Z"  # the same for all workers: pausing twice changes nothing


class PoolQueues:
    """The durable consumers of the pools that a worker serves.

    A pool without a limit has LIMIT_MAX tasks in hand.
    """

    def __init__(self, event_log: EventLog, settings: WorkerSettings, clock: Clock) -> None:
        for pool in settings.pools:
            check_token(pool, "pool")
        self._pools = settings.pools
        self._jsm = event_log.nc.jsm()
        self._ack_wait_s = settings.ack_wait_s
        self._settings = ControlSettings(clock.now_ms)
        self._paused: set[str] = set()
        self._tail = event_log.tail([f"{CONTROLS_PREFIX}>"], stream=CONTROLS_STREAM)

    def is_paused(self, task: ev.StepScheduled) -> bool:
        """True if operators have paused the task's pool or its workflow."""
        return task.lane in self._paused or self._settings.is_paused(task.org, task.workflow)

    async def start(self) -> None:
        """Makes the consumers that are missing, in the state that is wanted now."""
        while not self._tail.caught_up.is_set() or self._tail.buffered:
            await self._read(RETRY_S)
        for pool in self._pools:
            await patiently(lambda pool=pool: self._make(pool))  # type: ignore[misc]
            await patiently(lambda pool=pool: self._apply(pool))  # type: ignore[misc]

    async def keep(self) -> None:
        """Follows what operators set, forever."""
        loop = asyncio.get_running_loop()
        due = loop.time() + RECHECK_S
        try:
            while True:
                left_s = self._settings.next_end_s(max(0.0, due - loop.time()))
                if not await self._read(left_s) and loop.time() < due:
                    continue
                try:
                    for pool in self._pools:
                        await self._apply(pool)
                    due = loop.time() + RECHECK_S
                except AWAY as error:
                    log.warning("worker pools can't be set yet: %s", type(error).__name__)
                    due = loop.time() + RETRY_S
        finally:
            await self._tail.stop()

    async def answer(self) -> None:
        """Raises if the consumer of a pool has no leader: it delivers nothing then."""
        for pool in self._pools:
            await self._jsm.consumer_info(subjects.EVENTS_STREAM, subjects.pool_durable(pool))

    async def _read(self, wait_s: float) -> bool:
        """Takes new settings. Returns True if there were any, or a pause has ended by itself."""
        batch = await self._tail.batch(wait_s)
        for delivery in batch:
            self._settings.take(delivery.subject, delivery.data)
        changed = self._settings.has_pause_ended() or bool(batch)
        if changed:
            self._paused = {pool for pool in self._pools if self._settings.config_for(pool).paused}
        return changed

    async def _apply(self, pool: str) -> None:
        """Brings the consumer to the wanted state. It is touched only if it differs."""
        durable, wanted = subjects.pool_durable(pool), self._settings.config_for(pool)
        try:
            info = await self._jsm.consumer_info(subjects.EVENTS_STREAM, durable)
        except NotFoundError:
            info = await self._make(pool)
        if info.config.max_ack_pending != (wanted.limit or LIMIT_MAX):
            info = await self._make(pool)
            log.info("worker pool %s: at most %d tasks at once", pool, info.config.max_ack_pending)
        if bool(info.paused) != wanted.paused:
            if wanted.paused:
                await self._jsm.pause_consumer(subjects.EVENTS_STREAM, durable, PAUSED_UNTIL)
            else:
                await self._jsm.resume_consumer(subjects.EVENTS_STREAM, durable)
            log.info("worker pool %s %s", pool, "is paused" if wanted.paused else "goes on")

    async def _make(self, pool: str) -> api.ConsumerInfo:
        """Makes or changes the pool's consumer, with its limit. A pause stays as it is."""
        config = api.ConsumerConfig(
            durable_name=subjects.pool_durable(pool),
            filter_subject=subjects.pool_tasks(pool),
            ack_policy=api.AckPolicy.EXPLICIT,
            ack_wait=self._ack_wait_s,
            max_ack_pending=self._settings.config_for(pool).limit or LIMIT_MAX,
            max_waiting=512,
            deliver_policy=api.DeliverPolicy.ALL,
        )
        return await self._jsm.add_consumer(subjects.EVENTS_STREAM, config)
