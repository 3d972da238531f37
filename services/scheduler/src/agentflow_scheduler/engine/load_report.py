"""Tells what this scheduler has in hand, once a second: the gateway refuses what would be too much (bucket AF_LOAD)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import nats.errors
from nats.js.errors import APIError
from nats.js.kv import KeyValue

from agentflow_common import telemetry
from agentflow_common.clock import Clock

EVERY_S: Final = 1.0
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class Load(msgspec.Struct):
    """active_runs: unfinished ones. ready_steps: offered or held back, and not finished. at: ms since the epoch."""

    active_runs: int
    ready_steps: int
    rss_bytes: int = 0
    at: int = 0


def resident_bytes() -> int:
    """Of this process; 0 where the system does not tell."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
    return 0


async def report(bucket: KeyValue, measure: Callable[[], Load], clock: Clock) -> None:
    """For ever. An entry ages out when the scheduler is gone."""
    key = f"scheduler.{socket.gethostname().replace('.', '-')}-{os.getpid()}"
    while True:
        load = measure()
        load.rss_bytes = resident_bytes()
        load.at = clock.now_ms()
        telemetry.ACTIVE_RUNS.set(load.active_runs)
        telemetry.READY_STEPS.set(load.ready_steps)
        with contextlib.suppress(nats.errors.Error, APIError, TimeoutError):
            await bucket.put(key, msgspec.json.encode(load))
        await asyncio.sleep(EVERY_S)
