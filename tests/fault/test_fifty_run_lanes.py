"""Many runs under fifty run lanes, on real servers, with kill -9 of scheduler and worker and cancels at random moments:
never more runs at a time than a lane allows, none starves, no slot leaks."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final

import nats
import pytest

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.definition.parse import parse_dict
from agentflow_common.events import Payload
from agentflow_common.lanes.fold import key_of_lane
from agentflow_common.log.event_log import Entry, EventLog, Fence
from agentflow_common.runs.fold import RunFold
from tests.support.lanes import folded
from tests.support.waiting import until

from .killing import DRIVE_S_MAX, Processes, lane_processes

pytestmark = [pytest.mark.integration, pytest.mark.fault]

LANES: Final = 50
IN_FLIGHT: Final = 300  # runs that have been submitted and have not ended
POLICIES: Final = ("queue",) * 6 + ("skip", "cancel_running", "cancel_newest", "newest_waits")
SHAPES: Final = ("plain", "plain", "plain", "undo", "again", "parent", "parent")


def limit_of(number: int) -> int:
    return 1 + number % 3


@pytest.fixture
def processes(tmp_path: Path, nats_url: str) -> Iterator[Processes]:
    with lane_processes(tmp_path, nats_url, concurrency=200, snapshot_every=2_000) as started:
        yield started


@pytest.fixture
async def log(nats_url: str) -> AsyncIterator[EventLog]:
    nc = await nats.connect(nats_url)
    log = EventLog(nc)
    await log.start()
    yield log
    await nc.close()


@lru_cache
def definition(shape: str, policy: str, limit: int, limit_below: int = 1) -> dict[str, Any]:
    """A workflow whose lane is named by its input `lane`; a parent's subworkflow takes a slot of the lane `below`."""
    hold = {"function_name": "lanes.hold", "inputs": {"key": "{{lane}}", "seconds": 0.01}}
    work: dict[str, Any] = {"id": "a", "type": "function", "config": hold}
    given = {"key": "{{below}}", "limit": limit_below, "policy": policy}
    nodes: dict[str, list[dict[str, Any]]] = {
        "plain": [work],
        "undo": [
            {**work, "compensate_with": {"type": "function", "config": hold}},
            {**work, "id": "b", "depends_on": ["a"]},
        ],
        "again": [
            work,
            {"id": "next", "type": "continue_as_new", "condition": "n < 2", "depends_on": ["a"],
             "config": {"inputs": {"lane": "{{lane}}", "below": "{{below}}", "n": "{{n + 1}}"}}},
        ],
        "parent": [
            {"id": "s", "type": "subworkflow", "policy": {"on_failure": "continue"},
             "config": {"workflow": "child", "inputs": {"lane": "{{below}}"}, "run_lane": given}},
        ],
        "child": [work],
    }  # fmt: skip
    inputs = {"lane": {"type": "string"}, "below": {"type": "string", "required": False}, "n": {"type": "integer"}}
    top: dict[str, Any] = {"inputs": inputs, "run_lane": {"key": "{{lane}}", "limit": limit, "policy": policy}}
    if shape == "child":  # it has the lane that its parent's step gives it, and none of its own
        top = {"inputs": {"lane": {"type": "string"}}}
    return parse_dict({"name": shape, **top, "dag": {"nodes": nodes[shape]}}).canonical()


class Traffic:
    """Submits runs, cancels some of them, and kills a process at random moments."""

    def __init__(self, log: EventLog, processes: Processes, runs: int, kills: int) -> None:
        self.rng = random.Random(runs)
        self.log, self.processes, self.left = log, processes, runs
        self.open: dict[str, None] = {}
        self.ended = 0
        self.kills = sorted(self.rng.sample(range(1, runs * 9 // 10), kills))

    async def play(self, bound_s: float) -> None:
        """Goes on until every run has ended, also those that continue one, and subworkflows."""
        tail = self.log.tail([subjects.ALL_INS, subjects.ALL_RUN_DECISIONS])
        async with asyncio.timeout(bound_s):
            while self.left or self.open:
                self.processes.check()
                room = min(self.left, IN_FLIGHT - len(self.open))
                await asyncio.gather(*(self._submit() for _ in range(room)))
                for delivery in await tail.batch(0.5):
                    self._heard(ev.decode(delivery.data))
                await asyncio.gather(*(self._cancel() for _ in range(self.rng.randrange(3))))
        await tail.stop()
        assert not self.kills, "every kill came while there was work"

    async def _submit(self) -> None:
        rng = self.rng
        shape, policy = rng.choice(SHAPES), rng.choice(POLICIES)
        number = rng.randrange(LANES - 1)
        # The lane of a subworkflow comes after that of its parent, so that no circle of families waits.
        below = rng.randrange(number + 1, LANES)
        run = f"run_{self.left:026d}"
        self.left -= 1
        self.open[run] = None
        raw = definition(shape, policy, limit_of(number), limit_of(below))
        event = ev.RunSubmitted(
            org="test", run=run, ts=1, workflow=shape, version=1, definition=raw,
            inputs=Payload(value={"lane": f"l{number}", "below": f"l{below}", "n": 1}),
            definitions={"child": definition("child", policy, 1)},
        )  # fmt: skip
        await self.log.append(Entry(subjects.run_in(subjects.key_of("test", run)), ev.encode(event), fence=Fence(0)))

    async def _cancel(self) -> None:
        if not self.open:
            return
        run = self.rng.choice(list(self.open))
        force = self.rng.random() < 0.2
        event = ev.RunCancelRequested(org="test", run=run, ts=1, reason="enough", force=force)
        await self.log.append(Entry(subjects.run_in(subjects.key_of("test", run)), ev.encode(event)))

    def _heard(self, event: ev.Event) -> None:
        if isinstance(event, ev.RunSubmitted):
            self.open[event.run] = None
        elif isinstance(event, ev.TERMINAL_RUN):
            self.open.pop(event.run, None)
            self.ended += 1
            while self.kills and self.ended >= self.kills[0]:
                del self.kills[0]
                self.processes.kill(self.rng.choice(["scheduler", "scheduler", "worker"]))


class Told:
    """What the logs of the runs say, event by event: which runs take a slot of a lane, and how they end."""

    def __init__(self) -> None:
        self.takes: dict[str, list[str]] = {}  # by run: its lanes
        self.going: dict[str, set[str]] = {}  # by lane: the runs that have begun a step and not ended
        self.most: Counter[str] = Counter()  # by lane: how many of them there were at a time
        self.ends: Counter[str] = Counter()
        self.folds: dict[str, RunFold] = {}

    def add(self, seq: int, event: ev.Event) -> None:
        self.folds.setdefault(event.run, RunFold()).add(event, seq)
        if isinstance(event, ev.RunSubmitted):
            self.takes[event.run] = [lane for lane in (*event.slots, event.slot) if lane]
        elif isinstance(event, ev.RunQueued):
            self.takes[event.run].append(event.lane)
        elif isinstance(event, ev.StepScheduled | ev.StepWaiting):
            for lane in self.takes[event.run]:
                going = self.going.setdefault(lane, set())
                going.add(event.run)
                self.most[lane] = max(self.most[lane], len(going))
                assert len(going) <= limit_of(int(lane.rpartition("l")[2])), f"{lane}: {going}"
        elif isinstance(event, ev.TERMINAL_RUN):
            for lane in self.takes[event.run]:
                self.going.get(lane, set()).discard(event.run)
            self.ends[ev.event_type(event)] += 1
            error = getattr(event, "error", None)
            self.ends[error.type if error else ""] += 1

    def finish(self) -> None:
        """Every run has ended, and none has a slot."""
        assert not any(self.going.values()), self.going
        for run, fold in self.folds.items():
            state = fold.finish()
            assert state is not None, run
            assert state.status.terminal, f"{run} is {state.status}"


def check_order(events: list[ev.Event]) -> None:
    """Of the runs that wait under every circumstance, who asked a lane first was served first."""
    asked: list[str] = []
    for event in events:
        if isinstance(event, ev.LaneRequested) and event.policy == "queue":
            asked.append(event.holder_run)
        elif isinstance(event, ev.LaneReleased) and event.holder_run in asked:
            asked.remove(event.holder_run)
        elif isinstance(event, ev.LaneGranted) and event.holder_run in asked:
            assert asked[0] == event.holder_run, f"{event.holder_run} was served before {asked[0]}"
            del asked[0]
    assert not asked, f"these starve: {asked[:9]}"


async def _is_free(log: EventLog, lane: str) -> bool:
    key = key_of_lane(lane)
    return folded(key, [(s.seq, ev.decode(s.data)) for s in await log.read(subjects.run_all(key))]).idle


async def played(log: EventLog, processes: Processes, runs: int, kills: int, bound_s: float) -> Told:
    await processes.ready()
    await Traffic(log, processes, runs, kills).play(bound_s)
    told = Told()
    for number in range(LANES):
        lane = f"run:test:l{number}"
        await until(partial(_is_free, log, lane), what=f"{lane} has not got all slots back")
        check_order([ev.decode(item.data) for item in await log.read(subjects.run_all(key_of_lane(lane)))])
    for item in await log.read(subjects.ALL_EVENTS):
        event = ev.decode(item.data)
        if event.org == "test":
            told.add(item.seq, event)
    told.finish()
    assert told.ends["run.failed"] == 0
    return told


async def test_a_few_hundred_runs_under_fifty_run_lanes(processes: Processes, log: EventLog) -> None:
    told = await played(log, processes, 250, 3, DRIVE_S_MAX)
    assert min(told.ends["run.completed"], told.ends["run.cancelled"]) > 5


@pytest.mark.slow
async def test_ten_thousand_runs_under_fifty_run_lanes(processes: Processes, log: EventLog) -> None:
    told = await played(log, processes, 10_000, 40, 1_800.0)
    assert len(told.most) == LANES
    assert [told.most[f"run:test:l{number}"] for number in range(LANES)] == [limit_of(n) for n in range(LANES)]
    for kind in ("run.completed", "run.cancelled", "skipped", "newest_cancelled", "superseded"):
        assert told.ends[kind] > 100, f"{kind} came {told.ends[kind]} times"
