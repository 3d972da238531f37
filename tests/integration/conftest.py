"""A scheduler and a worker on a real log, in this process."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import nats
import pytest
from nats.aio.client import Client

from agentflow_common import events as ev
from agentflow_common import ids, subjects
from agentflow_common.definition.parse import parse_text
from agentflow_common.events import Payload
from agentflow_common.lanes.controls import CONTROLS_PREFIX, ControlSettings
from agentflow_common.log.event_log import Entry, EventLog, Fence
from agentflow_common.runs.fold import fold
from agentflow_common.runs.state import RunState
from agentflow_common.runtime.service import running
from agentflow_scheduler.app import app as scheduler_app
from agentflow_scheduler.engine import controls
from agentflow_scheduler.settings import SchedulerSettings
from agentflow_worker.app import app as worker_app
from agentflow_worker.settings import WorkerSettings
from agentflow_worker.tasks import pool_queues
from tests.support.gateway_schedules import Desk, opened
from tests.support.waiting import PATIENCE_S, until

STEPS = Path(__file__).with_name("steps.py")


class EngineUnderTest:
    """Submits runs straight to the log and waits for their end there."""

    def __init__(self, nc: Client, log: EventLog) -> None:
        self.nc = nc
        self.log = log

    async def submit(self, text: str, inputs: dict[str, Any] | None = None, **fields: Any) -> subjects.EntityKey:
        definition = parse_text(text)
        key = subjects.key_of("test", ids.new_run_id())
        event = ev.RunSubmitted(
            org=key.org, run=key.name, ts=1_700_000_000_000, workflow=definition.name, version=definition.version,
            definition=definition.canonical(), inputs=Payload(value=definition.check_inputs(inputs or {})),
            deadline_ms=definition.deadline_ms, **fields,
        )  # fmt: skip
        await self.log.append(Entry(subjects.run_in(key), ev.encode(event), fence=Fence(0)))
        return key

    async def events(self, key: subjects.EntityKey) -> list[tuple[int, ev.Event]]:
        read = [(s.seq, ev.try_decode(s.data)) for s in await self.log.read(subjects.run_all(key))]
        return [(seq, event) for seq, event in read if event is not None]

    async def state(self, key: subjects.EntityKey) -> RunState:
        state = fold(await self.events(key))
        assert state is not None
        return state

    async def finished(self, key: subjects.EntityKey, timeout_s: float = PATIENCE_S) -> RunState:
        async with asyncio.timeout(timeout_s):
            while True:
                last = await self.log.last(subjects.out_run(key))
                if last is not None and isinstance(ev.decode(last.data), ev.TERMINAL_RUN):
                    return await self.state(key)
                await asyncio.sleep(0.01)

    async def until(self, key: subjects.EntityKey, kind: type[ev.Event], timeout_s: float = PATIENCE_S) -> Any:
        """The first event of a type, once it is there."""
        async with asyncio.timeout(timeout_s):
            while True:
                for _, event in await self.events(key):
                    if isinstance(event, kind):
                        return event
                await asyncio.sleep(0.02)


def scheduler_settings(url: str, **more: Any) -> SchedulerSettings:
    return SchedulerSettings(nats_url=url, **more)


def worker_settings(url: str, **more: Any) -> WorkerSettings:
    return WorkerSettings(nats_url=url, load=(str(STEPS),), concurrency=50, **more)


@pytest.fixture
async def log(nats_url: str) -> AsyncIterator[EventLog]:
    nc = await nats.connect(nats_url)
    log = EventLog(nc)
    await log.start()
    yield log
    await nc.close()


@pytest.fixture
async def engine(nats_url: str) -> AsyncIterator[EngineUnderTest]:
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(running("scheduler", scheduler_settings(nats_url), scheduler_app))
        worker = await stack.enter_async_context(running("worker", worker_settings(nats_url), worker_app))
        yield EngineUnderTest(worker.nc, worker.log)


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Awaitable[object]]:
    """Waits until scheduler and worker know what is set under a key of the controls: the bucket tells nobody who has
    read it."""
    taken: set[tuple[str, str]] = set()
    owners = (controls.__name__, pool_queues.__name__)
    real = ControlSettings.take

    def take(self: ControlSettings, subject: str, data: bytes | None) -> bool:
        readable = real(self, subject, data)
        owner = sys._getframe(1).f_globals["__name__"]
        taken.add((owner, subject.removeprefix(CONTROLS_PREFIX)))
        return readable

    monkeypatch.setattr(ControlSettings, "take", take)
    return lambda key: until(lambda: taken >= {(owner, key) for owner in owners}, what=f"{key} is not known")


@pytest.fixture
def harness() -> ModuleType:
    """This module, for tests that wire the services themselves."""
    return sys.modules[__name__]


@pytest.fixture
async def desk(nats_url: str, db_env: dict[str, str]) -> AsyncIterator[Desk]:
    """A gateway with a schedule's workflow, and the scheduler that serves it."""
    async with (
        running("scheduler", SchedulerSettings(nats_url=nats_url), scheduler_app),
        opened(nats_url, db_env) as desk,
    ):
        yield desk
