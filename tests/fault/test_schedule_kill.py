"""kill -9 of the scheduler and of the gateway while a schedule fires every second: no fire is lost, none is doubled."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats
import pytest

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.log.event_log import EventLog
from agentflow_common.schedules import load as schedule_log
from agentflow_common.schedules import spec as schedule_spec
from agentflow_common.schedules.state import ScheduleState, schedule_id
from agentflow_sdk import AgentFlowError, AsyncClient
from tests.support.waiting import PATIENCE_S, until

from .killing import Processes

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


@pytest.fixture
def processes(tmp_path: Path, nats_url: str, db_env: dict[str, str]) -> Iterator[Processes]:
    with Processes(
        tmp_path, ("scheduler", "gateway"), nats_url, API_PORT=0, API_KEY=KEY, DEFAULT_ORG_ID="test", **db_env
    ) as started:
        yield started


async def client(processes: Processes) -> AsyncClient:
    return AsyncClient(f"127.0.0.1:{(await processes.ports('gateway'))['grpc']}", KEY)


async def make(processes: Processes) -> None:
    spec: dict[str, Any] = {
        "name": "beat", "workflow": "report", "cron": "@every 1s", "overlap": "allow",
        "inputs": {"n": "{{schedule.number}}"},
    }  # fmt: skip
    async with await client(processes) as gateway:
        await gateway.workflows.register(WORKFLOW)
        await gateway.schedules.create(spec)


async def paused(processes: Processes) -> bool:
    with contextlib.suppress(AgentFlowError):  # the gateway may be starting
        async with await client(processes) as gateway:
            await gateway.schedules.pause("beat")
            return True
    return False


async def test_every_second_fires_once_however_often_processes_die(processes: Processes, nats_url: str) -> None:
    chance = random.Random(SEED)
    nc = await nats.connect(nats_url)
    log = EventLog(nc)
    await log.start()
    key = subjects.key_of("test", schedule_id("test", "beat"))
    try:
        await make(processes)

        async def state_when(holds: Any) -> ScheduleState:
            async def held() -> ScheduleState | None:
                state = await schedule_log.load_schedule(log, key)
                return state if state is not None and holds(state) else None

            found = await until(held, 3 * PATIENCE_S)
            assert found is not None
            return found

        number = 0
        for _ in range(ROUNDS):
            state = await state_when(lambda s, n=number: s.number >= n + 2)
            number = state.number
            await asyncio.sleep(chance.random())  # anywhere within a fire
            processes.kill(chance.choice(["scheduler", "gateway", "scheduler"]))
        await state_when(lambda s, n=number: s.number >= n + 5)
        await until(lambda: paused(processes))
        state = await state_when(
            lambda s: s.paused and all(active.started for active in s.active.values()) and s.listed == "paused"
        )

        events = [ev.decode(stored.data) for stored in await log.read(subjects.run_all(key))]
        fired = [event for event in events if isinstance(event, ev.ScheduleFired)]
        skipped = [event for event in events if isinstance(event, ev.ScheduleSkipped)]
        planned = schedule_spec.trusted(state.spec).timetable(state.anchor).between(0, state.position, 10_000)
        assert skipped == [], "everything lies within the catch-up window"
        assert [event.at for event in fired] == planned, "a time was lost or fired twice"
        assert len(planned) >= ROUNDS * 2 + 5

        submitted: Counter[str] = Counter()
        for stored in await log.read(subjects.ALL_INS):
            event = ev.decode(stored.data)
            if isinstance(event, ev.RunSubmitted):
                submitted[event.run] += 1
                assert event.origin == ev.OriginRef(run=key.name, kind="schedule")
        assert submitted == Counter(event.child for event in fired), "each fire is one run"
    finally:
        await nc.close()
