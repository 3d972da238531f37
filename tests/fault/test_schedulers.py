"""Schedulers that join, leave, die, hang and are cut off: others serve their shards soon, and nothing is doubled.

Each test prints how long it took.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import nats
import pytest

from agentflow_common import events as ev
from agentflow_common import ids, subjects
from agentflow_common.definition.parse import parse_dict
from agentflow_common.embedded.nats import NatsServer
from agentflow_common.log.event_log import Entry, EventLog, Fence
from agentflow_common.log.streams import ensure_streams
from agentflow_common.runs.fold import RunFold
from agentflow_common.runs.state import RunStatus
from agentflow_scheduler.shards.leases import Holder
from tests.support.attempts import begun_by, singly
from tests.support.chaos import ServiceProcess
from tests.support.links import Links
from tests.support.waiting import PATIENCE_S, until

pytestmark = [pytest.mark.integration, pytest.mark.fault]

HALF = subjects.SHARDS // 2
STEPS = 6


class Fleet:
    """Schedulers and a worker as processes on one server, each by a link of its own."""

    def __init__(self, folder: Path, server: NatsServer, links: Links, log: EventLog) -> None:
        self.folder = folder
        self.log = log
        self._links = links
        self._server = server
        self.processes: dict[str, ServiceProcess] = {}
        (folder / "effects").mkdir()
        self._env = {
            "EFFECTS_FOLDER": str(folder / "effects"),
            "WORKER_LOAD": str(Path(__file__).with_name("effects.py")),
            "WORKER_CONCURRENCY": "200",
        }

    def start(self, name: str, service: str = "scheduler") -> ServiceProcess:
        link = self._links.add(lambda: self._server.port)
        made = self.processes[name] = ServiceProcess(name, service, self.folder, self._env, [link])
        made.start()
        return made

    def pid(self, name: str) -> int:
        process = self.processes[name].process
        return process.pid if process is not None else 0

    async def held(self) -> Counter[int]:
        """How many leases each process holds, by its pid."""
        found: Counter[int] = Counter()
        for stored in await self.log.read(subjects.ALL_LEASES, stream=subjects.LEASE_STREAM):
            key = stored.subject.removeprefix(subjects.LEASE_PREFIX)
            if stored.data and not key.startswith(subjects.lease_member("")):
                found[Holder(**json.loads(stored.data)).pid] += 1
        return found

    async def lasting_leases(self) -> None:
        """From now on leases do not age out while a test runs: who takes one over was told that it is free."""
        config = (await self.log.nc.jsm().stream_info(subjects.LEASE_STREAM)).config
        await self.log.nc.jsm().update_stream(config.evolve(max_age=10 * PATIENCE_S))

    async def until_held(self, wanted: dict[str, int], timeout_s: float = PATIENCE_S) -> float:
        """Waits until these schedulers, and no others, hold so many shards. Seconds that it took."""
        began = time.monotonic()

        async def there() -> bool:
            for process in self.processes.values():
                process.check()
            return await self.held() == Counter({self.pid(name): count for name, count in wanted.items()})

        await until(there, timeout_s, f"shards are not held as {wanted}")
        return time.monotonic() - began

    def recovered(self, name: str) -> list[int]:
        """How many shards each recovery of a scheduler was of, from its log."""
        lines = (json.loads(line) for line in self.processes[name].log_file.read_text().splitlines() if line[:1] == "{")
        return [line["shards"] for line in lines if line["message"] == "recovered"]

    # --- work ---

    async def submit(self, count: int) -> list[str]:
        """Chains of tools that take no time; the middle one must not happen twice."""
        tools = ["effects.pay" if i == STEPS // 2 else "effects.add" for i in range(STEPS)]
        nodes = [
            {"id": f"s{i}", "type": "tool", "config": {"tool_name": tool, "tool_args": {"n": i and f"s{i - 1}.output"}}}
            for i, tool in enumerate(tools)
        ]
        edges = [{"from": f"s{i}", "to": f"s{i + 1}"} for i in range(STEPS - 1)]
        definition = parse_dict({"name": "chain", "dag": {"nodes": nodes, "edges": edges}}).canonical()
        runs = [ids.new_run_id() for _ in range(count)]
        futures = []
        for run in runs:
            event = ev.RunSubmitted(org="test", run=run, ts=1, workflow="chain", version=1, definition=definition)
            futures.append(
                await self.log.publish(
                    Entry(subjects.run_in(subjects.key_of("test", run)), ev.encode(event), fence=Fence(0))
                )
            )
        await asyncio.gather(*futures)
        return runs

    async def check(self, runs: list[str], timeout_s: float = 3 * PATIENCE_S) -> None:
        """All complete, each attempt offered and reported once, the log folds to it, no payment twice."""

        async def all_ended() -> bool:
            facts = [ev.decode(stored.data) for stored in await self.log.read(subjects.ALL_RUN_DECISIONS)]
            return sum(isinstance(event, ev.TERMINAL_RUN) for event in facts) >= len(runs)

        await until(all_ended, timeout_s, "the runs do not end")
        found = [(ev.decode(s.data), s.seq) for s in await self.log.read(subjects.ALL_EVENTS)]
        offers = Counter((e.run, *attempt) for e, _ in found for attempt in begun_by(e))
        done = [e for e in singly(e for e, _ in found) if isinstance(e, ev.StepCompleted)]
        reports = Counter((e.run, e.step, e.attempt) for e in done)
        ends = Counter(e.run for e, _ in found if isinstance(e, ev.TERMINAL_RUN))
        assert set(ends) == set(runs)
        for counted, total in ((ends, len(runs)), (offers, len(runs) * STEPS), (reports, len(runs) * STEPS)):
            assert (len(counted), max(counted.values())) == (total, 1)
        folds = {run: RunFold() for run in runs}
        for event, seq in found:
            folds[event.run].add(event, seq)
        states = [fold.finish() for fold in folds.values()]
        assert {state.status for state in states if state is not None} == {RunStatus.COMPLETED}
        assert None not in states
        paid = Counter((self.folder / "effects" / "pay").read_text().splitlines())
        assert (len(paid), max(paid.values())) == (len(runs), 1)


@pytest.fixture
def links() -> Iterator[Links]:
    with Links() as links:
        yield links


@pytest.fixture
async def fleet(tmp_path: Path, links: Links) -> AsyncIterator[Fleet]:
    with NatsServer(tmp_path / "nats") as server:
        nc = await nats.connect(server.url)
        log = EventLog(nc)
        await log.start()
        await ensure_streams(nc)
        fleet = Fleet(tmp_path, server, links, log)
        fleet.start("worker", "worker")
        yield fleet
        for process in fleet.processes.values():
            process.signal(signal.SIGKILL)
        for process in fleet.processes.values():
            process.stop()
        await nc.close()


async def test_who_joins_gets_a_share_and_who_stops_gives_it_back(fleet: Fleet) -> None:
    await fleet.lasting_leases()
    fleet.start("a")
    await fleet.until_held({"a": subjects.SHARDS})
    runs = await fleet.submit(300)
    fleet.start("b")
    joined_s = await fleet.until_held({"a": HALF, "b": HALF})
    runs += await fleet.submit(300)
    began = time.monotonic()
    assert fleet.processes.pop("a").stop() == 0
    await fleet.until_held({"b": subjects.SHARDS})
    left_s = time.monotonic() - began
    await fleet.check(runs)
    assert sum(fleet.recovered("b")) == subjects.SHARDS, "what it held was not recovered again"
    print(f"\nfrom start to an even spread {joined_s:.1f} s; from SIGTERM to takeover {left_s:.1f} s")


async def test_the_shards_of_a_killed_scheduler_are_taken_at_once(fleet: Fleet) -> None:
    await fleet.lasting_leases()
    fleet.start("a")
    fleet.start("b")
    await fleet.until_held({"a": HALF, "b": HALF})
    runs = await fleet.submit(200)
    await fleet.check(runs)  # every shard is served, so what a scheduler holds it has recovered
    before = sum(fleet.recovered("b"))  # all of them, if it was there first
    runs += await fleet.submit(600)
    fleet.processes.pop("a").kill()
    killed_s = await fleet.until_held({"b": subjects.SHARDS})
    await fleet.check(runs)
    assert sum(fleet.recovered("b")) == before + HALF, "what it held was not recovered again"
    print(f"\nfrom kill -9 to takeover {killed_s:.1f} s")


async def test_a_scheduler_that_hung_is_replaced_and_steps_back_when_it_wakes(fleet: Fleet) -> None:
    await _replaced_and_back(fleet, "SIGSTOP", lambda p: p.signal(signal.SIGSTOP), lambda p: p.signal(signal.SIGCONT))


async def test_a_scheduler_that_was_cut_off_is_replaced_and_steps_back(fleet: Fleet) -> None:
    await _replaced_and_back(fleet, "a cut", lambda p: p.links[0].cut(), lambda p: p.links[0].heal())


async def _replaced_and_back(
    fleet: Fleet, what: str, hurt: Callable[[ServiceProcess], None], repair: Callable[[ServiceProcess], None]
) -> None:
    """It is hit amid the work, so it wakes with decisions that it has not written: the fence refuses them."""
    fleet.start("a")
    fleet.start("b")
    await fleet.until_held({"a": HALF, "b": HALF})
    runs = await fleet.submit(600)
    hurt(fleet.processes["a"])
    replaced_s = await fleet.until_held({"b": subjects.SHARDS})
    await fleet.check(runs)
    repair(fleet.processes["a"])
    back_s = await fleet.until_held({"a": HALF, "b": HALF})
    runs += await fleet.submit(300)
    await fleet.check(runs)
    print(f"\nfrom {what} to takeover {replaced_s:.1f} s; from its end to an even spread {back_s:.1f} s")


async def test_many_schedulers_share_evenly_and_the_rest_stand_by(fleet: Fleet) -> None:
    """Three of 16 hold 5, 5 and 6; whoever leaves, the others stay even."""
    for name in "abc":
        fleet.start(name)

    async def even(names: str) -> bool:
        held = await fleet.held()
        counts = sorted(held[fleet.pid(name)] for name in names)
        return held.total() == sum(counts) == subjects.SHARDS and counts[-1] - counts[0] <= 1

    await until(lambda: even("abc"), what="three schedulers do not share evenly")
    runs = await fleet.submit(300)
    fleet.processes.pop("b").kill()
    await until(lambda: even("ac"), what="two schedulers do not share evenly")
    await fleet.check(runs)
