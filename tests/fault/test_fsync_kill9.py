"""kill -9 of worker, scheduler and nats-server under `fsync`, where decisions and reports share atomic batches: every
run ends, every step is offered, reported and done once, and all that was acknowledged is in the log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import nats
import pytest

from agentflow_common.definition.parse import parse_dict
from agentflow_common.log.event_log import EventLog
from agentflow_common.runs.state import RunStatus
from tests.support import servers

from .killing import Processes, Told, drive, submit

pytestmark = [pytest.mark.integration, pytest.mark.fault, pytest.mark.slow]

RUNS = 200
CHAIN = 10


@pytest.fixture
def server(tmp_path: Path) -> Iterator[servers.NatsLike]:
    server = servers.nats(tmp_path / "nats", "fsync")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def processes(tmp_path: Path, server: servers.NatsLike) -> Iterator[Processes]:
    (tmp_path / "counted").mkdir()
    with Processes(
        tmp_path,
        ("scheduler", "worker"),
        server.url,
        AGENTFLOW_DURABILITY="fsync",
        COUNTER_FOLDER=tmp_path / "counted",
        WORKER_LOAD=Path(__file__).with_name("counter.py"),
        AGENTFLOW_ACK_WAIT_S=2,
        SCHEDULER_SNAPSHOT_EVERY=300,
    ) as started:
        yield started


def chain() -> dict[str, Any]:
    config = {"tool_name": "counter.add"}
    nodes = [{"id": f"s{i}", "type": "tool", "config": {**config, "tool_args": {"n": i}}} for i in range(CHAIN)]
    edges = [{"from": f"s{i}", "to": f"s{i + 1}"} for i in range(CHAIN - 1)]
    return parse_dict({"name": "chain", "dag": {"nodes": nodes, "edges": edges}}).canonical()


async def test_kill_9_under_fsync(processes: Processes, server: servers.NatsLike, tmp_path: Path) -> None:
    def kill_server() -> None:
        server.kill()
        server.start()

    nc = await nats.connect(server.url, max_reconnect_attempts=-1, reconnect_time_wait=0.1)
    log = EventLog(nc)
    await log.start()
    await processes.ready()
    definition = chain()
    runs = set(await asyncio.gather(*(submit(log, definition) for _ in range(RUNS))))
    strikes: list[Callable[[], None]] = [
        partial(processes.kill, "worker"),
        partial(processes.kill, "scheduler"),
        kill_server,
    ] * 2
    seen = await drive(log, processes, runs, RUNS * CHAIN, strikes)  # what a reader was given was acknowledged

    told = await Told.by(log)
    for stored in told.stored:
        assert seen.pop(stored.seq, stored.data) == stored.data
    assert not seen, "nothing that was read is gone"
    assert len(told.offers) == len(told.reports) == RUNS * CHAIN, "and no attempt was a second one"
    assert set(told.states) == runs
    assert {state.status for state in told.states.values()} == {RunStatus.COMPLETED}
    assert len(list((tmp_path / "counted").iterdir())) == RUNS * CHAIN
    await nc.close()
