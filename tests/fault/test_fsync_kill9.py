"""kill -9 of worker, scheduler and nats-server under `fsync`, where decisions and reports share atomic batches: every
run ends, every step is offered, reported and done once, and all that was acknowledged is in the log."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats
import pytest

from agentflow_common import events as ev
from agentflow_common import ids, subjects
from agentflow_common.definition import parse_dict
from agentflow_common.eventlog import Entry, EventLog, Fence
from agentflow_common.runfold import RunFold
from agentflow_common.runstate import RunStatus
from agentflow_common.testing import servers
from agentflow_common.testing.attempts import begun_by

pytestmark = [pytest.mark.integration, pytest.mark.fault, pytest.mark.slow]

RUNS = 200
CHAIN = 10
VICTIMS = ("worker", "scheduler", "nats-server") * 2


class Engine:
    """nats-server, a scheduler and a worker; a killed one is started again at once."""

    def __init__(self, folder: Path, server: servers.NatsLike) -> None:
        self.folder = folder
        self.server = server
        self.counted = folder / "counted"
        self.counted.mkdir()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.env = {
            **os.environ,
            "NATS_URL": server.url,
            "AGENTFLOW_DURABILITY": "fsync",
            "AGENTFLOW_RUN_DIR": str(folder / "run"),
            "COUNTER_FOLDER": str(self.counted),
            "WORKER_LOAD": str(Path(__file__).with_name("counter.py")),
            "AGENTFLOW_ACK_WAIT_S": "2",
            "SCHEDULER_SNAPSHOT_EVERY": "300",
            "LOG_LEVEL": "WARNING",
        }

    def start(self, name: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            command = [sys.executable, "-m", f"agentflow_{name}"]
            self.processes[name] = subprocess.Popen(command, env=self.env, stdout=log, stderr=log)

    def kill(self, name: str) -> None:
        if name == "nats-server":
            self.server.kill()
            self.server.start()
            return
        self.processes[name].send_signal(signal.SIGKILL)
        self.processes[name].wait()
        self.start(name)

    def check(self) -> None:
        """A service that ends by itself is a bug of its own."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise AssertionError(f"{name} ended: {(self.folder / f'{name}.log').read_text()[-2000:]}")

    def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(20)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    server = servers.nats(tmp_path / "nats", "fsync")
    server.start()
    made = Engine(tmp_path, server)
    made.start("scheduler")
    made.start("worker")
    yield made
    made.stop()
    server.stop()


def chain() -> dict[str, Any]:
    config = {"tool_name": "counter.add"}
    nodes = [{"id": f"s{i}", "type": "tool", "config": {**config, "tool_args": {"n": i}}} for i in range(CHAIN)]
    edges = [{"from": f"s{i}", "to": f"s{i + 1}"} for i in range(CHAIN - 1)]
    return parse_dict({"name": "chain", "dag": {"nodes": nodes, "edges": edges}}).canonical()


async def _submit(log: EventLog, definition: dict[str, Any]) -> str:
    run = ids.new_run_id()
    event = ev.RunSubmitted(org="test", run=run, ts=1, workflow="chain", version=1, definition=definition)
    await log.append(Entry(subjects.run_in(subjects.key_of("test", run)), ev.encode(event), fence=Fence(0)))
    return run


async def test_kill_9_under_fsync(engine: Engine, tmp_path: Path) -> None:
    nc = await nats.connect(engine.server.url, max_reconnect_attempts=-1, reconnect_time_wait=0.1)
    log = EventLog(nc)
    await log.start()
    async with asyncio.timeout(60):
        while not all((tmp_path / "run" / f"{name}.json").exists() for name in engine.processes):
            engine.check()
            await asyncio.sleep(0.05)
    definition = chain()
    runs = set(await asyncio.gather(*(_submit(log, definition) for _ in range(RUNS))))
    tail = log.tail([subjects.ALL_INS, subjects.ALL_RUN_FACTS])
    moments = [RUNS * CHAIN * (n + 1) // (len(VICTIMS) + 1) for n in range(len(VICTIMS))]
    victims = list(VICTIMS)
    seen: dict[int, bytes] = {}  # what a reader was given, so what was acknowledged
    waiting, done = set(runs), 0
    async with asyncio.timeout(150):
        while waiting:
            engine.check()
            for delivery in await tail.batch(1.0):
                event = ev.decode(delivery.data)
                seen[delivery.seq] = delivery.data
                if isinstance(event, ev.StepCompleted):
                    done += 1
                    if moments and done >= moments[0]:
                        moments.pop(0)
                        engine.kill(victims.pop(0))
                elif isinstance(event, ev.TERMINAL_RUN):
                    assert isinstance(event, ev.RunCompleted), event
                    waiting.discard(event.run)
    assert not victims, "every kill happened while there was work"
    await tail.stop()

    folds: dict[str, RunFold] = {}
    reports: Counter[tuple[str, str]] = Counter()
    offers: Counter[tuple[str, str]] = Counter()
    for stored in await log.read(subjects.ALL_EVENTS):
        assert seen.pop(stored.seq, stored.data) == stored.data
        event = ev.decode(stored.data)
        folds.setdefault(event.run, RunFold()).add(event, stored.seq)
        if isinstance(event, ev.StepCompleted | ev.StepFailed):
            reports[event.run, event.step] += 1
        for step, _ in begun_by(event):
            offers[event.run, step] += 1
    assert not seen, "nothing that was read is gone"
    assert (len(reports), set(reports.values())) == (RUNS * CHAIN, {1})
    assert (len(offers), set(offers.values())) == (RUNS * CHAIN, {1})
    states = {run: fold.finish() for run, fold in folds.items()}
    assert set(states) == runs
    assert all(state is not None and state.status is RunStatus.COMPLETED for state in states.values())
    assert len(list(engine.counted.iterdir())) == RUNS * CHAIN
    await nc.close()
