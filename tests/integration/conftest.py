"""A scheduler and a worker on a real log, in this process."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import nats
import pytest

from agentflow_common.lanes.controls import CONTROLS_PREFIX, ControlSettings
from agentflow_common.log.event_log import EventLog
from agentflow_scheduler.engine import controls
from agentflow_worker.tasks import pool_queues
from tests.support.engine import ENGINE_STEPS, EngineUnderTest, scheduling, working
from tests.support.gateway_schedules import SchedulesUnderTest, running_schedules
from tests.support.waiting import until


@pytest.fixture(autouse=True)
def closed_gates() -> Iterator[None]:
    """Closes the gates that a test has opened: workers of one process share the module of their steps."""
    yield
    for name in [name for name in sys.modules if name.startswith(f"agentflow_load_{ENGINE_STEPS.stem}_")]:
        sys.modules[name].GATES.clear()


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
        await stack.enter_async_context(scheduling(nats_url))
        worker = await stack.enter_async_context(working(nats_url))
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
async def schedules(nats_url: str, db_env: dict[str, str]) -> AsyncIterator[SchedulesUnderTest]:
    """A gateway with a schedule's workflow, and the scheduler that serves it."""
    async with (
        scheduling(nats_url),
        running_schedules(nats_url, db_env) as schedules,
    ):
        yield schedules
