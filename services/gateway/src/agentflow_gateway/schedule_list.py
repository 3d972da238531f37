"""The list of schedules: a durable consumer of `schedule.listed` that puts them into Postgres, like projection.py."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final

import asyncpg
import nats.errors
from nats.js import api
from nats.js.errors import APIError, NotFoundError

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.errors import AgentFlowError
from agentflow_common.httpd import Health
from agentflow_common.pull import Delivery, PullError, WorkQueue
from agentflow_gateway import calendars
from agentflow_gateway.deps import Deps
from agentflow_gateway.store_schedules import ScheduleRow

log = logging.getLogger(__name__)

DURABLE: Final = subjects.durable("gateway", "schedules")
CREDIT: Final = 256
_ACK_WAIT_S: Final = 30.0
_BACKOFF_S_MAX: Final = 5.0
_STORE_ERRORS: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)


def row_of(event: ev.ScheduleListed) -> ScheduleRow:
    """Pure."""
    return ScheduleRow(
        org=event.org, name=event.name, id=event.run, uid=event.uid, status=event.status,
        workflow=str(event.spec.get("workflow", "")), spec=event.spec, calendars=event.calendars,
        subject=str(event.spec.get("trigger", {}).get("subject", "")), anchor=event.anchor,
        created_at=event.created_at, seq=event.seen,
    )  # fmt: skip


class ScheduleList:
    def __init__(self, deps: Deps, health: Health) -> None:
        self._deps = deps
        self._health = health

    async def ensure(self) -> None:
        """Makes the consumer; makes it again from the first event when the table is empty."""
        jsm = self._deps.nc.jsm()
        if await self._deps.schedules.empty():
            with contextlib.suppress(NotFoundError):
                info = await jsm.consumer_info(subjects.EVENTS_STREAM, DURABLE)
                if info.ack_floor is not None and info.ack_floor.consumer_seq:
                    await jsm.delete_consumer(subjects.EVENTS_STREAM, DURABLE)
        config = api.ConsumerConfig(
            durable_name=DURABLE,
            filter_subject=subjects.ALL_SCHEDULES,
            deliver_policy=api.DeliverPolicy.ALL,
            ack_policy=api.AckPolicy.EXPLICIT,
            ack_wait=_ACK_WAIT_S,
            max_ack_pending=4 * CREDIT,
        )
        await jsm.add_consumer(subjects.EVENTS_STREAM, config)

    async def run(self) -> None:
        """Until cancelled; nothing is acknowledged before it is stored."""
        backoff_s = 0.1
        while True:
            queue = WorkQueue(self._deps.nc, subjects.EVENTS_STREAM, DURABLE, CREDIT)
            try:
                await self.ensure()
                await calendars.reconcile(self._deps)
                await queue.start()
                self._health.set_part("schedule_list", "ok")
                while True:
                    batch = await queue.batch(wait_s=5.0)
                    for delivery in batch:
                        await self._apply(delivery)
                    queue.release(len(batch))
                    backoff_s = 0.1
            except (PullError, AgentFlowError, nats.errors.Error, APIError, *_STORE_ERRORS) as error:
                self._health.set_part("schedule_list", f"retrying after {type(error).__name__}")
                log.warning("the list of schedules is interrupted", extra={"error": type(error).__name__})
            finally:
                await queue.stop()
            await asyncio.sleep(backoff_s)
            backoff_s = min(_BACKOFF_S_MAX, backoff_s * 2)

    async def _apply(self, delivery: Delivery) -> None:
        event = ev.try_decode(delivery.data)
        if isinstance(event, ev.ScheduleListed):
            await self._deps.schedules.put([row_of(event)])
            self._deps.schedules_changed.set()
        else:
            await self._deps.log.bury("gateway", delivery, "unreadable")
        await self._deps.log.ack(delivery)
