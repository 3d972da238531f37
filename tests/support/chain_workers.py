"""Workers on a real log that are given tasks of several steps."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import AsyncExitStack
from typing import Any

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.events import NextStep, OutputRef
from agentflow_common.log.event_log import Entry, EventLog
from agentflow_common.runtime.service import running
from agentflow_worker.app import app as worker_app
from agentflow_worker.settings import WorkerSettings
from tests.support.attempts import begun_by, singly
from tests.support.engine import CHAIN_STEPS, loaded
from tests.support.waiting import PATIENCE_S

ACK_WAIT_S = 1.5  # a worker that is alive says so three times in it, on a busy machine too
_numbers = itertools.count(1)


class Workers:
    """Workers that come and go. They share the module of their steps, and so its counters."""

    def __init__(self, url: str, stack: AsyncExitStack) -> None:
        self.url = url
        self.stack = stack

    async def start(self, name: str, **more: Any) -> Worker:
        """`more` are settings."""
        lifetime = AsyncExitStack()
        given: dict[str, Any] = {
            "load": (str(CHAIN_STEPS),),
            "worker_id": name,
            "ack_wait_s": ACK_WAIT_S,
            "concurrency": 8,
        }
        settings = WorkerSettings(nats_url=self.url, **given, **more)
        context = await lifetime.enter_async_context(running("worker", settings, worker_app))
        await self.stack.enter_async_context(lifetime)
        module = loaded(CHAIN_STEPS)
        return Worker(lifetime, context, module)


class Worker:
    def __init__(self, lifetime: AsyncExitStack, context: Any, module: Any) -> None:
        self.log: EventLog = context.log
        self.module = module
        self._lifetime = lifetime

    def holds(self, step: str) -> asyncio.Event:
        """The next call of the step, in whatever worker, waits until it is set."""
        gate = self.module.HOLDS[step] = asyncio.Event()
        return gate

    def goes_dumb(self) -> None:
        """It says nothing for the tasks in its hands: the queue takes it for lost."""

        async def nothing(_delivery: Any) -> None:
            """Nobody hears it."""

        self.log.in_progress = nothing  # type: ignore[method-assign, assignment]

    async def dies(self) -> None:
        await self._lifetime.aclose()

    async def offer(self, *calls: str) -> subjects.EntityKey:
        """A task of steps s0, s1, ..; each is given what the one before gave."""
        key = subjects.key_of("test", f"run_{next(_numbers)}")
        kinds = ["tool" if call == "r.pay" else "function" for call in calls]
        then = tuple(
            NextStep(f"s{n}", kinds[n], {f"{kinds[n]}_name": call}, {}, {"x": OutputRef(f"s{n - 1}")})
            for n, call in enumerate(calls) if n
        )  # fmt: skip
        task = ev.StepScheduled(
            org=key.org, run=key.name, ts=1, step="s0", attempt=1, lane="default", kind=kinds[0],
            config={f"{kinds[0]}_name": calls[0]}, inputs={"x": 0}, then=then,
        )  # fmt: skip
        await self.log.append(Entry(subjects.out_task(key, "default"), ev.encode(task)))
        return key

    async def facts(self, key: subjects.EntityKey) -> list[Any]:
        return [ev.decode(stored.data) for stored in await self.log.read(subjects.run_in(key))]

    async def until(self, key: subjects.EntityKey, *expected: tuple[str, Any, str]) -> None:
        """Until the reports are these: (step, what it gave, what its worker began)."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                found = [
                    (e.step, e.output.value, e.begun.step if e.begun else "")
                    for e in singly(await self.facts(key))
                    if isinstance(e, ev.StepCompleted)
                ]
                if found == list(expected):
                    return
                assert len(found) <= len(expected), found
                await asyncio.sleep(0.01)

    async def waits_in(self, key: subjects.EntityKey, step: str, *, known: bool = True) -> None:
        """Until the step waits. known: and the log says that it has begun."""
        async with asyncio.timeout(PATIENCE_S):
            while (key.name, step) not in self.module.HELD or (known and not await self._has_begun(key, step)):
                await asyncio.sleep(0.01)
        self.module.HELD.discard((key.name, step))

    async def _has_begun(self, key: subjects.EntityKey, step: str) -> bool:
        log = [ev.decode(stored.data) for stored in await self.log.read(subjects.run_all(key))]
        return any(step == name for event in log for name, _ in begun_by(event))

    async def in_hand(self) -> int:
        info = await self.log.nc.jsm().consumer_info(subjects.EVENTS_STREAM, subjects.pool_durable("default"))
        return int(info.num_ack_pending) + int(info.num_pending)

    async def idle(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while await self.in_hand():
                await asyncio.sleep(0.02)

    def calls(self, key: subjects.EntityKey) -> dict[str, int]:
        return {step: count for (run, step), count in self.module.CALLS.items() if run == key.name}
