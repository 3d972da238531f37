"""Reports the load of this scheduler once a second, in the bucket AF_LOAD.

The gateway refuses new runs by it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
from nats.js.kv import KeyValue

from agentflow_common.clock import Clock
from agentflow_common.log.transient import AWAY
from agentflow_common.metrics import workflow

EVERY_S: Final = 1.0
POOLS_MAX: Final = 500  # pools of one report
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class Load(msgspec.Struct):
    """The work that a scheduler has in hand."""

    active_runs: int  # runs that are not over
    ready_steps: int  # steps that could run: offered, or kept back for want of room
    rss_bytes: int = 0  # memory of the process
    at: int = 0  # ms since the epoch
    pools: dict[str, int] = {}  # by worker pool: steps that are offered and not done, of at most POOLS_MAX pools


def resident_bytes() -> int:
    """Returns the memory that this process uses; 0 where the system does not say."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
    return 0


async def report(bucket: KeyValue, measure: Callable[[], Load], clock: Clock) -> None:
    """Reports forever. The entry expires when the scheduler is gone."""
    key = f"scheduler.{socket.gethostname().replace('.', '-')}-{os.getpid()}"
    pools: dict[str, int] = {}
    while True:
        load = measure()
        load.rss_bytes = resident_bytes()
        load.at = clock.now_ms()
        workflow.ACTIVE_RUNS.set(load.active_runs)
        workflow.READY_STEPS.set(load.ready_steps)
        pools = {**dict.fromkeys(list(pools)[:POOLS_MAX], 0), **load.pools}  # one without steps goes to 0
        for pool, steps in pools.items():
            workflow.POOL_OFFERED.labels(pool).set(steps)
        with contextlib.suppress(*AWAY):
            await bucket.put(key, msgspec.json.encode(load))
        await asyncio.sleep(EVERY_S)
