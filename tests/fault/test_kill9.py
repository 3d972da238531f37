"""kill -9 of scheduler and worker, three times each, under load: nothing is lost and no effect is repeated."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client

from agentflow_common import subjects
from agentflow_common.definition.parse import parse_dict
from agentflow_common.log.event_log import EventLog
from agentflow_common.rpc import TRACE_COUNTS, TraceCountsRequest
from agentflow_common.rpc.bus import call
from agentflow_common.runs.state import RunState, RunStatus, StepStatus
from agentflow_sdk import AsyncClient

from .killing import DRIVE_S_MAX, Processes, Told, drive, submit

pytestmark = [pytest.mark.integration, pytest.mark.fault]

RUNS = 1000
CHAIN = 10
WIDTH = 1000
KILLS = 3
ASKED = 50  # runs whose answer over gRPC is compared
KEY = "kill-test-" + "0" * 32


@pytest.fixture
def processes(tmp_path: Path, nats_url: str, db_env: dict[str, str]) -> Iterator[Processes]:
    (tmp_path / "counted").mkdir()
    with Processes(
        tmp_path,
        ("scheduler", "worker", "trace", "gateway"),
        nats_url,
        API_PORT=0,
        API_KEY=KEY,
        DEFAULT_ORG_ID="test",
        COUNTER_FOLDER=tmp_path / "counted",
        WORKER_LOAD=Path(__file__).with_name("counter.py"),
        WORKER_CONCURRENCY=200,
        AGENTFLOW_ACK_WAIT_S=2,
        CLICKHOUSE_PATH=tmp_path / "clickhouse",
        **db_env,
    ) as started:
        yield started


def chain() -> dict[str, Any]:
    nodes = [
        {
            "id": f"s{i}",
            "type": "tool",
            "config": {"tool_name": "counter.add", "tool_args": {"n": f"s{i - 1}.output"} if i else {"n": 0}},
        }
        for i in range(CHAIN)
    ]
    edges = [{"from": f"s{i}", "to": f"s{i + 1}"} for i in range(CHAIN - 1)]
    return parse_dict({"name": "chain", "dag": {"nodes": nodes, "edges": edges}}).canonical()


def fanout() -> dict[str, Any]:
    each = {"tool_name": "counter.add", "parallel": True, "inputs": {"n": "items.output"}}
    nodes = [
        {"id": "items", "type": "function", "config": {"function_name": "counter.items", "inputs": {"width": WIDTH}}},
        {"id": "each", "type": "tool", "config": each},
    ]
    return parse_dict(
        {"name": "fanout", "dag": {"nodes": nodes, "edges": [{"from": "items", "to": "each"}]}}
    ).canonical()


async def test_kill_9_loses_nothing_and_repeats_no_effect(processes: Processes, nats_url: str, tmp_path: Path) -> None:
    nc = await nats.connect(nats_url)
    log = EventLog(nc)
    await log.start()
    await processes.ready()
    chained, fanned = chain(), fanout()
    runs = await asyncio.gather(*(submit(log, chained) for _ in range(RUNS)), submit(log, fanned))
    strikes = [partial(processes.kill, "worker"), partial(processes.kill, "scheduler")] * KILLS
    await drive(log, processes, set(runs), RUNS * CHAIN + WIDTH, strikes)

    told = await Told.by(log)
    assert set(told.states) == set(runs)
    steps = RUNS * CHAIN + WIDTH + 1
    assert len(told.offers) == len(told.reports) == steps, "each step was offered and reported once: no second attempt"
    for state in told.states.values():
        assert state.status is RunStatus.COMPLETED
        assert {step.status for step in state.steps.values()} == {StepStatus.COMPLETED}
    assert len(list((tmp_path / "counted").iterdir())) == RUNS * CHAIN + WIDTH
    await check_clickhouse(nc, log)
    await check_api((await processes.ports("gateway"))["grpc"], [told.states[run] for run in runs[-ASKED:]])
    await nc.close()


async def check_clickhouse(nc: Client, log: EventLog) -> None:
    """ClickHouse holds exactly the log's events."""
    count = len(await log.read(subjects.ALL_EVENTS))
    async with asyncio.timeout(DRIVE_S_MAX):
        while True:
            counts = await call(nc, TRACE_COUNTS, TraceCountsRequest())
            if counts.last_seq >= count:
                break
            await asyncio.sleep(0.1)
    assert counts.rows == counts.distinct == count == counts.last_seq - counts.first_seq + 1


async def check_api(port: int, states: list[RunState]) -> None:
    """What the API shows is what the log refolds to."""
    async with AsyncClient(f"127.0.0.1:{port}", KEY) as client:
        for state in states:
            shown = await client.workflows.get(state.run)
            assert shown.status == state.status
            assert state.output is not None
            assert shown.output == state.output.value
            assert {s.step: (s.status, s.attempt) for s in shown.steps} == {
                key: (str(step.status), step.attempt) for key, step in state.steps.items()
            }
