"""One seed: schedulers and workers (their real `app`) on the simulated server, faults for a while, then peace."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import random
from collections import Counter
from contextvars import copy_context
from types import SimpleNamespace
from typing import Any

import agentflow_scheduler.app
import agentflow_worker.app
from afsim import checker, detached, finals, joins, locks, maps, rich, run_lanes, sends, timeouts, workload
from afsim.breakpoints import Debugger
from afsim.client import Client, Network
from afsim.loop import PROCESS, Process, SimLoop, Stuck
from afsim.mistakes import twisted
from afsim.people import People
from afsim.server import Server
from afsim.shell import SimClock, scheduler_settings, small_engine, worker_settings
from afsim.together import Quick
from afsim.workload import Effects
from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.definition.parse import parse_dict
from agentflow_common.events import Payload
from agentflow_common.runtime.service import Context
from agentflow_common.subjects import EntityKey

FAULTS_S = 25.0  # virtual seconds of trouble
SETTLE_S = 240.0  # virtual seconds of peace within which everything must end
QUIET_S = 14.0  # and then nothing may happen any more, late deliveries included
SLOTS = ("scheduler-a", "scheduler-b", "worker-a", "worker-b")
CONCURRENCY = 6
CHANGES = (
    maps.with_items, maps.with_inner_maps, joins.with_races, sends.with_sends, timeouts.with_paths,
    detached.with_detached, finals.with_last_nodes, run_lanes.with_lane, run_lanes.with_given,
    locks.with_locks,
)  # fmt: skip


class World:
    """plain: half of the seeds run only workflows of plain and parallel steps, in which old bugs are found fast."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.plain = seed % 2 == 0
        self.rng = random.Random(seed)
        self.loop = SimLoop(random.Random(seed ^ 0x5EED))
        self.server = Server(self.loop)
        self.server.listeners = []  # type: ignore[attr-defined]
        self.server.on_get = self._on_get  # type: ignore[attr-defined]
        self.network = Network(random.Random(seed ^ 0xCAFE))
        self.quick = Quick(seed)
        self.effects = Effects(seed, costs=not self.plain, quick=self.quick.on)
        self.processes: dict[str, Process] = {}
        self.clients: dict[str, Client] = {}
        self.engines: dict[str, Any] = {}
        self.executors: list[Any] = []
        self.runs: dict[EntityKey, None] = {}  # all that were submitted, by anybody
        self.others: dict[EntityKey, None] = {}  # lanes and schedules
        self.people = People(self)
        self.debugger = Debugger(self)
        self.server.on_append = self._on_append  # type: ignore[attr-defined]
        self.violations: list[str] = []
        self.probes = 0
        self.in_chains = 0  # steps that a worker went on with by itself
        self._generation = 0
        self.healed_at = 0.0
        self.faults: Counter[str] = Counter()

    def fail(self, text: str) -> None:
        if text not in self.violations:
            self.violations.append(text)

    # --- processes ---

    def start(self, slot: str) -> None:
        self._generation += 1
        process = self.processes[slot] = Process(f"{slot}-{self._generation}")
        process.clock_ms = self.rng.choice([0, 0, 0, -1500, 40, 3000])
        client = self.clients[slot] = Client(self.server, self.network, process, self._generation)
        context = copy_context()
        context.run(PROCESS.set, process)
        main = self._scheduler(process, client) if slot.startswith("scheduler") else self._worker(process, client)
        self.loop.create_task(self._life(slot, process, main), context=context)

    async def _life(self, slot: str, process: Process, main: Any) -> None:
        """A service that ends by itself is started again, as every supervisor does."""
        try:
            await main
        except Exception as error:
            if not checker.is_weather(error):
                self.fail(f"{slot} ended: {type(error).__name__}: {error}")
        finally:
            process.alive = False
        if not self.loop.draining:
            self.loop.call_later(0.3, self._again, slot, process, context=self.outside)

    def _again(self, slot: str, process: Process) -> None:
        if self.processes[slot] is process and not process.alive and not self.loop.draining:
            self.start(slot)

    def _context(self, name: str, settings: Any, process: Process, client: Client) -> Context[Any]:
        health: Any = SimpleNamespace(set_part=lambda *_: None, fail=lambda _: None, alive=True)
        context: Context[Any] = Context(name, settings, client, health)
        probes: Any = SimpleNamespace(add=lambda *_, **__: None)
        context.probes = probes
        context.clock = SimClock(self.server, process)
        return context

    async def _scheduler(self, process: Process, client: Client) -> None:
        settings = scheduler_settings().model_copy()
        settings.snapshot_every = 12
        if not self.plain:
            settings.window_steps = (2, 5, 4_000)[self.seed // 2 % 3]
        settings.chain_steps = (32, 4, 1)[self.seed // 4 % 3]
        settings.durability = "fsync" if self.seed % 3 == 0 else "default"
        context = self._context("scheduler", settings, process, client)
        await context.log.start()
        async with agentflow_scheduler.app.app(context):
            await context.stopping.wait()

    async def _worker(self, process: Process, client: Client) -> None:
        settings = worker_settings().model_copy()
        settings.worker_id = process.name
        settings.reports_together = self.quick.on
        settings.concurrency = CONCURRENCY
        settings.durability = "fsync" if self.seed % 3 == 0 else "default"
        settings.ack_wait_s = 4.0
        settings.step_timeout_s_max = 60.0
        context = self._context("worker", settings, process, client)
        await context.log.start()
        self.server.listeners.append(client)  # type: ignore[attr-defined]
        async with agentflow_worker.app.app(context):
            await context.stopping.wait()

    def crash(self, slot: str) -> None:
        self.processes[slot].alive = False
        with contextlib.suppress(ValueError):
            self.server.listeners.remove(self.clients[slot])  # type: ignore[attr-defined]

    def _on_get(self, writer: str, name: str, data: bytes) -> None:
        """A scheduler that reads a snapshot knows the decisions in it."""
        if name.startswith("shard-"):
            checker.learn_snapshot(self.server, writer, name, data)

    # --- workload ---

    def _on_append(self, message: Any) -> None:
        key = subjects.parse(message.subject)
        if key is not None and message.subject.endswith(".in"):
            if key.name.startswith("run_"):
                self.runs.setdefault(key)
            else:
                self.others.setdefault(key)
        if not self.plain:
            self.people.read(message)
        self.debugger.read(message)

    def submit(self, key: EntityKey, definition: dict[str, Any], **more: Any) -> None:
        event = ev.RunSubmitted(
            org="o", run=key.name, ts=self.server.now_ms(), workflow=definition["name"], version=1,
            definition=definition, inputs=Payload(value={"go": True} if "go" in definition.get("inputs", ()) else {}),
            trace="00-" + "a" * 32 + "-" + "b" * 16 + "-01", **more,
        )  # fmt: skip
        self.server.append(subjects.run_in(key), ev.encode(event), "gateway")

    def _submit_plain(self, index: int) -> None:
        found = parse_dict(twisted(workload.definition(self.rng), 0.05))
        key = subjects.key_of("o", f"run_{index}")
        deadline_ms = self.rng.choice([None, None, 2_000, 15_000])
        self.submit(key, found.canonical(), deadline_ms=deadline_ms, **self.debugger.fields(key, found))
        if self.rng.random() < 0.25:
            cancel = ev.RunCancelRequested(org="o", run=key.name, ts=self.server.now_ms(), reason="enough")
            after = self.rng.choice([0.0, 0.01, 0.5, 5.0, 30.0])
            self.loop.call_later(after, lambda: self.server.append(subjects.run_in(key), ev.encode(cancel), "gateway"))

    def _submit_rich(self, index: int) -> None:
        made = twisted(rich.definition(self.rng), 0.12)
        for changed in CHANGES:  # each draws by itself
            made = changed(self.seed, index, made)
        found = parse_dict(made)
        key = subjects.key_of("o", f"run_{index}")
        self.submit(
            key, found.canonical(), deadline_ms=self.rng.choice([None, None, None, 15_000]),
            definitions=run_lanes.children(self.seed, rich.CHILDREN), priority=self.rng.choice([0, 0, 1]),
            **self.debugger.fields(key, found),
        )  # fmt: skip
        self.people.bother(key)

    # --- faults ---

    def trouble(self) -> None:
        rng = self.rng
        slot = rng.choice(SLOTS)
        process, client = self.processes[slot], self.clients[slot]
        kind = rng.choice(
            ["crash", "crash", "crash", "pause", "pause", "cut", "clock", "lease", "consumer", "redeliver", "redeliver"]
        )
        self.faults[kind] += 1
        if kind in {"crash", "pause"}:
            if process.alive and not process.paused and not process.fuse:
                process.blow = functools.partial(
                    self._hit, kind, slot, process, rng.choice([0.01, 1.0, 3.0, 7.0, 12.0])
                )
                process.fuse = rng.randint(1, 80)
        elif kind == "cut":
            client.cut_until = self.loop.time() + rng.choice([0.05, 1.0, 6.0, 9.0])
        elif kind == "clock":
            process.clock_ms += rng.choice([-30_000, -2_000, 2_000, 60_000])
        elif kind == "lease":
            shard = rng.randrange(subjects.SHARDS)
            self.server.kv.pop(f"{subjects.LEASE_BUCKET}/shard.{shard}", None)  # two owners, if the other asks first
        elif kind == "consumer":
            names = [name for name, found in self.server.consumers.items() if not found.ack_wait]
            if names:
                self.server.forget_consumer(rng.choice(names))
        elif kind == "redeliver":
            for consumer in self.server.consumers.values():
                consumer.deadlines = dict.fromkeys(consumer.deadlines, self.loop.time())

    def _hit(self, kind: str, slot: str, process: Process, for_s: float) -> None:
        if self.healed_at or self.processes[slot] is not process or not process.alive:
            return
        if kind == "crash":
            self.crash(slot)
            self.loop.call_later(for_s, self._again, slot, process, context=self.outside)
        else:
            process.paused = True
            self.loop.call_later(for_s, self.loop.resume, process, context=self.outside)

    def weather(self) -> None:
        self.network.lose = self.rng.choice([0.0, 0.0, 0.01, 0.04, 0.1])
        self.network.slow = self.rng.choice([0.0, 0.02, 0.2])
        self.network.slow_s = self.rng.choice([0.05, 1.0, 7.0])

    def heal(self) -> None:
        self.network.lose = self.network.slow = 0.0
        self.healed_at = self.loop.time()
        for slot in SLOTS:
            process = self.processes[slot]
            process.clock_ms = process.fuse = 0
            self.clients[slot].cut_until = 0.0
            if process.paused:
                self.loop.resume(process)
            if not process.alive:
                self.start(slot)

    # --- the seed ---

    async def play(self) -> None:
        self.outside = copy_context()
        for slot in SLOTS:
            self.loop.call_later(self.rng.random(), self.start, slot, context=self.outside)
        await asyncio.sleep(1.5)
        submit = self._submit_plain if self.plain else self._submit_rich
        for index in range(self.rng.randint(1, 6)):
            self.loop.call_later(self.rng.random() * 15, submit, index, context=self.outside)
        self.quick.submit(self)
        if not self.plain:
            self.people.operate()
        end = self.loop.time() + FAULTS_S
        while self.loop.time() < end:
            await asyncio.sleep(self.rng.choice([0.003, 0.1, 0.6, 2.0]))
            if self.rng.random() < 0.5:
                self.trouble()
            if self.rng.random() < 0.3:
                self.weather()
            checker.probe(self)
        self.heal()
        limit = self.loop.time() + SETTLE_S
        quiet_at = self.loop.time()
        while self.loop.time() < quiet_at + QUIET_S:  # a late fire begins another run
            await asyncio.sleep(1.0)
            checker.probe(self)
            if self.violations or self.loop.time() > limit:
                break
            if not checker.all_ended(self):
                quiet_at = self.loop.time()

    def run(self) -> None:
        """Plays the seed and checks it; `violations` says what was wrong."""
        loop = self.loop
        asyncio.set_event_loop(None)
        try:
            loop.run_until_complete(self.play())
        except Stuck as error:
            self.fail(str(error))
        checker.final(self)
        self._drain()

    def _drain(self) -> None:
        """Ends every task quietly, so that nothing of this seed is left for the collector to complain about."""
        loop = self.loop
        loop.draining = True
        loop.steps = 0
        for client in self.server.listeners:  # type: ignore[attr-defined]
            client.closed = True
        for client in self.clients.values():
            client.closed = True
        for process in self.processes.values():
            loop.resume(process)
        loop.revive()
        for _ in range(6):
            open_tasks = [task for task in loop.tasks if not task.done()]
            if not open_tasks:
                break
            for task in open_tasks:
                task.cancel()
            with contextlib.suppress(Stuck):
                loop.run_until_complete(asyncio.sleep(2.0))
        for task in loop.tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            if task.done() and not task.cancelled():
                task.exception()
        loop.tasks.clear()
        loop.close()


def simulate(seed: int) -> World:
    """Plays one seed; its `violations` are empty if all went well."""
    world = World(seed)
    logging.disable(logging.CRITICAL)
    collecting = gc.isenabled()
    gc.disable()
    try:
        with small_engine(world):
            world.run()
    finally:
        logging.disable(logging.NOTSET)
        if collecting:
            gc.enable()
    return world
