"""The list of schedules: a durable consumer puts each `schedule.listed` into Postgres, as runs/projection.py does."""

from __future__ import annotations

from collections.abc import Sequence

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.log.consumers import Delivery
from agentflow_gateway.follower import Follower
from agentflow_gateway.schedules import calendars
from agentflow_gateway.store.schedules import ScheduleRow


class ScheduleList(Follower):
    part = "schedule_list"
    durable = subjects.durable("gateway", "schedules")
    subject = subjects.ALL_SCHEDULES
    credit = 256
    ack_pending_max = 4 * credit

    async def empty(self) -> bool:
        return await self._deps.store.schedules.empty()

    async def ensure(self) -> None:
        await super().ensure()
        await calendars.reconcile(self._deps)

    async def apply(self, batch: Sequence[Delivery]) -> None:
        for delivery in batch:
            event = ev.try_decode(delivery.data)
            if isinstance(event, ev.ScheduleListed):
                await self._deps.store.schedules.put(ScheduleRow.of(event, event.status, event.seen))
                self._deps.schedules_changed.set()
            else:
                await self.bury(delivery)
            await self._deps.log.ack(delivery)
