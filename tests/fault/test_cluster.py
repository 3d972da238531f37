"""Two schedulers and two workers on three nodes under kill -9, SIGSTOP and network cuts: nothing lost, nothing doubled.

AGENTFLOW_CLUSTER_RUNS (10,000) and AGENTFLOW_CLUSTER_SEED (1) change the long test.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import random
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from nats.aio.client import Client

from agentflow_common import events as ev
from agentflow_common import ids, subjects
from agentflow_common.definition.parse import parse_dict
from agentflow_common.errors import ConflictError, RetryableError
from agentflow_common.log.event_log import Entry, EventLog, Fence
from agentflow_common.log.streams import ensure_streams
from agentflow_common.runs.fold import RunFold
from agentflow_common.runs.state import RunStatus, StepStatus
from tests.support.attempts import begun_by
from tests.support.chaos import Chaos, ClusterStack

# nats-py forgets the writer of a connection whose server accepted it and said nothing
LEAK = pytest.mark.filterwarnings("ignore:.*StreamWriter.__del__:pytest.PytestUnraisableExceptionWarning")
pytestmark = [pytest.mark.integration, pytest.mark.fault, LEAK]

log = logging.getLogger(__name__)
RUNS = int(os.environ.get("AGENTFLOW_CLUSTER_RUNS", "10000"))
SEED = int(os.environ.get("AGENTFLOW_CLUSTER_SEED", "1"))
SERVICES = {"scheduler-a": "scheduler", "scheduler-b": "scheduler", "worker-a": "worker", "worker-b": "worker"}
IN_FLIGHT = 400  # few enough that the faults meet runs at every stage, to the end
STEPS = ("first", "pay", "last")
QUIET_S = 8.0  # after the last end: late deliveries must do no harm
STALL_S_MAX = 60.0  # without the end of a run, in peace
TROUBLE_S_MAX = 180.0  # the same amid the faults


def chain() -> dict[str, Any]:
    """Three steps: one that may wait for a timer, one that must not happen twice, one more."""
    tools = {"first": "effects.flaky", "pay": "effects.pay", "last": "effects.add"}
    nodes = [
        {
            "id": step,
            "type": "tool",
            "policy": {"retry": {"max_attempts": 2, "backoff": "fixed", "initial_ms": 700}},
            "config": {"tool_name": tools[step], "tool_args": {"n": f"{STEPS[i - 1]}.output" if i else 0}},
        }
        for i, step in enumerate(STEPS)
    ]
    edges = [{"from": a, "to": b} for a, b in itertools.pairwise(STEPS)]
    return parse_dict({"name": "chain", "dag": {"nodes": nodes, "edges": edges}}).canonical()


class Driver:
    """Submits `total` runs, so many a second as long as no more than IN_FLIGHT are open, and notes their ends."""

    def __init__(self, event_log: EventLog, total: int, rate: float) -> None:
        self._rate = rate
        self._log = event_log
        self._left = total
        self._definition = chain()
        self._room = asyncio.Semaphore(IN_FLIGHT)
        self.open: set[str] = set()
        self.runs: set[str] = set()
        self.all_ended = asyncio.Event()

    async def submit_all(self) -> None:
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            while self._left:
                await asyncio.sleep(max(0.0, began + len(self.runs) / self._rate - time.monotonic()))
                await self._room.acquire()
                self._left -= 1
                group.create_task(self._submit())

    async def _submit(self) -> None:
        """As the gateway does: the same run id until the log has it."""
        run = ids.new_run_id()
        self.open.add(run)
        self.runs.add(run)
        event = ev.RunSubmitted(org="test", run=run, ts=1, workflow="chain", version=1, definition=self._definition)
        entry = Entry(subjects.run_in(subjects.key_of("test", run)), ev.encode(event), fence=Fence(0))
        while True:
            try:
                await self._log.append(entry)
                return
            except ConflictError:
                return  # an earlier try was written
            except RetryableError:
                await asyncio.sleep(0.2)

    async def watch(self, stack: ClusterStack, chaos: Chaos) -> None:
        """Until all have ended. Once all are submitted there is peace, in which the rest must go on."""
        tail = self._log.tail([subjects.ALL_RUN_DECISIONS])
        moved = time.monotonic()
        peace = False
        while self._left or self.open:
            if not self._left and not peace:
                peace = True
                chaos.end()
                moved = time.monotonic()
            for service in stack.services.values():
                service.check()
            for delivery in await tail.batch(1.0):
                event = ev.decode(delivery.data)
                if isinstance(event, ev.TERMINAL_RUN) and event.run in self.open:
                    self.open.discard(event.run)
                    self._room.release()
                    moved = time.monotonic()
            limit_s = STALL_S_MAX if peace else TROUBLE_S_MAX
            assert time.monotonic() - moved < limit_s, f"{len(self.open)} runs stand still: {await self._story()}"
        await tail.stop()

    async def _story(self) -> list[str]:
        """What the log holds of a run that stands still."""
        key = subjects.key_of("test", min(self.open))
        stored = [(s.seq, ev.decode(s.data)) for s in await self._log.read(subjects.run_all(key))]
        shards = sorted(subjects.key_of("test", run).shard for run in self.open)
        told = [f"{seq} {ev.event_type(event)} {event.ts} {begun_by(event)}" for seq, event in stored]
        return [f"shards {shards}", *told]


async def play(tmp_path: Path, total: int, seed: int, *, rate: float, pace_s: float) -> None:
    effects = tmp_path / "effects"
    effects.mkdir()
    env = {
        "EFFECTS_FOLDER": str(effects),
        "WORKER_LOAD": str(Path(__file__).with_name("effects.py")),
        "WORKER_CONCURRENCY": "100",
        "AGENTFLOW_ACK_WAIT_S": "4",
    }
    with ClusterStack(tmp_path, SERVICES, env) as stack:
        nc = await stack.connect()
        try:
            await ensure_streams(nc, 3)
            event_log = EventLog(nc)
            await event_log.start()
            for service in stack.services.values():
                service.start()
            driver = Driver(event_log, total, rate)
            chaos = Chaos(stack, nc, random.Random(seed), pace_s)
            began = time.monotonic()
            async with asyncio.TaskGroup() as group:
                group.create_task(driver.submit_all())
                troubles = group.create_task(chaos.run())
                await driver.watch(stack, chaos)
                took_s = time.monotonic() - began
                chaos.end()
                await troubles
            stack.heal()
            await chaos.healthy()
            await asyncio.sleep(QUIET_S)
            outcome = await check_log(event_log, driver.runs, effects)
            for service in stack.services.values():
                service.check()
            await check_replicas(nc)
        finally:
            await nc.close()
    print(
        f"\n{total} runs in {took_s:.0f} s ({total / took_s:.0f}/s), seed {seed}: {dict(outcome)}; "
        f"{sum(chaos.faults.values())} faults: {dict(sorted(chaos.faults.items()))}"
    )


async def check_log(event_log: EventLog, runs: set[str], effects: Path) -> Counter[str]:
    """The log says of each run one end, of each attempt one offer and one report; it folds to what it says."""
    folds: dict[str, RunFold] = {}
    ends: Counter[str] = Counter()
    offers: Counter[tuple[str, str, int]] = Counter()
    reports: Counter[tuple[str, str, int]] = Counter()
    said: dict[str, RunStatus] = {}
    for stored in await event_log.read(subjects.ALL_EVENTS):
        event = ev.decode(stored.data)
        folds.setdefault(event.run, RunFold()).add(event, stored.seq)
        if isinstance(event, ev.TERMINAL_RUN):
            ends[event.run] += 1
            said[event.run] = RunStatus.COMPLETED if isinstance(event, ev.RunCompleted) else RunStatus.FAILED
            if isinstance(event, ev.RunFailed):
                assert "unknown" in event.error.type, event
        for step, attempt in begun_by(event):
            offers[event.run, step, attempt] += 1
        for report in ev.single(event):
            if isinstance(report, ev.StepCompleted | ev.StepFailed):
                reports[report.run, report.step, report.attempt] += 1
    assert set(folds) == runs, "every run that was submitted, and no other"
    assert set(ends) == runs, f"{len(runs - set(ends))} runs have no end"
    assert max(ends.values()) == 1, "one end a run"
    assert max(offers.values()) == 1, "one offer an attempt"
    assert max(reports.values()) == 1, "one report an attempt"
    outcome: Counter[str] = Counter()
    completed: dict[str, int] = defaultdict(int)
    for run, fold in folds.items():
        state = fold.finish()
        assert state is not None
        assert state.status is said[run]
        outcome[str(state.status)] += 1
        completed[run] = sum(step.status is StepStatus.COMPLETED for step in state.steps.values())
        if state.status is RunStatus.COMPLETED:
            assert completed[run] == len(STEPS)
            assert state.output is not None
            assert state.output.value == {"last": 3}, state.output
    assert {run for run, _, attempt in reports if attempt == 2} == {run for run in runs if flaky(run)}
    check_effects(effects, runs, reports)
    return outcome


def flaky(run: str) -> bool:
    """As in effects.py, which only a worker can import."""
    return crc32(run.encode()[::-1]) % 3 == 0


def check_effects(effects: Path, runs: set[str], reports: Counter[tuple[str, str, int]]) -> None:
    """What must not happen twice did not; what was reported had happened."""
    done: dict[str, Counter[tuple[str, str, int]]] = {}
    for file in ("add", "pay"):
        lines = (line.split() for line in (effects / file).read_text().splitlines())
        done[file] = Counter((run, step, int(attempt)) for run, step, attempt in lines)
    assert max(done["pay"].values()) == 1, "a payment happened twice"
    assert max(Counter(run for run, _, _ in done["pay"]).values()) == 1, "a run paid twice"
    assert {run for run, _, _ in done["add"]} <= runs
    assert set(reports) <= set(done["add"]) | set(done["pay"])


async def check_replicas(nc: Client) -> None:
    """Everything that AgentFlow keeps is kept three times."""
    found = await nc.jsm().streams_info()
    assert {info.config.name: info.config.num_replicas for info in found if info.config.num_replicas != 3} == {}
    assert {subjects.EVENTS_STREAM, subjects.LEASE_STREAM} < {info.config.name for info in found}


async def test_nothing_is_lost_or_doubled_in_half_a_minute(tmp_path: Path) -> None:
    await play(tmp_path, 300, SEED, rate=15.0, pace_s=1.5)


@pytest.mark.slow
async def test_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    await play(tmp_path, RUNS, SEED, rate=40.0, pace_s=2.0)
