"""kill -9 of the scheduler and of the gateway while a schedule fires every second: no fire is lost, none is doubled."""

from __future__ import annotations

import asyncio
import os
import random
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

from agentflow_common import events as ev
from agentflow_common import schedulelog, schedulespec, subjects
from agentflow_common.eventlog import EventLog
from agentflow_common.schedulefold import ScheduleState, schedule_id
from agentflow_sdk import AgentFlowError, AsyncClient

pytestmark = [pytest.mark.integration, pytest.mark.fault]

SEED = 20261121
ROUNDS = 4
KEY = "kill-test-" + "1" * 32
WORKFLOW = """\
name: report
version: 1
inputs: {n: {type: integer}}
dag:
  nodes:
    - {id: pause, type: wait, config: {duration: 1h}}
"""


class Services:
    """Each service its own process; one that is killed is started again at once, as the supervisor does."""

    def __init__(self, folder: Path, url: str, database: dict[str, str]) -> None:
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.env = {
            **os.environ, **database, "NATS_URL": url, "API_PORT": "0", "API_KEY": KEY, "DEFAULT_ORG_ID": "test",
            "AGENTFLOW_RUN_DIR": str(folder / "run"), "LOG_LEVEL": "WARNING",
        }  # fmt: skip

    def start(self, name: str) -> None:
        (self.folder / "run" / f"{name}.json").unlink(missing_ok=True)
        with (self.folder / f"{name}.log").open("ab") as log:
            command = [sys.executable, "-m", f"agentflow_{name}"]
            self.processes[name] = subprocess.Popen(command, env=self.env, stdout=log, stderr=log)

    def kill(self, name: str) -> None:
        self.processes[name].send_signal(signal.SIGKILL)
        self.processes[name].wait()
        self.start(name)

    async def port(self, name: str, of: str) -> int:
        """The port that a service has announced, once it has."""
        file = self.folder / "run" / f"{name}.json"
        async with asyncio.timeout(60):
            while not file.exists():
                assert self.processes[name].poll() is None, (self.folder / f"{name}.log").read_text()[-2000:]
                await asyncio.sleep(0.05)
        return int(msgspec.json.decode(file.read_bytes())["ports"][of])

    def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(20)


@pytest.fixture
def services(tmp_path: Path, nats_url: str, db_env: dict[str, str]) -> Iterator[Services]:
    services = Services(tmp_path, nats_url, db_env)
    for name in ("scheduler", "gateway"):
        services.start(name)
    yield services
    services.stop()


async def make(services: Services) -> None:
    endpoint = f"127.0.0.1:{await services.port('gateway', 'grpc')}"
    spec: dict[str, Any] = {
        "name": "beat", "workflow": "report", "cron": "@every 1s", "overlap": "allow",
        "inputs": {"n": "{{schedule.number}}"},
    }  # fmt: skip
    async with AsyncClient(endpoint, KEY) as client:
        await client.workflows.register(WORKFLOW)
        await client.schedules.create(spec)


async def test_every_second_fires_once_however_often_processes_die(services: Services, nats_url: str) -> None:
    chance = random.Random(SEED)
    nc = await nats.connect(nats_url)
    log = EventLog(nc)
    await log.start()
    key = subjects.key_of("test", schedule_id("test", "beat"))
    try:
        await make(services)

        async def state_when(holds: Any) -> ScheduleState:
            async with asyncio.timeout(60):
                while True:
                    state = await schedulelog.load_schedule(log, key)
                    if state is not None and holds(state):
                        return state
                    await asyncio.sleep(0.1)

        number = 0
        for _ in range(ROUNDS):
            state = await state_when(lambda s, n=number: s.number >= n + 2)
            number = state.number
            await asyncio.sleep(chance.random())  # anywhere within a fire
            services.kill(chance.choice(["scheduler", "gateway", "scheduler"]))
        await state_when(lambda s, n=number: s.number >= n + 5)
        for _ in range(20):  # the gateway may be starting
            try:
                async with AsyncClient(f"127.0.0.1:{await services.port('gateway', 'grpc')}", KEY) as client:
                    await client.schedules.pause("beat")
                break
            except AgentFlowError:
                await asyncio.sleep(0.5)
        state = await state_when(
            lambda s: s.paused and all(active.started for active in s.active.values()) and s.listed == "paused"
        )

        events = [ev.decode(stored.data) for stored in await log.read(subjects.run_all(key))]
        fired = [event for event in events if isinstance(event, ev.ScheduleFired)]
        skipped = [event for event in events if isinstance(event, ev.ScheduleSkipped)]
        planned = schedulespec.trusted(state.spec).timetable(state.anchor).between(0, state.position, 10_000)
        assert skipped == [], "everything lies within the catch-up window"
        assert [event.at for event in fired] == planned, "a time was lost or fired twice"
        assert len(planned) >= ROUNDS * 2 + 5

        submitted: Counter[str] = Counter()
        for stored in await log.read(subjects.ALL_INS):
            event = ev.decode(stored.data)
            if isinstance(event, ev.RunSubmitted):
                submitted[event.run] += 1
                assert event.origin == ev.OriginRef(run=key.run, kind="schedule")
        assert submitted == Counter(event.child for event in fired), "each fire is one run"
    finally:
        await nc.close()
