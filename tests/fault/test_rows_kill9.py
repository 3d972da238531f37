"""kill -9 and SIGSTOP of workers and schedulers while workers go on with rows of steps by themselves: every run ends,
no step is offered, begun or reported twice, and each was given what the log says of the one before it."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nats
import pytest

from agentflow_common import events as ev
from agentflow_common import ids, subjects
from agentflow_common.definition import parse_dict
from agentflow_common.eventlog import Entry, EventLog, Fence
from agentflow_common.runfold import RunFold
from agentflow_common.runstate import RunStatus, StepStatus
from agentflow_common.testing.attempts import begun_by

pytestmark = [pytest.mark.integration, pytest.mark.fault]

RUNS = 400
STEPS = 8
PAID = 4  # the step that must not happen twice
FAULTS = 12
NAMES = ("scheduler-1", "scheduler-2", "worker-1", "worker-2")
SEED = int(os.environ.get("FAULT_SEED", "20"))


class Engine:
    """Two schedulers and two workers; one that is killed is started again at once."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.calls = folder / "calls"
        self.calls.touch()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.stopped: set[asyncio.Task[None]] = set()

    def start(self, name: str) -> None:
        env = {
            **os.environ,
            "NATS_URL": self.url,
            "AGENTFLOW_RUN_DIR": str(self.folder / name),
            "CALLS_FILE": str(self.calls),
            "WORKER_LOAD": str(Path(__file__).with_name("row_tools.py")),
            "WORKER_CONCURRENCY": "20",
            "AGENTFLOW_ACK_WAIT_S": "1",
            "SCHEDULER_SNAPSHOT_EVERY": "300",
            "LOG_LEVEL": "WARNING",
        }
        command = [sys.executable, "-m", f"agentflow_{name.split('-', maxsplit=1)[0]}"]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(command, env=env, stdout=log, stderr=log)

    async def ready(self) -> None:
        async with asyncio.timeout(60):
            while not all(list((self.folder / name).glob("*.json")) for name in NAMES):
                self.check()
                await asyncio.sleep(0.05)

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait()
        self.start(name)

    def stop_for(self, name: str, seconds: float) -> None:
        """Nothing of it runs for so long; others may take it for lost."""
        process = self.processes[name]
        process.send_signal(signal.SIGSTOP)

        async def go_on() -> None:
            try:
                await asyncio.sleep(seconds)
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGCONT)

        task = asyncio.create_task(go_on())
        self.stopped.add(task)
        task.add_done_callback(self.stopped.discard)

    def check(self) -> None:
        """A service that ends by itself is a bug of its own."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise AssertionError(f"{name} ended: {(self.folder / f'{name}.log').read_text()[-2000:]}")

    async def end(self) -> None:
        for task in list(self.stopped):
            task.cancel()
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.processes.values():
            await asyncio.to_thread(process.wait, 20)


@pytest.fixture
async def engine(tmp_path: Path, nats_url: str) -> AsyncIterator[Engine]:
    made = Engine(tmp_path, nats_url)
    for name in NAMES:
        made.start(name)
    yield made
    await made.end()


def rows() -> dict[str, Any]:
    nodes = []
    for number in range(STEPS):
        args = {"given": f"s{number - 1}.output.number" if number else 0}
        node: dict[str, Any] = {"id": f"s{number}", "type": "tool", "config": {"tool_name": "rows.add", "inputs": args}}
        if number == PAID:
            node["config"]["tool_name"] = "rows.pay"
            node["policy"] = {"on_unknown": "retry", "retry": {"max_attempts": 20, "initial_ms": 10}}
        nodes.append(node)
    edges = [{"from": f"s{number}", "to": f"s{number + 1}"} for number in range(STEPS - 1)]
    return parse_dict({"name": "rows", "dag": {"nodes": nodes, "edges": edges}}).canonical()


async def submit(log: EventLog, definition: dict[str, Any]) -> str:
    run = ids.new_run_id()
    event = ev.RunSubmitted(org="test", run=run, ts=1, workflow="rows", version=1, definition=definition)
    await log.append(Entry(subjects.run_in(subjects.key_of("test", run)), ev.encode(event), fence=Fence(0)))
    return run


async def drive(log: EventLog, engine: Engine, waiting: set[str]) -> None:
    """Until all runs have ended; a process is killed or stopped each time that so much more is done."""
    chance = random.Random(SEED)
    moments = [RUNS * STEPS * (number + 1) // (FAULTS + 1) for number in range(FAULTS)]
    tail = log.tail([subjects.ALL_INS, subjects.ALL_RUN_FACTS])
    done = 0
    async with asyncio.timeout(150):
        while waiting:
            engine.check()
            for delivery in await tail.batch(1.0):
                event = ev.decode(delivery.data)
                if isinstance(event, ev.StepCompleted):
                    done += 1
                    if moments and done >= moments[0]:
                        moments.pop(0)
                        name = NAMES[chance.randrange(4)]
                        if chance.random() < 0.5:
                            engine.kill(name)
                        else:
                            engine.stop_for(name, chance.choice([0.3, 1.5, 3.0]))
                elif isinstance(event, ev.TERMINAL_RUN):
                    assert isinstance(event, ev.RunCompleted), event
                    waiting.discard(event.run)
    assert not moments, "every fault happened while there was work"
    await tail.stop()


async def test_rows_survive_kill_9_and_stops(engine: Engine) -> None:
    nc = await nats.connect(engine.url)
    log = EventLog(nc)
    await log.start()
    await engine.ready()
    definition = rows()
    runs = set(await asyncio.gather(*(submit(log, definition) for _ in range(RUNS))))
    await drive(log, engine, set(runs))

    folds: dict[str, RunFold] = {run: RunFold() for run in runs}
    reports: Counter[tuple[str, str, int]] = Counter()
    begun: Counter[tuple[str, str, int]] = Counter()
    in_rows = 0
    for stored in await log.read(subjects.ALL_EVENTS):
        event = ev.decode(stored.data)
        folds[event.run].add(event, stored.seq)
        if isinstance(event, ev.StepCompleted | ev.StepFailed):
            reports[event.run, event.step, event.attempt] += 1
        begun.update((event.run, step, attempt) for step, attempt in begun_by(event))
        in_rows += isinstance(event, ev.StepCompleted) and event.begun is not None
    assert max(reports.values()) == max(begun.values()) == 1
    assert set(reports) <= set(begun)
    assert in_rows > RUNS * STEPS // 2, "most steps were begun by the worker of the one before"

    lines = [line.split() for line in engine.calls.read_text().splitlines()]
    calls = {(run, step, int(given), int(number)) for run, step, _, given, number in lines}
    for run, fold in folds.items():
        state = fold.finish()
        assert state is not None
        assert state.status is RunStatus.COMPLETED, state.error
        number = 0
        for name in (f"s{number}" for number in range(STEPS)):
            step = state.steps[name]
            assert step.status is StepStatus.COMPLETED
            assert step.attempt == 1 or name == f"s{PAID}"
            assert step.output.value["given"] == number, f"{run}: {name} was given another value than the log holds"
            number = step.output.value["number"]
            assert (run, name, step.output.value["given"], number) in calls
    paid = Counter((run, attempt) for run, step, attempt, _, _ in lines if step == f"s{PAID}")
    assert max(paid.values()) == 1, "in an attempt it happens once"
    repeated = len(lines) - len(reports)
    assert repeated <= FAULTS * 20 * 2, "only what was in hand of a process that was lost runs again"
    await nc.close()
