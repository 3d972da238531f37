"""kill -9 of scheduler and worker while runs come, are cancelled and end early in run lanes and under locks: never more
at a time than the limit, none starves, no slot leaks."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import nats
import pytest

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.definition.parse import parse_dict
from agentflow_common.lanes.fold import key_of_lane
from agentflow_common.log.event_log import Entry, EventLog
from agentflow_common.runs.fold import RunFold
from tests.support.lanes import folded
from tests.support.waiting import until

from .killing import DRIVE_S_MAX, Processes, lane_processes, submit

pytestmark = [pytest.mark.integration, pytest.mark.fault]

LIMITS: Final = {"one": 1, "two": 2, "three": 3}  # of the run lanes, by key
SHAPES: Final = ("plain", "plain", "early", "again", "undo")
IN_FLIGHT: Final = 40  # runs that have been submitted and have not ended


@pytest.fixture
def processes(tmp_path: Path, nats_url: str) -> Iterator[Processes]:
    with lane_processes(tmp_path, nats_url) as started:
        yield started


def definition(key: str, shape: str) -> dict[str, Any]:
    """A workflow in a run lane, whose middle step is under a lock that all lanes share."""
    hold = {"function_name": "lanes.hold", "inputs": {"key": f"{key}", "seconds": 0.02}}
    nodes: list[dict[str, Any]] = [{"id": name, "type": "function", "config": hold} for name in "abc"]
    edges = [{"from": "a", "to": "b"}, {"from": "b", "to": "c"}]
    if shape == "early":
        nodes.append({"id": "stop", "type": "end", "depends_on": ["b"], "config": {"output": "early"}})
    elif shape == "again":
        following = {"inputs": {"n": "{{n + 1}}"}}
        nodes.append({"id": "next", "type": "continue_as_new", "condition": "n < 2", "depends_on": ["c"],
                      "config": following})  # fmt: skip
    elif shape == "undo":
        nodes[0]["compensate_with"] = {"type": "function", "config": hold}
    return parse_dict(
        {
            "name": "w",
            "inputs": {"n": {"type": "integer"}},
            "run_lane": {"key": key, "limit": LIMITS[key]},
            "lock": {"key": "shared", "nodes": ["b"]},
            "dag": {"nodes": nodes, "edges": edges},
        }
    ).canonical()


class Traffic:
    """Submits runs and cancels some of them, and kills processes on the way."""

    def __init__(self, log: EventLog, processes: Processes, runs: int, kills: int) -> None:
        self.rng = random.Random(runs)
        self.log, self.processes, self.left = log, processes, runs
        self.open: dict[str, None] = {}
        self.ended = 0
        self.kills = [runs * (number + 1) // (kills + 1) for number in range(kills)]

    async def play(self) -> None:
        """Goes on until every run, and the run that continues it, has ended."""
        tail = self.log.tail([subjects.ALL_RUN_DECISIONS])
        async with asyncio.timeout(DRIVE_S_MAX):
            while self.left or self.open:
                self.processes.check()
                while self.left and len(self.open) < IN_FLIGHT:
                    await self._submit()
                for delivery in await tail.batch(0.5):
                    self._heard(ev.decode(delivery.data))
                if self.open and self.rng.random() < 0.2:
                    await self._cancel(self.rng.choice(list(self.open)))
        await tail.stop()
        assert not self.kills, "every kill came while there was work"

    async def _submit(self) -> None:
        key, shape = self.rng.choice(list(LIMITS)), self.rng.choice(SHAPES)
        self.open[await submit(self.log, definition(key, shape), {"n": 1})] = None
        self.left -= 1

    async def _cancel(self, run: str) -> None:
        key = subjects.key_of("test", run)
        event = ev.RunCancelRequested(org="test", run=run, ts=1, reason="enough")
        await self.log.append(Entry(subjects.run_in(key), ev.encode(event)))

    def _heard(self, event: ev.Event) -> None:
        if not isinstance(event, ev.TERMINAL_RUN):
            return
        self.open.pop(event.run, None)
        if following := getattr(event, "continued_as", ""):
            self.open[following] = None
            return
        self.ended += 1
        if self.kills and self.ended >= self.kills[0]:
            del self.kills[0]
            self.processes.kill("worker" if len(self.kills) % 4 == 3 else "scheduler")


async def check_limits(log: EventLog) -> Counter[str]:
    """By the logs of the runs alone, no more of them go on at a time than their lane and the lock allow.

    Returns how the runs ended.
    """
    going: dict[str, set[str]] = {}
    under: set[str] = set()
    lanes: dict[str, str] = {}
    ends: Counter[str] = Counter()
    folds: dict[str, RunFold] = {}
    for item in await log.read(subjects.ALL_EVENTS):
        event = ev.decode(item.data)
        if event.org != "test":
            continue
        folds.setdefault(event.run, RunFold()).add(event, item.seq)
        if isinstance(event, ev.RunSubmitted):
            lanes[event.run] = event.definition["run_lane"]["key"]
        elif isinstance(event, ev.StepScheduled):
            going.setdefault(lanes[event.run], set()).add(event.run)
            assert len(going[lanes[event.run]]) <= LIMITS[lanes[event.run]], f"{lanes[event.run]}: {going}"
            under |= {event.run} if event.step == "b" else set()
            assert len(under) <= 1, f"under the lock at a time: {under}"
        elif isinstance(event, ev.RunUnlocked):
            under.discard(event.run)
        elif isinstance(event, ev.TERMINAL_RUN):
            ends[ev.event_type(event)] += 1
            going.get(lanes[event.run], set()).discard(event.run)
            under.discard(event.run)
    for run, fold in folds.items():
        state = fold.finish()
        assert state is not None, run
        assert state.status.terminal, run
    return ends


async def played(nats_url: str, processes: Processes, runs: int, kills: int) -> Counter[str]:
    nc = await nats.connect(nats_url)
    log = EventLog(nc)
    await log.start()
    await processes.ready()
    await Traffic(log, processes, runs, kills).play()
    for lane in (*(f"run:test:{key}" for key in LIMITS), "lock:test:shared"):
        await until(partial(_is_free, log, lane), what=f"{lane} has not got all slots back")
    ends = await check_limits(log)
    await nc.close()
    return ends


async def _is_free(log: EventLog, lane: str) -> bool:
    key = key_of_lane(lane)
    return folded(key, [(s.seq, ev.decode(s.data)) for s in await log.read(subjects.run_all(key))]).idle


async def test_run_lanes_and_locks_keep_their_limits_through_kill_9(processes: Processes, nats_url: str) -> None:
    ends = await played(nats_url, processes, runs=60, kills=4)
    assert ends["run.failed"] == 0
    assert min(ends["run.completed"], ends["run.cancelled"]) > 5


@pytest.mark.slow
async def test_run_lanes_and_locks_keep_their_limits_through_many_kills(processes: Processes, nats_url: str) -> None:
    ends = await played(nats_url, processes, runs=1_500, kills=40)
    assert ends["run.failed"] == 0
    assert min(ends["run.completed"], ends["run.cancelled"]) > 100
