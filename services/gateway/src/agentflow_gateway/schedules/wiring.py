"""Starts what schedules need: the HTTP server of webhooks, and the background work."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from agentflow_common import tasks
from agentflow_common.runtime.service import Context
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.schedules import webhook_server
from agentflow_gateway.schedules.firing import Firing
from agentflow_gateway.schedules.projection import ScheduleList
from agentflow_gateway.schedules.sources import Watchers
from agentflow_gateway.schedules.subject_listeners import Listeners


@contextlib.asynccontextmanager
async def serving(deps: Deps, context: Context[Any]) -> AsyncIterator[int]:
    """Serves schedules until the block ends. Gives the HTTP port."""
    followers = (Firing(deps), ScheduleList(deps))
    for follower in followers:
        follower.watched(context.probes)
    async with webhook_server.serving(deps) as port:
        work = [context.guarded(follower.run()) for follower in (*followers, Listeners(deps), Watchers(deps))]
        try:
            yield port
        finally:
            await tasks.stop(work)
