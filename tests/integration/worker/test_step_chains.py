"""Chains of steps: what workers make of a task that another has in hand, had in hand, or had lost, on a real log."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.errors import ConflictError
from agentflow_common.events import NextStep, OutputRef
from agentflow_common.log.event_log import Entry, EventLog, Fence
from agentflow_common.log.group_commit import GroupCommit
from agentflow_common.runtime.service import running
from agentflow_worker.app import app as worker_app
from agentflow_worker.settings import WorkerSettings
from agentflow_worker.tasks import task_chain
from tests.support.engine import CHAIN_STEPS, loaded
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.integration
ACK_WAIT_S = 1.5  # a worker that is alive says so three times in it, on a busy machine too
_numbers = itertools.count(1)


class Workers:
    """Workers that come and go. They share the module of their steps, and so its counters."""

    def __init__(self, url: str, stack: AsyncExitStack) -> None:
        self.url = url
        self.stack = stack

    async def start(self, name: str) -> Worker:
        lifetime = AsyncExitStack()
        settings = WorkerSettings(
            nats_url=self.url, load=(str(CHAIN_STEPS),), worker_id=name, ack_wait_s=ACK_WAIT_S, concurrency=8
        )
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

        self.log.in_progress = nothing  # type: ignore[method-assign]

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

    async def until(self, key: subjects.EntityKey, *expected: tuple[str, str, str]) -> None:
        """Until the reports are these: (step, what it gave, what its worker began)."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                found = [
                    (e.step, e.output.value, e.begun.step if e.begun else "")
                    for e in await self.facts(key)
                    if isinstance(e, ev.StepCompleted)
                ]
                if found == list(expected):
                    return
                assert len(found) <= len(expected), found
                await asyncio.sleep(0.01)

    async def waits_in(self, key: subjects.EntityKey, step: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while (key.name, step) not in self.module.HELD:
                await asyncio.sleep(0.01)
        self.module.HELD.discard((key.name, step))

    async def in_hand(self) -> int:
        info = await self.log.nc.jsm().consumer_info(subjects.EVENTS_STREAM, subjects.pool_durable("default"))
        return int(info.num_ack_pending) + int(info.num_pending)

    async def idle(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while await self.in_hand():
                await asyncio.sleep(0.02)

    def calls(self, key: subjects.EntityKey) -> dict[str, int]:
        return {step: count for (run, step), count in self.module.CALLS.items() if run == key.name}


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_chain, "CHAIN_S_MAX", 60.0)


@pytest.fixture
async def workers(nats_url: str) -> AsyncIterator[Workers]:
    async with AsyncExitStack() as stack:
        yield Workers(nats_url, stack)


async def test_whoever_gets_a_lost_workers_task_goes_on_where_it_was(workers: Workers) -> None:
    lost = await workers.start("lost")
    lost.holds("s1")
    key = await lost.offer("r.count", "r.pass", "r.pass")
    await lost.waits_in(key, "s1")
    other = await workers.start("other")
    await lost.dies()
    await other.until(key, ("s0", 1, "s1"), ("s1", 1, "s2"), ("s2", 1, ""))
    assert other.calls(key) == {"s0": 1, "s1": 2, "s2": 1}, "the first step is not run again"
    await other.idle()


async def test_a_worker_that_was_taken_for_lost_leaves_the_task_to_the_other(workers: Workers) -> None:
    slow = await workers.start("slow")
    slow.goes_dumb()
    first = slow.holds("s1")
    key = await slow.offer("r.pass", "r.count", "r.pass", "r.pass")
    await slow.waits_in(key, "s1")
    other = await workers.start("other")
    third = other.holds("s2")
    await other.waits_in(key, "s2")
    before = len(await slow.facts(key))
    first.set()  # its report of s1 has been written by the other
    await asyncio.sleep(2 * ACK_WAIT_S)
    assert len([e for e in await slow.facts(key) if isinstance(e, ev.StepCompleted)]) == 2
    assert len(await slow.facts(key)) - before <= 1, "no report beside the start of a long step"
    assert slow.calls(key) == {"s0": 1, "s1": 2, "s2": 1}
    assert await slow.in_hand() == 1, "it did not acknowledge what the other has in hand"
    third.set()
    await other.until(key, ("s0", 0, "s1"), ("s1", 2, "s2"), ("s2", 2, "s3"), ("s3", 2, ""))
    assert slow.calls(key) == {"s0": 1, "s1": 2, "s2": 1, "s3": 1}
    await other.idle()


async def test_and_if_the_other_is_lost_it_is_offered_again(workers: Workers) -> None:
    slow = await workers.start("slow")
    slow.goes_dumb()
    first = slow.holds("s1")
    key = await slow.offer("r.pass", "r.pass", "r.pass")
    await slow.waits_in(key, "s1")
    other = await workers.start("other")
    other.holds("s2")
    await other.waits_in(key, "s2")
    first.set()
    await other.dies()
    await slow.until(key, ("s0", 0, "s1"), ("s1", 0, "s2"), ("s2", 0, ""))
    await slow.idle()


async def test_who_was_taken_for_lost_in_a_claimed_step_begins_nothing(workers: Workers) -> None:
    """Its outcome counts as unknown before its report; nothing was decided yet, so no fence would hold it."""
    slow = await workers.start("slow")
    slow.goes_dumb()
    gate = slow.holds("s0")
    key = await slow.offer("r.pay", "r.pass")
    await slow.waits_in(key, "s0")
    other = await workers.start("other")
    async with asyncio.timeout(PATIENCE_S):
        while not any(isinstance(e, ev.StepOutcomeUnknown) for e in await other.facts(key)):
            await asyncio.sleep(0.01)
    gate.set()
    await slow.until(key, ("s0", 1, ""))
    await slow.idle()
    assert slow.calls(key) == {"s0": 1}


async def test_any_decision_ends_the_chain(workers: Workers) -> None:
    worker = await workers.start("w")
    gate = worker.holds("s1")
    key = await worker.offer("r.pass", "r.pass", "r.pass")
    await worker.waits_in(key, "s1")
    paused = ev.RunPaused(org=key.org, run=key.name, ts=1)
    await worker.log.append(Entry(subjects.out_run(key), ev.encode(paused)))
    gate.set()
    await worker.until(key, ("s0", 0, "s1"), ("s1", 0, ""))
    await worker.idle()
    assert worker.calls(key) == {"s0": 1, "s1": 1}


async def test_a_fence_that_fails_in_a_group_hurts_no_other(workers: Workers) -> None:
    worker = await workers.start("w")
    group = GroupCommit(worker.log)
    keys = [subjects.key_of("test", f"run_g{n}") for n in range(24)]
    paused = {key: ev.encode(ev.RunPaused(org="o", run=key.name, ts=1)) for key in keys}
    seqs = [(await worker.log.append(Entry(subjects.out_run(key), paused[key]))).seq for key in keys]
    entries = [
        Entry(
            subjects.run_in(key), ev.encode(ev.RunPauseRequested(org="o", run=key.name, ts=1)), msg_id=f"m{n}",
            fence=Fence(seqs[n] + (n % 5 == 0), subjects.run_out_all(key)),
        )
        for n, key in enumerate(keys)
    ]  # fmt: skip

    async def write(entry: Entry) -> bool:
        """As a worker does: what was refused with others is repeated alone."""
        try:
            await group.append(entry)
        except ConflictError:
            try:
                await worker.log.append(entry)
            except ConflictError:
                return False
        return True

    assert await asyncio.gather(*map(write, entries)) == [n % 5 != 0 for n in range(24)]
    written = [len(await worker.log.read(subjects.run_in(key))) for key in keys]
    assert written == [int(n % 5 != 0) for n in range(24)]
