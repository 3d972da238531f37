"""Schedulers and workers as real processes on a JetStream cluster, and what can happen to them: kill -9, SIGSTOP, cuts.

Every service reaches every node, and every node every other, by a link of its own (links.py), so that any of them can
be cut off alone. All chance comes from the caller's random generator.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import nats.errors
from nats.aio.client import Client
from nats.js import api
from nats.js.errors import APIError

from agentflow_common import subjects
from agentflow_common.embedded import processes
from agentflow_common.runtime.service import connect
from tests.support.cluster import NatsCluster
from tests.support.links import Link, Links
from tests.support.waiting import until

log = logging.getLogger(__name__)
NODES: Final = 3
HEALTHY_S_MAX: Final = 60.0


class ServiceProcess:
    """`python -m agentflow_<service>`, started again by whoever killed it."""

    def __init__(self, name: str, service: str, folder: Path, env: Mapping[str, str], links: Sequence[Link]) -> None:
        self.name = name
        self.links = list(links)
        self.run_dir = folder / name
        self.log_file = folder / f"{name}.log"
        self._service = service
        self._env = {
            **os.environ,
            **env,
            "NATS_URL": ",".join(f"nats://{link.address}" for link in links),
            "AGENTFLOW_REPLICAS": str(len(links)),
            "AGENTFLOW_RUN_DIR": str(self.run_dir),
            "WORKER_ID": name,
            "LOG_LEVEL": "INFO",
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log_file.open("ab") as output:
            self.process = processes.spawn(
                [sys.executable, "-m", f"agentflow_{self._service}"], env=self._env, output=output
            )

    def signal(self, signum: int) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signum)

    def kill(self) -> None:
        if self.process is not None:
            self.check()
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        if self.process is None:
            return 0
        self.signal(signal.SIGCONT)
        code = processes.stop(self.process, timeout_s=20.0)
        self.process = None
        return code

    def check(self) -> None:
        """A service that ends by itself is a bug of its own."""
        if self.process is not None and self.process.poll() is not None:
            tail = self.log_file.read_text(errors="replace")[-3000:]
            raise AssertionError(f"{self.name} ended by itself with {self.process.returncode}:\n{tail}")


class ClusterStack:
    """Three nodes and the services of `services` (`{"scheduler-a": "scheduler", ...}`), not started."""

    def __init__(self, folder: Path, services: Mapping[str, str], env: Mapping[str, str]) -> None:
        self.links = Links()
        self._folder = folder
        self._names = dict(services)
        self._env = dict(env)
        self.services: dict[str, ServiceProcess] = {}
        self.cluster: NatsCluster
        self.routes: dict[tuple[int, int], Link] = {}

    def __enter__(self) -> Self:
        self.links.__enter__()
        nowhere = self.links.add(lambda: 0)  # what a node tells of itself: others keep to their own links
        nowhere.reset()
        for i, j in itertools.permutations(range(NODES), 2):
            self.routes[i, j] = self.links.add(partial(self._route_port, j))
        self.cluster = NatsCluster(
            self._folder / "nats",
            NODES,
            routes=lambda i: [link.address for (a, _), link in self.routes.items() if a == i],
            advertise=nowhere.address,
        )
        self._nowhere = nowhere
        self.cluster.start()
        for name, service in self._names.items():
            self.add(name, service)
        return self

    def add(self, name: str, service: str) -> ServiceProcess:
        links = [self.links.add(partial(self._client_port, i)) for i in range(NODES)]
        made = self.services[name] = ServiceProcess(name, service, self._folder, self._env, links)
        return made

    def heal(self) -> None:
        for link in self.links.all:
            if link is not self._nowhere:
                link.heal()

    def _route_port(self, node: int) -> int:
        return self.cluster.nodes[node].cluster_port

    def _client_port(self, node: int) -> int:
        return self.cluster.nodes[node].port

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.heal()
        for service in self.services.values():
            service.signal(signal.SIGKILL)
            service.stop()
        self.cluster.stop()
        self.links.__exit__(kind, error, tb)

    async def connect(self) -> Client:
        """A connection past the links, for the test itself."""
        return await connect(self.cluster.url, "test")

    def node_links(self, node: int) -> list[Link]:
        return [link for pair, link in self.routes.items() if node in pair]


class Chaos:
    """Faults until `end`: no second node before the nodes have the same log again (three replicas stand the loss of
    one), services at any time. `faults` counts them by kind."""

    def __init__(self, stack: ClusterStack, nc: Client, rng: random.Random, pace_s: float) -> None:
        self._stack = stack
        self._nc = nc
        self._rng = rng
        self._pace_s = pace_s
        self._ending = asyncio.Event()
        self._busy: set[str] = set()
        self.faults: Counter[str] = Counter()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._nodes())
            for _ in range(2):
                group.create_task(self._services())

    def end(self) -> None:
        """What is broken is mended when its time comes, within seconds; nothing more is broken."""
        self._ending.set()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ending.wait()

    async def _nodes(self) -> None:
        rng = self._rng
        while not self._ending.is_set():
            await self._pause(rng.uniform(0.5, 2.0) * self._pace_s)
            await self.healthy()
            if self._ending.is_set():
                return
            index = rng.randrange(NODES)
            node = self._stack.cluster.nodes[index]
            kind = rng.choice(["node kill -9", "node SIGSTOP", "node isolated", "route cut", "all routes cut"])
            for_s = rng.choice([0.2, 1.0, 3.0, 7.0])
            log.info("%s n%d for %.1f s", kind, index, for_s)
            self.faults[kind] += 1
            if kind == "node kill -9":
                node.kill()
                await self._pause(for_s)
                node.start()
            elif kind == "node SIGSTOP":
                node.pause()
                await self._pause(for_s)
                node.resume()
            else:
                other = (index + rng.choice([1, 2])) % NODES
                links = self._stack.node_links(index)
                if kind == "all routes cut":  # no quorum: nothing is accepted, so nothing may be lost
                    links = list(self._stack.routes.values())
                elif kind == "route cut":
                    links = [self._stack.routes[index, other], self._stack.routes[other, index]]
                await self._cut(links, for_s)

    async def _services(self) -> None:
        rng = self._rng
        while not self._ending.is_set():
            await self._pause(rng.uniform(0.2, 2.0) * self._pace_s)
            free = [name for name in self._stack.services if name not in self._busy]
            if self._ending.is_set() or not free:
                continue
            service = self._stack.services[rng.choice(free)]
            kind = rng.choice(["kill -9", "kill -9", "SIGSTOP", "cut", "reset", "cut from a node", "slow"])
            for_s = rng.choice([0.0, 0.3, 1.0, 4.0, 8.0])
            log.info("%s %s for %.1f s", kind, service.name, for_s)
            self.faults[f"{service.name.partition('-')[0]} {kind}"] += 1
            self._busy.add(service.name)
            try:
                await self._hurt(service, kind, for_s)
            finally:
                self._busy.discard(service.name)

    async def _hurt(self, service: ServiceProcess, kind: str, for_s: float) -> None:
        if kind == "kill -9":
            service.kill()
            await self._pause(for_s)
            service.start()
        elif kind == "SIGSTOP":
            service.signal(signal.SIGSTOP)
            await self._pause(for_s)
            service.signal(signal.SIGCONT)
        elif kind == "cut from a node":
            await self._cut([self._rng.choice(service.links)], for_s)
        elif kind == "slow":
            for link in service.links:
                link.delay_s = 0.03
            await self._pause(for_s)
            for link in service.links:
                link.delay_s = 0.0
        else:
            await self._cut(service.links, for_s, reset=kind == "reset")

    async def _cut(self, links: Sequence[Link], for_s: float, *, reset: bool = False) -> None:
        for link in links:
            (link.reset if reset else link.cut)()
        await self._pause(for_s)
        for link in links:
            link.heal()

    async def healthy(self) -> None:
        """Waits until `is_healthy`."""
        await until(self._is_healthy, HEALTHY_S_MAX, "the cluster's replicas do not come together")

    async def _is_healthy(self) -> bool:
        return await is_healthy(self._nc)


async def is_healthy(nc: Client) -> bool:
    """True if every stream and every durable consumer of events has a leader, and replicas as far as it."""
    try:
        groups = [info.cluster for info in await nc.jsm().streams_info()]
        consumers = await nc.jsm().consumers_info(subjects.EVENTS_STREAM)
    except (nats.errors.Error, APIError, TimeoutError):
        return False
    groups += [info.cluster for info in consumers if info.config.durable_name]
    return all(group is not None and _is_whole(group) for group in groups)


def _is_whole(group: api.ClusterInfo) -> bool:
    peers = group.replicas or []
    return bool(group.leader) and len(peers) == NODES - 1 and all(p.current and not p.offline for p in peers)
