"""Wires the scheduler: leases, the engine, replays."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from agentflow_common import subjects, tasks
from agentflow_common.log.streams import patiently
from agentflow_common.rpc import bus
from agentflow_common.runtime.service import Context
from agentflow_scheduler.engine.controls import Controls
from agentflow_scheduler.engine.engine import Engine
from agentflow_scheduler.engine.load_report import report
from agentflow_scheduler.replay.handlers import Replays
from agentflow_scheduler.settings import SchedulerSettings
from agentflow_scheduler.shards.leases import Leases


@contextlib.asynccontextmanager
async def app(context: Context[SchedulerSettings]) -> AsyncIterator[None]:
    js = context.nc.jetstream()
    bucket = await patiently(lambda: js.key_value(subjects.LEASE_BUCKET))
    leases = Leases(bucket, context.log, context.settings.lease_ttl_s)
    controls = Controls(context.nc, context.clock)
    snapshots = await patiently(lambda: js.object_store(subjects.SNAPSHOT_BUCKET))
    engine = Engine(context, leases, snapshots, controls)
    await leases.refresh()
    loads = await patiently(lambda: js.key_value(subjects.LOAD_BUCKET))
    reports = report(loads, engine.memory.load, context.clock)
    work = (leases.keep(), controls.watch(), engine.run(), engine.trimmer.run(), reports)
    loops = [context.guarded(one) for one in work]
    context.needs_log()
    replays = Replays(context.nc, context.log)
    try:
        async with bus.answering(context.nc, "scheduler", replays.routes):
            yield
    finally:
        await replays.close()
        await tasks.stop(loops)
        await leases.release()
