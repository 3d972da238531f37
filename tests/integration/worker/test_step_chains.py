"""Chains of steps: what workers make of a task that another has in hand, had in hand, or had lost, on a real log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.errors import ConflictError
from agentflow_common.log.event_log import Entry, Fence
from agentflow_common.log.group_commit import GroupCommit
from agentflow_worker.tasks import task_chain
from tests.support.attempts import singly
from tests.support.chain_workers import ACK_WAIT_S, Workers
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.integration


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
    assert len([e for e in singly(await slow.facts(key)) if isinstance(e, ev.StepCompleted)]) == 2
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
