"""The wiring of schedules: the HTTP door for webhooks, and what runs in the background for them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from agentflow_common import tasks
from agentflow_common.service import Context
from agentflow_gateway import triggers
from agentflow_gateway.deps import Deps
from agentflow_gateway.firing import Firing
from agentflow_gateway.schedule_list import ScheduleList
from agentflow_gateway.triggers_nats import Listeners


@contextlib.asynccontextmanager
async def serving(deps: Deps, context: Context[Any]) -> AsyncIterator[int]:
    """Until the block ends; gives the HTTP port."""
    health = context.health
    for part in ("schedules", "schedule_list"):
        health.set_part(part, "starting")
    async with triggers.serving(deps) as port:
        work = [
            context.guarded(Firing(deps, health).run()),
            context.guarded(ScheduleList(deps, health).run()),
            context.guarded(Listeners(deps).run()),
        ]
        try:
            yield port
        finally:
            await tasks.stop(work)
