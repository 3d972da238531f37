"""kill -9 of scheduler and worker, three times each, under load: nothing is lost and no effect is repeated."""

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

import msgspec
import nats
import pytest
from nats.aio.client import Client

from agentflow_common import events as ev
from agentflow_common import ids, subjects
from agentflow_common.bus import call
from agentflow_common.definition import parse_dict
from agentflow_common.eventlog import Entry, EventLog, Fence
from agentflow_common.rpc import TRACE_COUNTS, TraceCountsRequest
from agentflow_common.runfold import RunFold
from agentflow_common.runstate import RunState, RunStatus, StepStatus
from agentflow_common.testing.attempts import begun_by
from agentflow_sdk import AsyncClient

pytestmark = [pytest.mark.integration, pytest.mark.fault]

RUNS = 1000
CHAIN = 10
WIDTH = 1000
KILLS = 3
ASKED = 50  # runs whose answer over gRPC is compared
KEY = "kill-test-" + "0" * 32


class Services:
    """Each service its own process; a killed one is started again at once, as the supervisor does."""

    def __init__(self, folder: Path, url: str, database: dict[str, str]) -> None:
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        (folder / "counted").mkdir()
        self.env = {
            **os.environ,
            **database,
            "NATS_URL": url,
            "API_PORT": "0",
            "API_KEY": KEY,
            "DEFAULT_ORG_ID": "test",
            "AGENTFLOW_RUN_DIR": str(folder / "run"),
            "COUNTER_FOLDER": str(folder / "counted"),
            "WORKER_LOAD": str(Path(__file__).with_name("counter.py")),
            "WORKER_CONCURRENCY": "200",
            "AGENTFLOW_ACK_WAIT_S": "2",
            "CLICKHOUSE_PATH": str(folder / "clickhouse"),
            "LOG_LEVEL": "WARNING",
        }

    def start(self, name: str) -> None:
        log = (self.folder / f"{name}.log").open("ab")
        self.processes[name] = subprocess.Popen(
            [sys.executable, "-m", f"agentflow_{name}"], env=self.env, stdout=log, stderr=log
        )
        log.close()

    def kill(self, name: str) -> None:
        process = self.processes[name]
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.start(name)

    def check(self) -> None:
        """A service that ends by itself is a bug of its own."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                log = (self.folder / f"{name}.log").read_text()[-2000:]
                raise AssertionError(f"{name} ended with {process.returncode}: {log}")

    def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(20)


@pytest.fixture
def services(tmp_path: Path, nats_url: str, db_env: dict[str, str]) -> Iterator[Services]:
    services = Services(tmp_path, nats_url, db_env)
    for name in ("scheduler", "worker", "trace", "gateway"):
        services.start(name)
    yield services
    services.stop()


def chain() -> dict[str, Any]:
    nodes = [
        {
            "id": f"s{i}",
            "type": "tool",
            "config": {"tool_name": "counter.add", "tool_args": {"n": f"s{i - 1}.output"} if i else {"n": 0}},
        }
        for i in range(CHAIN)
    ]
    edges = [{"from": f"s{i}", "to": f"s{i + 1}"} for i in range(CHAIN - 1)]
    return parse_dict({"name": "chain", "dag": {"nodes": nodes, "edges": edges}}).canonical()


def fanout() -> dict[str, Any]:
    each = {"tool_name": "counter.add", "parallel": True, "inputs": {"n": "items.output"}}
    nodes = [
        {"id": "items", "type": "function", "config": {"function_name": "counter.items", "inputs": {"width": WIDTH}}},
        {"id": "each", "type": "tool", "config": each},
    ]
    return parse_dict(
        {"name": "fanout", "dag": {"nodes": nodes, "edges": [{"from": "items", "to": "each"}]}}
    ).canonical()


async def submit(log: EventLog, definition: dict[str, Any]) -> tuple[str, asyncio.Future[Any]]:
    run = ids.new_run_id()
    event = ev.RunSubmitted(org="test", run=run, ts=1, workflow="w", version=1, definition=definition)
    key = subjects.key_of("test", run)
    return run, await log.publish(Entry(subjects.run_in(key), ev.encode(event), fence=Fence(0)))


async def drive(log: EventLog, services: Services, runs: set[str]) -> None:
    """Waits for the end of all runs, and kills scheduler and worker in turn as the work goes on."""
    tail = log.tail([subjects.ALL_INS, subjects.ALL_RUN_FACTS])
    await tail.start()
    total = RUNS * CHAIN + WIDTH
    moments = [total * (n + 1) // (2 * KILLS + 1) for n in range(2 * KILLS)]
    victims = ["worker", "scheduler"] * KILLS
    done = 0
    async with asyncio.timeout(150):
        while runs:
            services.check()
            for delivery in await tail.batch(1.0):
                event = ev.decode(delivery.data)
                if isinstance(event, ev.StepCompleted):
                    done += 1
                    if moments and done >= moments[0]:
                        moments.pop(0)
                        services.kill(victims.pop(0))
                elif isinstance(event, ev.TERMINAL_RUN):
                    assert isinstance(event, ev.RunCompleted), event
                    runs.discard(event.run)
    assert not victims, "every kill happened while there was work"
    await tail.stop()


async def test_kill_9_loses_nothing_and_repeats_no_effect(services: Services, nats_url: str, tmp_path: Path) -> None:
    nc = await nats.connect(nats_url)
    log = EventLog(nc)
    await log.start()
    for name in services.processes:
        await _until_ready(tmp_path / "run" / f"{name}.json")
    submitted = [await submit(log, chain()) for _ in range(RUNS)]
    submitted.append(await submit(log, fanout()))
    await asyncio.gather(*(future for _, future in submitted))
    names = {run for run, _ in submitted}
    await drive(log, services, set(names))

    states = await check_log(log, names)
    assert len(list((tmp_path / "counted").iterdir())) == RUNS * CHAIN + WIDTH
    await check_clickhouse(nc, log)
    await check_api(tmp_path, [states[run] for run, _ in submitted[-ASKED:]])
    await nc.close()


async def check_log(log: EventLog, names: set[str]) -> dict[str, RunState]:
    """Every run completed, every step reported once; the refolded states by run."""
    folds: dict[str, RunFold] = {}
    reports: Counter[tuple[str, str]] = Counter()
    offered: Counter[tuple[str, str, int]] = Counter()
    for stored in await log.read(subjects.ALL_EVENTS):
        event = ev.decode(stored.data)
        folds.setdefault(event.run, RunFold()).add(event, stored.seq)
        if isinstance(event, ev.StepCompleted | ev.StepFailed):
            reports[event.run, event.step] += 1
        for step, attempt in begun_by(event):
            offered[event.run, step, attempt] += 1
    steps = RUNS * CHAIN + WIDTH + 1
    assert len(reports) == steps
    assert max(reports.values()) == 1, "one terminal event a step"
    assert (len(offered), max(offered.values())) == (steps, 1), "each attempt offered once, and no second attempt"
    assert set(folds) == names
    states: dict[str, RunState] = {}
    for run, fold in folds.items():
        state = fold.finish()
        assert state is not None
        assert state.status is RunStatus.COMPLETED
        assert {s.status for s in state.steps.values()} == {StepStatus.COMPLETED}
        states[run] = state
    return states


async def check_clickhouse(nc: Client, log: EventLog) -> None:
    """ClickHouse holds exactly the log's events."""
    count = len(await log.read(subjects.ALL_EVENTS))
    async with asyncio.timeout(60):
        while True:
            counts = await call(nc, TRACE_COUNTS, TraceCountsRequest())
            if counts.last_seq >= count:
                break
            await asyncio.sleep(0.1)
    assert counts.rows == counts.distinct == count == counts.last_seq - counts.first_seq + 1


async def check_api(folder: Path, states: list[RunState]) -> None:
    """What the API shows is what the log refolds to."""
    port = msgspec.json.decode((folder / "run" / "gateway.json").read_bytes())["ports"]["grpc"]
    async with AsyncClient(f"127.0.0.1:{port}", KEY) as client:
        for state in states:
            shown = await client.workflows.get(state.run)
            assert shown.status == state.status
            assert state.output is not None
            assert shown.output == state.output.value
            assert {s.step: (s.status, s.attempt) for s in shown.steps} == {
                key: (str(step.status), step.attempt) for key, step in state.steps.items()
            }


async def _until_ready(file: Path) -> None:
    async with asyncio.timeout(60):
        while not file.exists():
            await asyncio.sleep(0.05)
