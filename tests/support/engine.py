"""For tests: runs on a scheduler and a worker in this process, read from a real log."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final

from nats.aio.client import Client

from agentflow_common import events as ev
from agentflow_common import ids, subjects
from agentflow_common.definition.parse import parse_text
from agentflow_common.events import Payload
from agentflow_common.log.event_log import Entry, EventLog, Fence
from agentflow_common.runs.fold import fold
from agentflow_common.runs.state import RunState
from agentflow_common.runtime.service import Context, running
from agentflow_scheduler.app import app as scheduler_app
from agentflow_scheduler.settings import SchedulerSettings
from agentflow_worker.app import app as worker_app
from agentflow_worker.settings import WorkerSettings
from tests.support.waiting import PATIENCE_S

# What workers load: functions and tools of the tests. `loaded` gives their modules as the worker sees them.
STEPS: Final = Path(__file__).parent / "steps"
ENGINE_STEPS: Final = STEPS / "engine_steps.py"
CHAIN_STEPS: Final = STEPS / "chain_steps.py"
WORKER_STEPS: Final = STEPS / "worker_steps.py"


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
        """Returns the first event of a type, once it is there."""
        async with asyncio.timeout(timeout_s):
            while True:
                for _, event in await self.events(key):
                    if isinstance(event, kind):
                        return event
                await asyncio.sleep(0.02)


def scheduler_settings(url: str, **more: Any) -> SchedulerSettings:
    return SchedulerSettings(nats_url=url, **more)


def worker_settings(url: str, **more: Any) -> WorkerSettings:
    return WorkerSettings(nats_url=url, **{"load": (str(ENGINE_STEPS),), "concurrency": 50, **more})


def scheduling(url: str, **more: Any) -> AbstractAsyncContextManager[Context[SchedulerSettings]]:
    """Runs a scheduler; `more` are its settings."""
    return running("scheduler", scheduler_settings(url, **more), scheduler_app)


def working(url: str, **more: Any) -> AbstractAsyncContextManager[Context[WorkerSettings]]:
    """Runs a worker with the functions of `engine_steps.py`; `more` are its settings."""
    return running("worker", worker_settings(url, **more), worker_app)


def loaded(steps: Path = ENGINE_STEPS) -> Any:
    """Returns the module as the worker that started last has loaded it: its counters, its gates."""
    prefix = f"agentflow_load_{steps.stem}_"
    return [module for name, module in sys.modules.copy().items() if name.startswith(prefix)][-1]
