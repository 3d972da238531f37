"""Lanes while they run: how many of a lane's tasks are in hand at once over all workers, and whether any are given out.

Operators set both in the bucket AF_CONTROLS (lanecontrols.py). Every worker of the lane brings the lane's durable
consumer to that state, so it does not matter which one is first, or that one is gone; each looks again every few
seconds, whoever may have changed the consumer.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

import msgspec
import nats.errors
from nats.js import api
from nats.js.errors import APIError, NotFoundError

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.errors import UNREADABLE
from agentflow_common.ids import check_token
from agentflow_common.lanes.controls import LIMIT_MAX, PREFIX, config_for, name_of, workflow_of
from agentflow_common.log.event_log import EventLog
from agentflow_common.log.streams import patiently
from agentflow_worker.settings import WorkerSettings

log = logging.getLogger(__name__)
RECHECK_S: Final = 5.0
RETRY_S: Final = 0.5
PAUSED_UNTIL: Final = "2200-01-01T00:00:00Z"  # one time for all workers: pausing twice changes nothing


class Lanes:
    """The durable consumers of the lanes that a worker serves. A lane without a limit has LIMIT_MAX tasks in hand."""

    def __init__(self, event_log: EventLog, settings: WorkerSettings) -> None:
        for lane in settings.lanes:
            check_token(lane, "lane")
        self._lanes = settings.lanes
        self._jsm = event_log.nc.jsm()
        self._ack_wait_s = settings.ack_wait_s
        self._settings: dict[str, dict[str, Any]] = {}
        self._paused: set[tuple[str, str]] = set()  # workflows, by org
        self._held: set[str] = set()  # lanes
        self._tail = event_log.tail([f"$KV.{subjects.CONTROLS_BUCKET}.>"], stream=f"KV_{subjects.CONTROLS_BUCKET}")

    def is_held(self, task: ev.StepScheduled) -> bool:
        """Whether operators have paused the task's lane or its workflow."""
        return task.lane in self._held or (task.org, task.workflow) in self._paused

    async def start(self) -> None:
        """Makes the consumers that are not there, in the state that is wanted now."""
        while not self._tail.caught_up.is_set() or self._tail.buffered:
            await self._read(RETRY_S)
        for lane in self._lanes:
            await patiently(lambda lane=lane: self._make(lane))  # type: ignore[misc]
            await patiently(lambda lane=lane: self._apply(lane))  # type: ignore[misc]

    async def keep(self) -> None:
        """For ever: follows what operators set."""
        loop = asyncio.get_running_loop()
        due = loop.time() + RECHECK_S
        try:
            while True:
                if not await self._read(RETRY_S) and loop.time() < due:
                    continue
                try:
                    for lane in self._lanes:
                        await self._apply(lane)
                    due = loop.time() + RECHECK_S
                except (nats.errors.Error, APIError, TimeoutError) as error:
                    log.warning("lanes can't be set yet: %s", type(error).__name__)
                    due = loop.time() + RETRY_S
        finally:
            await self._tail.stop()

    async def answer(self) -> None:
        """Raises if the consumer of a lane has no leader: it delivers nothing then."""
        for lane in self._lanes:
            await self._jsm.consumer_info(subjects.EVENTS_STREAM, subjects.lane_durable(lane))

    async def _read(self, wait_s: float) -> bool:
        """Takes what was set since; whether anything was."""
        batch = await self._tail.batch(wait_s)
        for delivery in batch:
            key = delivery.subject.split(".", 2)[2]
            try:
                self._take(key, msgspec.json.decode(delivery.data, type=dict[str, Any]) if delivery.data else {})
            except UNREADABLE:
                log.warning("%s stays as it is: what was set is no JSON object", key)
        if batch:
            self._held = {lane for lane in self._lanes if config_for(lane, self._settings).paused}
        return bool(batch)

    def _take(self, key: str, setting: dict[str, Any]) -> None:
        workflow = workflow_of(key)
        if workflow is not None:
            (self._paused.add if setting.get("paused") else self._paused.discard)(workflow)
        elif key.startswith(PREFIX) and setting:
            self._settings[name_of(key)] = setting
        else:
            self._settings.pop(name_of(key), None)  # the key was deleted

    async def _apply(self, lane: str) -> None:
        """Brings the consumer to the wanted state; it is touched only if it differs."""
        durable, wanted = subjects.lane_durable(lane), config_for(lane, self._settings)
        try:
            info = await self._jsm.consumer_info(subjects.EVENTS_STREAM, durable)
        except NotFoundError:
            info = await self._make(lane)
        if info.config.max_ack_pending != (wanted.limit or LIMIT_MAX):
            info = await self._make(lane)
            log.info("lane %s: at most %d tasks at once", lane, info.config.max_ack_pending)
        if bool(info.paused) != wanted.paused:
            if wanted.paused:
                await self._jsm.pause_consumer(subjects.EVENTS_STREAM, durable, PAUSED_UNTIL)
            else:
                await self._jsm.resume_consumer(subjects.EVENTS_STREAM, durable)
            log.info("lane %s %s", lane, "is paused" if wanted.paused else "goes on")

    async def _make(self, lane: str) -> api.ConsumerInfo:
        """The lane's consumer with its limit, made or changed; a pause stays as it is."""
        config = api.ConsumerConfig(
            durable_name=subjects.lane_durable(lane),
            filter_subject=subjects.lane_tasks(lane),
            ack_policy=api.AckPolicy.EXPLICIT,
            ack_wait=self._ack_wait_s,
            max_ack_pending=config_for(lane, self._settings).limit or LIMIT_MAX,
            max_waiting=512,
            deliver_policy=api.DeliverPolicy.ALL,
        )
        return await self._jsm.add_consumer(subjects.EVENTS_STREAM, config)
