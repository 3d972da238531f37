"""The wiring of schedules: the HTTP door for webhooks, and what runs in the background for them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from agentflow_common import tasks
from agentflow_common.httpd import Health
from agentflow_gateway import triggers
from agentflow_gateway.deps import Deps
from agentflow_gateway.firing import Firing
from agentflow_gateway.schedule_list import ScheduleList
from agentflow_gateway.triggers_nats import Listeners


@contextlib.asynccontextmanager
async def serving(deps: Deps, health: Health) -> AsyncIterator[int]:
    """Until the block ends; gives the HTTP port."""
    for part in ("schedules", "schedule_list"):
        health.set_part(part, "starting")
    async with triggers.serving(deps) as port:
        work = [
            asyncio.create_task(Firing(deps, health).run()),
            asyncio.create_task(ScheduleList(deps, health).run()),
            asyncio.create_task(Listeners(deps).run()),
        ]
        try:
            yield port
        finally:
            await tasks.stop(work)
