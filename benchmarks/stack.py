"""The smallest stack that runs workflows: nats-server, one scheduler, one worker, each its own process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import msgspec
import nats
from nats.aio.client import Client

from agentflow_common import events as ev
from agentflow_common import ids, subjects
from agentflow_common.definition import parse_dict
from agentflow_common.embedded import NatsServer
from agentflow_common.eventlog import Entry, EventLog, Fence

HERE = Path(__file__).resolve().parent
CONCURRENCY = 512


class Engine:
    """A running engine and a connection to its log."""

    def __init__(self, nc: Client, log: EventLog, durability: str) -> None:
        self.nc = nc
        self.log = log
        self.durability = durability
        self.org = "bench"

    def submission(self, definition: dict[str, object], run: str | None = None) -> tuple[str, Entry]:
        """A run's id and the append that submits it."""
        run_id = run or ids.new_run_id()
        key = subjects.key_of(self.org, run_id)
        event = ev.RunSubmitted(
            org=self.org, run=run_id, ts=0, workflow=str(definition["name"]), version=1, definition=definition
        )
        return run_id, Entry(subjects.run_in(key), ev.encode(event), fence=Fence(0))


def chain(length: int) -> dict[str, object]:
    """A definition of `length` steps one after the other, each fed by the one before."""
    nodes: list[dict[str, object]] = []
    for index in range(length):
        arguments = {"n": f"s{index - 1}.output"} if index else {"n": 1}
        nodes.append(
            {"id": f"s{index}", "type": "function", "config": {"function_name": "bench.noop", "inputs": arguments}}
        )
    edges = [{"from": f"s{i}", "to": f"s{i + 1}"} for i in range(length - 1)]
    return parse_dict({"name": "chain", "dag": {"nodes": nodes, "edges": edges}}).canonical()


def fanout(width: int) -> dict[str, object]:
    """One step that gives `width` items, a parallel step over them, and a join."""
    nodes = [
        {"id": "items", "type": "function", "config": {"function_name": "bench.range", "inputs": {"width": width}}},
        {
            "id": "each",
            "type": "function",
            "config": {"function_name": "bench.noop", "parallel": True, "inputs": {"n": "items.output"}},
        },
        {"id": "end", "type": "function", "config": {"function_name": "bench.noop", "inputs": {}}},
    ]
    edges = [{"from": "items", "to": "each"}, {"from": "each", "to": "end"}]
    return parse_dict({"name": "fanout", "dag": {"nodes": nodes, "edges": edges}}).canonical()


@contextlib.asynccontextmanager
async def engine(durability: Literal["default", "fsync"] = "default") -> AsyncIterator[Engine]:
    with tempfile.TemporaryDirectory(prefix="agentflow-bench-") as folder:
        server = NatsServer(Path(folder) / "nats", durability=durability)
        server.start()
        env = {
            **os.environ,
            "NATS_URL": server.url,
            "AGENTFLOW_DURABILITY": durability,
            "AGENTFLOW_RUN_DIR": str(Path(folder) / "run"),
            "WORKER_LOAD": str(HERE / "steps.py"),
            "WORKER_CONCURRENCY": str(CONCURRENCY),
            "LOG_LEVEL": "WARNING",
        }
        processes = [
            subprocess.Popen([sys.executable, "-m", f"agentflow_{name}"], env=env) for name in ("scheduler", "worker")
        ]
        try:
            for name in ("scheduler", "worker"):
                await _wait_ready(Path(folder) / "run" / f"{name}.json")
            nc = await nats.connect(server.url)
            log = EventLog(nc)
            await log.start()
            yield Engine(nc, log, durability)
            await nc.close()
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(10)
            server.stop()


async def _wait_ready(file: Path, timeout_s: float = 20.0) -> None:
    async with asyncio.timeout(timeout_s):
        while True:
            if file.exists():
                port = msgspec.json.decode(file.read_bytes())["ports"]["http"]
                try:
                    await asyncio.to_thread(urllib.request.urlopen, f"http://127.0.0.1:{port}/readyz", None, 2)
                except OSError:
                    pass
                else:
                    return
            await asyncio.sleep(0.05)
