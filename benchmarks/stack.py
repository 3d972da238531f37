"""The smallest stack that runs workflows: nats-server, one scheduler, one worker, each its own process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import msgspec
from nats.aio.client import Client

from agentflow_common import events as ev
from agentflow_common import ids, subjects
from agentflow_common.connections.nats_client import connect
from agentflow_common.definition.parse import parse_dict
from agentflow_common.embedded import processes
from agentflow_common.embedded.nats import NatsServer
from agentflow_common.log.event_log import Entry, EventLog, Fence

HERE = Path(__file__).resolve().parent
CONCURRENCY = 512
READY_S_MAX = 60.0
SERVICES = ("scheduler", "worker")
HELD_POOL = "held"  # no worker serves it, so its steps wait


class Engine:
    """A running engine and a connection to its log."""

    def __init__(self, nc: Client, log: EventLog, durability: str, env: dict[str, str], run_dir: Path) -> None:
        self.nc = nc
        self.log = log
        self.durability = durability
        self.org = "bench"
        self._env = env
        self._run_dir = run_dir
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def submission(self, definition: dict[str, object]) -> tuple[str, Entry]:
        """Returns a run's id and the append that submits it."""
        run_id = ids.new_run_id()
        key = subjects.key_of(self.org, run_id)
        event = ev.RunSubmitted(
            org=self.org, run=run_id, ts=0, workflow=str(definition["name"]), version=1, definition=definition
        )
        return run_id, Entry(subjects.run_in(key), ev.encode(event), fence=Fence(0))

    def spawn(self, name: str) -> None:
        """Starts a service; `ready` waits for it."""
        (self._run_dir / f"{name}.json").unlink(missing_ok=True)
        command = [sys.executable, "-m", f"agentflow_{name}"]
        self._processes[name] = processes.spawn(command, env=self._env, output=2)

    async def messages(self) -> int:
        """Returns how many messages were written to the log."""
        return int((await self.nc.jsm().stream_info(subjects.EVENTS_STREAM)).state.last_seq)

    def check(self) -> None:
        """Raises RuntimeError if a service that was started has ended by itself."""
        for name, process in self._processes.items():
            if process.poll() is not None:
                raise RuntimeError(f"the {name} ended (exit code {process.returncode}): its reason is above")

    async def ready(self, name: str) -> None:
        """Waits for a service. Raises RuntimeError if it has ended, or does not answer in time."""
        file = self._run_dir / f"{name}.json"
        deadline = time.monotonic() + READY_S_MAX
        while time.monotonic() < deadline:
            self.check()
            if file.exists():
                port = msgspec.json.decode(file.read_bytes())["ports"]["http"]
                with contextlib.suppress(OSError):
                    await asyncio.to_thread(urllib.request.urlopen, f"http://127.0.0.1:{port}/readyz", None, 2)
                    return
            await asyncio.sleep(0.05)
        raise RuntimeError(f"the {name} was not ready in {READY_S_MAX:g} s")

    def stop(self, *names: str) -> None:
        """Stops services cleanly, all of them if none is named."""
        stopping = [process for name in names or SERVICES if (process := self._processes.pop(name, None))]
        for process in stopping:
            process.terminate()
        for process in stopping:
            process.wait(20)

    def kill(self, name: str) -> None:
        """Kills a service (-9), as a crash does."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def rss_bytes(self, name: str) -> int:
        """Returns the resident memory of a service."""
        status = Path(f"/proc/{self._processes[name].pid}/status").read_text()
        return 1024 * int(status.split("VmRSS:")[1].split()[0])

    def cpu_s(self, name: str) -> float:
        """Returns the processor seconds that a service has used."""
        fields = Path(f"/proc/{self._processes[name].pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def node(name: str, function: str, inputs: dict[str, object], **more: object) -> dict[str, object]:
    """Returns a node of type `function`."""
    return {"id": name, "type": "function", "config": {"function_name": function, "inputs": inputs}, **more}


def chain(length: int, pool: str = "default") -> dict[str, object]:
    """Returns a definition of `length` steps in sequence.

    Each gets the output of the one before.
    """
    nodes = [
        node(f"s{index}", "bench.noop", {"n": f"s{index - 1}.output" if index else 1}, lane=pool)
        for index in range(length)
    ]
    edges = [{"from": f"s{i}", "to": f"s{i + 1}"} for i in range(length - 1)]
    return parse_dict({"name": "chain", "dag": {"nodes": nodes, "edges": edges}}).canonical()


def fanout(width: int, pool: str = "default") -> dict[str, object]:
    """Returns a definition with a step that gives `width` items, a parallel step over them, and a join."""
    each = node("each", "bench.noop", {"n": "items.output"}, lane=pool)
    each["config"] = {"function_name": "bench.noop", "parallel": True, "inputs": {"n": "items.output"}}
    nodes = [node("items", "bench.range", {"width": width}), each, node("end", "bench.noop", {})]
    edges = [{"from": "items", "to": "each"}, {"from": "each", "to": "end"}]
    return parse_dict({"name": "fanout", "dag": {"nodes": nodes, "edges": edges}}).canonical()


@contextlib.asynccontextmanager
async def engine(
    durability: Literal["default", "fsync"] = "default", concurrency: int = CONCURRENCY, **settings: str
) -> AsyncIterator[Engine]:
    """Starts a fresh log and the services on it.

    concurrency: the number of tasks that the worker runs at once. settings: more environment
    variables.
    """
    with (
        tempfile.TemporaryDirectory(prefix="agentflow-bench-") as folder,
        NatsServer(Path(folder) / "nats", durability=durability) as server,
    ):
        run_dir = Path(folder) / "run"
        env = {
            **os.environ,
            "NATS_URL": server.url,
            "AGENTFLOW_DURABILITY": durability,
            "AGENTFLOW_RUN_DIR": str(run_dir),
            "WORKER_LOAD": str(HERE / "steps.py"),
            "WORKER_CONCURRENCY": str(concurrency),
            "LOG_LEVEL": "WARNING",
            **settings,
        }
        nc = await connect(server.url, "benchmark")
        log = EventLog(nc)
        stack = Engine(nc, log, durability, env, run_dir)
        try:
            for name in SERVICES:
                stack.spawn(name)
            for name in SERVICES:
                await stack.ready(name)
            await log.start()
            yield stack
        finally:
            await nc.close()
            stack.stop()
