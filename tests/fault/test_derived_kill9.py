"""kill -9 of trace service, scheduler and nats-server at any moment: no event is lost or doubled in ClickHouse, and the
derived tables are a fold of the log."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import nats
import nats.errors
import pytest

from agentflow_common import ids, rpc
from agentflow_common.definition.parse import parse_dict
from agentflow_common.errors import AgentFlowError
from agentflow_common.log.event_log import EventLog
from agentflow_common.log.streams import ensure_streams
from agentflow_common.rpc.bus import call
from agentflow_trace.settings import TraceSettings
from tests.support import derived, servers

from .killing import Processes, drive, submit

pytestmark = [pytest.mark.integration, pytest.mark.fault]

CHAIN = 10
STEPS_PER_KILL = 150
RUN_EVERY_S = 0.02  # what is written while a service starts is read soon after the last kill


@pytest.fixture
def server(tmp_path: Path) -> Iterator[servers.NatsLike]:
    server = servers.nats(tmp_path / "nats")
    server.start()
    yield server
    server.stop()


def _processes(folder: Path, server: servers.NatsLike, *names: str) -> Processes:
    (folder / "counted").mkdir()
    return Processes(
        folder,
        names,
        server.url,
        COUNTER_FOLDER=folder / "counted",
        WORKER_LOAD=Path(__file__).with_name("counter.py"),
        AGENTFLOW_ACK_WAIT_S=2,
        SCHEDULER_SNAPSHOT_EVERY=300,
        TRACE_BATCH_AGE_MS=30,
        CLICKHOUSE_PATH=folder / "clickhouse",
    )


def _killed(server: servers.NatsLike) -> None:
    server.kill()
    server.start()


async def _log(server: servers.NatsLike) -> EventLog:
    nc = await nats.connect(server.url, max_reconnect_attempts=-1, reconnect_time_wait=0.1)
    await ensure_streams(nc)
    log = EventLog(nc)
    await log.start()
    return log


async def _check(log: EventLog, folder: Path, processes: Processes) -> derived.Tables:
    last = await log.last_seq()
    await derived.reached(log.nc, last)
    counts = await call(log.nc, rpc.TRACE_COUNTS, rpc.TraceCountsRequest())
    assert counts.rows == counts.distinct == counts.last_seq == last
    processes.kill("trace", again=False)
    return await derived.check(TraceSettings(clickhouse_path=str(folder / "clickhouse")), log)


@pytest.mark.parametrize("kills", [3, pytest.param(120, marks=pytest.mark.slow)])
async def test_trace_and_nats_server_are_killed_while_runs_are_written(
    server: servers.NatsLike, tmp_path: Path, kills: int
) -> None:
    chance = random.Random(f"{kills} derived")
    log = await _log(server)
    stop = asyncio.Event()

    async def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            run = ids.new_run_id() if number % 5 else ids.run_id_for_key("acme", str(number))
            for entry in derived.a_run(run, derived.TS + number, ended=number % 3 > 0):
                while True:
                    with contextlib.suppress(nats.errors.Error, AgentFlowError, OSError, TimeoutError):
                        async with asyncio.timeout(2.0):
                            await (await log.publish(entry))
                        break
                    await asyncio.sleep(0.05)
            await asyncio.sleep(RUN_EVERY_S)

    with _processes(tmp_path, server, "trace") as processes:
        writing = asyncio.create_task(write())
        for _ in range(kills):
            await processes.ready()
            await asyncio.sleep(chance.uniform(0, 0.5))
            if chance.random() < 0.25:
                _killed(server)
            else:
                processes.kill("trace")
        stop.set()
        await writing
        await processes.ready()
        found = await _check(log, tmp_path, processes)
    assert len(found.runs) >= kills
    assert found.calls and found.costs
    await log.nc.close()


def _chain() -> dict[str, Any]:
    nodes = [
        {"id": f"s{i}", "type": "tool", "config": {"tool_name": "counter.add", "tool_args": {"n": i}}}
        for i in range(CHAIN)
    ]
    edges = [{"from": f"s{i}", "to": f"s{i + 1}"} for i in range(CHAIN - 1)]
    return parse_dict({"name": "chain", "dag": {"nodes": nodes, "edges": edges}}).canonical()


@pytest.mark.parametrize("kills", [5, pytest.param(80, marks=pytest.mark.slow)])
async def test_trace_scheduler_and_nats_server_are_killed_while_runs_go_on(
    server: servers.NatsLike, tmp_path: Path, kills: int
) -> None:
    chance = random.Random(f"{kills} derived")
    log = await _log(server)
    with _processes(tmp_path, server, "scheduler", "worker", "trace") as processes:
        await processes.ready()
        definition = _chain()
        count = kills * STEPS_PER_KILL // CHAIN
        runs = set(await asyncio.gather(*(submit(log, definition) for _ in range(count))))

        def kill_server() -> None:
            """Kills the server, or a service that is about to start: without a server it would end by itself."""
            starts = next((name for name in processes.names if not any((tmp_path / name).glob("*.json"))), "")
            if starts:
                processes.kill(starts)
            else:
                _killed(server)

        possible: list[Callable[[], None]] = [
            kill_server,
            partial(processes.kill, "trace"),
            partial(processes.kill, "scheduler"),
        ]
        strikes = possible + [chance.choice(possible) for _ in range(kills - len(possible))]
        await drive(log, processes, runs, count * CHAIN, strikes)
        await processes.ready()
        found = await _check(log, tmp_path, processes)
    assert {run.run for run in found.runs} == runs
    assert {run.status for run in found.runs} == {"completed"}
    assert len(found.steps) == count * CHAIN
    await log.nc.close()
