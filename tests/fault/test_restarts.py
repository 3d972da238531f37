"""Every server that the platform rests on restarts in turn, gracefully and with kill -9, while runs go on.

Afterwards every question is answered and every run is complete; meanwhile no service said for more than WRONG_S_MAX
that it was ready when it was not, or the other way round.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import secrets
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from agentflow_common import tasks
from agentflow_common.connections.nats_client import connect
from agentflow_common.embedded.nats import NatsServer
from agentflow_common.embedded.postgres import PostgresServer
from tests.support.chaos import is_healthy
from tests.support.clickhouse_server import ClickHouseServer
from tests.support.cluster import ClusterNode, NatsCluster
from tests.support.waiting import until

from .killing import Processes
from .truth import SERVICES, Runs, Truth, unanswered

pytestmark = [
    pytest.mark.integration,
    pytest.mark.fault,
    # nats-py forgets the writer of a connection whose server accepted it and said nothing
    pytest.mark.filterwarnings("ignore:.*StreamWriter.__del__:pytest.PytestUnraisableExceptionWarning"),
]

WRONG_S_MAX = 5.0
BESIDE_OTHERS_S_MAX = 15.0  # of the short tests, which share the processors with other tests: wall time says less there
PACE_S = 2.0  # between submissions: they go on for as long as servers restart
AWAY_S = 3.0  # longer than readiness takes to notice
ENDS_S_MAX = 240.0
NEED_POSTGRES = ("gateway", "prompt", "security", "cost")
NEED_CLICKHOUSE = ("trace",)
Work = Callable[[], object]
Outage = tuple[Work, Work, Sequence[str]]  # what stops a server, what starts it, the services that need it


class Hands:
    """One thread that starts and stops servers: a child ends with the thread that started it."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)

    async def do(self, work: Work) -> None:
        await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        self._pool.shutdown()


@pytest.fixture
def hands() -> Iterator[Hands]:
    found = Hands()
    yield found
    found.close()


@pytest.fixture
async def postgres(hands: Hands) -> AsyncIterator[PostgresServer]:
    """In a folder that another pytest session does not tidy away."""
    with tempfile.TemporaryDirectory(prefix="agentflow-pg-", ignore_cleanup_errors=True) as folder:
        server = PostgresServer(Path(folder) / "data")
        await hands.do(server.start)
        yield server
        await hands.do(server.stop)


class Platform:
    """The seven services, what is true of them, and a connection past them."""

    def __init__(self, processes: Processes, nc: Client, runs: Runs, truth: Truth, effects: Path) -> None:
        self.processes = processes
        self.nc = nc
        self.runs = runs
        self.truth = truth
        self._effects = effects

    async def play(self, total: int, restart_all: Callable[[], Any], wrong_s_max: float) -> None:
        """Submits runs for as long as the servers restart; then all must end well.

        wrong_s_max: how long readiness may differ from the truth.
        """
        watching = asyncio.create_task(self.truth.watch())
        work: list[asyncio.Task[None]] = []
        try:
            work.append(asyncio.create_task(restart_all()))
            work.append(asyncio.create_task(self._submit(total, work[0])))
            for task in work:
                await task
            self.processes.check()
            await until(self._all_done, ENDS_S_MAX, "runs stand still")
            await until(self._all_ready, what="not every service is ready again")
        except BaseException:
            print("\n".join(self.truth.story[-200:]))
            raise
        finally:
            await tasks.stop([watching, *work])
        if not watching.cancelled():
            watching.result()
        self.processes.check()
        assert await unanswered(self.nc) == {}
        self._check_effects()
        print(f"\n{total} runs; answers {dict(self.runs.codes)}; wrong for s: {self.truth.wrong_s}")
        late = {name: seconds for name, seconds in self.truth.wrong_s.items() if seconds > wrong_s_max}
        assert late == {}, "\n".join(self.truth.story)

    async def _submit(self, total: int, restarting: asyncio.Task[None]) -> None:
        batch = 4
        for number in range(0, total, batch):
            await self.runs.submit_all(min(batch, total - number), 0.05)
            if not restarting.done():
                await asyncio.sleep(PACE_S)

    async def _all_done(self) -> bool:
        self.processes.check()
        return not await self.runs.unfinished()

    async def _all_ready(self) -> bool:
        for service in SERVICES:
            if not await self.truth.answers(service):
                return False
        return True

    def _check_effects(self) -> None:
        done = {
            file: Counter(line.split()[0] for line in (self._effects / file).read_text().splitlines())
            for file in ("add", "pay")
        }
        assert set(done["pay"]) == self.runs.ids
        assert max(done["pay"].values()) == 1, "a payment happened twice"
        assert set(done["add"]) == self.runs.ids


@contextlib.asynccontextmanager
async def platform(
    folder: Path, known_url: str, whole_url: str, env: Mapping[str, str], replicas: int
) -> AsyncIterator[Platform]:
    """known_url: what the services know of NATS. whole_url: all of it, for the test."""
    effects, key = folder / "effects", secrets.token_hex(16)
    effects.mkdir()
    more: dict[str, object] = {
        **env,
        "API_KEY": key,
        "AGENTFLOW_VAULT_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
        "AGENTFLOW_REPLICAS": replicas,
        "EFFECTS_FOLDER": effects,
        "WORKER_LOAD": Path(__file__).with_name("effects.py"),
        "WORKER_CONCURRENCY": 20,
    }
    with Processes(folder, SERVICES, known_url, **more) as processes:
        ports = {name: await processes.ports(name) for name in SERVICES}
        nc = await connect(whole_url, "truth")
        runs = Runs(ports["gateway"]["grpc"], key)
        truth = Truth(nc, runs, {name: found["http"] for name, found in ports.items()})
        try:
            await runs.submit_all(1, 0.0)
            yield Platform(processes, nc, runs, truth, effects)
        finally:
            await runs.close()
            await nc.close()


async def _restart_nodes(hands: Hands, nc: Client, plan: Sequence[tuple[ClusterNode, str]]) -> None:
    """No second one before the nodes have the same log again: three replicas stand the loss of one."""
    for node, how in plan:
        await until(partial(is_healthy, nc), what="the cluster's replicas do not come together")
        await hands.do({"retired": node.retire, "stopped": node.stop, "killed": node.kill}[how])
        await asyncio.sleep(AWAY_S)
        await hands.do(node.start)
    await until(partial(is_healthy, nc), what="the cluster's replicas do not come together")


async def _nats(
    tmp_path: Path, hands: Hands, postgres: PostgresServer, total: int, hows: Sequence[str], wrong_s_max: float
) -> None:
    cluster = NatsCluster(tmp_path / "nats", password=secrets.token_hex(12))
    await hands.do(cluster.start)
    try:
        plan = [(node, how) for how in hows for node in cluster.nodes]
        env = {**postgres.env(), "CLICKHOUSE_PATH": str(tmp_path / "clickhouse")}
        known = cluster.nodes[0].url
        async with platform(tmp_path, known, cluster.url, env, len(cluster.nodes)) as stand:
            await stand.play(total, partial(_restart_nodes, hands, stand.nc, plan), wrong_s_max)
    finally:
        await hands.do(cluster.stop)


async def test_cluster_01_runs_outlive_each_server_of_nats_of_which_one_is_known(
    tmp_path: Path, hands: Hands, postgres: PostgresServer
) -> None:
    await _nats(tmp_path, hands, postgres, 40, ["killed"], BESIDE_OTHERS_S_MAX)


@pytest.mark.slow
async def test_cluster_01_200_runs_outlive_every_server_of_nats_restarting_twice_each_way(
    tmp_path: Path, hands: Hands, postgres: PostgresServer
) -> None:
    await _nats(tmp_path, hands, postgres, 200, ["retired", "killed", "stopped", "killed"], WRONG_S_MAX)


async def _restart_stores(hands: Hands, truth: Truth, plan: Sequence[Outage]) -> None:
    """Keeps each away for a while, and until every service that needs it has said so."""
    for stop, start, needed_by in plan:
        await hands.do(stop)
        await asyncio.sleep(AWAY_S + WRONG_S_MAX)
        await until(
            lambda names=needed_by: truth.shows(names, ready=False), what=f"{needed_by} say that they are ready"
        )
        await hands.do(start)
        await until(lambda: truth.shows(SERVICES, ready=True), what="not every service is ready again")


async def _stores(
    tmp_path: Path, hands: Hands, postgres: PostgresServer, total: int, rounds: int, wrong_s_max: float
) -> None:
    nats = NatsServer(tmp_path / "nats", token=secrets.token_hex(12))
    clickhouse = ClickHouseServer(tmp_path / "clickhouse")
    await hands.do(nats.start)
    await hands.do(clickhouse.start)
    try:
        plan: list[Outage] = [
            (postgres.stop, postgres.start, NEED_POSTGRES),
            (clickhouse.stop, clickhouse.start, NEED_CLICKHOUSE),
            (postgres.kill, postgres.start, NEED_POSTGRES),
            (clickhouse.kill, clickhouse.start, NEED_CLICKHOUSE),
        ]
        env = {**postgres.env(), **clickhouse.env}
        async with platform(tmp_path, nats.url, nats.url, env, 1) as stand:
            await stand.play(total, partial(_restart_stores, hands, stand.truth, plan * rounds), wrong_s_max)
    finally:
        await hands.do(clickhouse.stop)
        await hands.do(nats.stop)


async def test_cluster_01_runs_outlive_postgresql_and_clickhouse(
    tmp_path: Path, hands: Hands, postgres: PostgresServer
) -> None:
    await _stores(tmp_path, hands, postgres, 40, 1, BESIDE_OTHERS_S_MAX)


@pytest.mark.slow
async def test_cluster_01_200_runs_outlive_postgresql_and_clickhouse_restarting_twice_each_way(
    tmp_path: Path, hands: Hands, postgres: PostgresServer
) -> None:
    await _stores(tmp_path, hands, postgres, 200, 2, WRONG_S_MAX)
