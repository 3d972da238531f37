"""How busy a service's process is: its tasks, its connections, and its network and disk."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import Any, Final, Protocol

from nats.aio.client import Client

from agentflow_common.metrics import process

log = logging.getLogger(__name__)

EVERY_S: Final = 5.0
NET_FILE: Final = Path("/proc/self/net/dev")
IO_FILE: Final = Path("/proc/self/io")


class ConnectionPool(Protocol):
    """The counts that asyncpg's pool has."""

    def get_size(self) -> int: ...
    def get_idle_size(self) -> int: ...
    def get_max_size(self) -> int: ...


class Growth:
    """Makes increments of totals that others count."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, ...], float] = {}

    def of(self, key: tuple[str, ...], total: float) -> float:
        """Returns how much the total has grown since the last call. A total that fell counts from 0."""
        before = self._last.get(key, 0.0)
        self._last[key] = total
        return total - before if total >= before else total


def interfaces(text: str) -> dict[str, tuple[int, int]]:
    """Returns (bytes in, bytes out) by interface, from the text of /proc/net/dev."""
    found = {}
    for line in text.splitlines()[2:]:
        name, _, numbers = line.partition(":")
        fields = numbers.split()
        if len(fields) >= 9:
            found[name.strip()] = (int(fields[0]), int(fields[8]))
    return found


def disk_bytes(text: str) -> dict[str, int]:
    """Returns the bytes that were read from and written to disks, from the text of /proc/self/io."""
    fields = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    return {"read": int(fields.get("read_bytes", 0)), "written": int(fields.get("write_bytes", 0))}


_machine: Final = Growth()  # of this process, whose services may be several in a test


class Saturation:
    """Measures one service every EVERY_S."""

    def __init__(self, nc: Client) -> None:
        self._nc = nc
        self._traffic = Growth()
        self._pools: list[tuple[str, ConnectionPool]] = []

    def add_pool(self, name: str, pool: ConnectionPool) -> None:
        self._pools.append((name, pool))

    async def run(self) -> None:
        while True:
            self.measure()
            await asyncio.sleep(EVERY_S)

    def measure(self) -> None:
        process.LOOP_TASKS.set(len(asyncio.all_tasks()))
        for name, pool in self._pools:
            size, idle = pool.get_size(), pool.get_idle_size()
            process.CONNECTIONS.labels(name, "busy").set(size - idle)
            process.CONNECTIONS.labels(name, "idle").set(idle)
            process.CONNECTIONS_MAX.labels(name).set(pool.get_max_size())
        self._measure_nats(self._nc.stats)
        with contextlib.suppress(OSError, ValueError):  # not Linux, or not readable
            for name, totals in interfaces(NET_FILE.read_text()).items():
                for direction, total in zip(("in", "out"), totals, strict=True):
                    grown = _machine.of(("network", name, direction), total)
                    process.NETWORK_BYTES.labels(name, direction).inc(grown)
            for direction, total in disk_bytes(IO_FILE.read_text()).items():
                process.DISK_BYTES.labels(direction).inc(_machine.of(("disk", direction), total))

    def _measure_nats(self, stats: dict[str, Any]) -> None:
        for direction in ("in", "out"):
            sent = self._traffic.of(("bytes", direction), stats.get(f"{direction}_bytes", 0))
            process.NATS_BYTES.labels(direction).inc(sent)
            messages = self._traffic.of(("messages", direction), stats.get(f"{direction}_msgs", 0))
            process.NATS_MESSAGES.labels(direction).inc(messages)
        process.NATS_RECONNECTS.inc(self._traffic.of(("reconnects",), stats.get("reconnects", 0)))
        process.NATS_PENDING.set(self._nc.pending_data_size)
