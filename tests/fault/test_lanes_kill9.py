"""kill -9 of scheduler and worker while 200 runs queue for 5 keyed lanes: never more at a time than the limit, no slot
is lost, and everybody is served."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats
import pytest

from agentflow_common import events as ev
from agentflow_common import ids, lanefold, subjects
from agentflow_common.definition import parse_dict
from agentflow_common.eventlog import Entry, EventLog, Fence
from agentflow_common.events import Payload
from agentflow_common.lanefold import LaneState, key_of_lane

pytestmark = [pytest.mark.integration, pytest.mark.fault]

RUNS = 200
KEYS = 5
LIMIT = 2
KILLS = ("worker", "scheduler", "worker", "scheduler")


class Services:
    """A scheduler and a worker, each its own process; a killed one is started again at once."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.notes = folder / "notes"
        self.notes.mkdir()
        self.died: dict[int, int] = {}  # pid -> when it was killed, ns
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.env = {
            **os.environ,
            "NATS_URL": url,
            "AGENTFLOW_RUN_DIR": str(folder / "run"),
            "LANES_FOLDER": str(self.notes),
            "WORKER_LOAD": str(Path(__file__).with_name("lane_steps.py")),
            "WORKER_CONCURRENCY": "100",
            "AGENTFLOW_ACK_WAIT_S": "2",
            "SCHEDULER_SNAPSHOT_EVERY": "200",
            "LOG_LEVEL": "WARNING",
        }

    def start(self, name: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", f"agentflow_{name}"], env=self.env, stdout=log, stderr=log
            )

    def kill(self, name: str) -> None:
        process = self.processes[name]
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.died[process.pid] = time.monotonic_ns()
        self.start(name)

    def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(20)


@pytest.fixture
def services(tmp_path: Path, nats_url: str) -> Iterator[Services]:
    services = Services(tmp_path, nats_url)
    for name in ("scheduler", "worker"):
        services.start(name)
    yield services
    services.stop()


def definition() -> dict[str, Any]:
    node = {
        "id": "hold",
        "type": "function",
        "lane": "{{org}}-{{key}}",
        "lane_limit": LIMIT,
        "config": {"function_name": "lanes.hold", "inputs": {"key": "{{key}}", "seconds": "{{seconds}}"}},
    }
    return parse_dict(
        {
            "name": "lanes",
            "inputs": {"key": {"type": "string"}, "seconds": {"type": "number"}},
            "dag": {"nodes": [node]},
        }
    ).canonical()


async def submit(log: EventLog, raw: dict[str, Any], key: str, seconds: float) -> str:
    run = ids.new_run_id()
    event = ev.RunSubmitted(
        org="test",
        run=run,
        ts=1,
        workflow="lanes",
        version=1,
        definition=raw,
        inputs=Payload(value={"key": key, "seconds": seconds}),
    )
    await log.append(Entry(subjects.run_in(subjects.key_of("test", run)), ev.encode(event), fence=Fence(0)))
    return run


async def lane_state(log: EventLog, lane: str) -> LaneState:
    key = key_of_lane(lane)
    return lanefold.fold(key, [(s.seq, ev.decode(s.data)) for s in await log.read(subjects.run_all(key))])


def most_at_once(notes: Path, died: dict[int, int]) -> tuple[int, int]:
    """(the most that ran at a time, how many were cut off): what was cut off ended when its process died."""
    open_since: dict[tuple[int, str], int] = {}
    moments: list[tuple[int, int]] = []
    for line in notes.read_text().splitlines():
        at, pid, run, what = line.split()
        if what == "begin":
            assert (int(pid), run) not in open_since
            open_since[int(pid), run] = int(at)
            moments.append((int(at), 1))
        else:
            del open_since[int(pid), run]
            moments.append((int(at), -1))
    moments += [(died[pid], -1) for pid, _ in open_since]
    now = most = 0
    for _, change in sorted(moments):
        now += change
        most = max(most, now)
    assert now == 0
    return most, len(open_since)


async def test_lanes_keep_their_limits_through_kill_9(services: Services, nats_url: str) -> None:
    nc = await nats.connect(nats_url)
    log = EventLog(nc)
    await log.start()
    await _until_stream(nc)
    names = [f"k{number}" for number in range(KEYS)]
    raw = definition()
    runs = {await submit(log, raw, names[number % KEYS], 0.05 + 0.02 * (number % 7)) for number in range(RUNS)}
    await drive(log, services, set(runs))
    cut_off = 0
    for name in names:
        most, lost = most_at_once(services.notes / name, services.died)
        assert most <= LIMIT, f"{most} at a time in the lane {name}"
        cut_off += lost
        async with asyncio.timeout(10):
            while not (state := await lane_state(log, f"test-{name}")).idle:
                await asyncio.sleep(0.05)
        assert state.grants == RUNS // KEYS, "each attempt had one slot, and gave it back"
    assert cut_off > 0, "no worker was killed in the middle of a step"
    await nc.close()


async def drive(log: EventLog, services: Services, runs: set[str]) -> None:
    """Waits for the end of all runs, and kills the services in turn as the work goes on."""
    tail = log.tail([subjects.ALL_INS, subjects.ALL_RUN_FACTS])
    await tail.start()
    moments = [RUNS * (number + 1) // (len(KILLS) + 1) for number in range(len(KILLS))]
    victims = list(KILLS)
    done = 0
    async with asyncio.timeout(90):
        while runs:
            for delivery in await tail.batch(1.0):
                event = ev.decode(delivery.data)
                done += isinstance(event, ev.StepCompleted)
                if isinstance(event, ev.TERMINAL_RUN):
                    assert isinstance(event, ev.RunCompleted), event
                    runs.discard(event.run)
            if moments and done >= moments[0]:
                del moments[0]
                services.kill(victims.pop(0))
    await tail.stop()
    assert not victims


async def _until_stream(nc: Any) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                await nc.jsm().stream_info(subjects.EVENTS_STREAM)
            except nats.js.errors.NotFoundError:
                await asyncio.sleep(0.05)
            else:
                return
