"""kill -9 of the gateway under submissions, waits and watches of the SDK: nothing is lost, nothing is doubled."""

from __future__ import annotations

import asyncio
import functools
from collections import Counter
from pathlib import Path
from typing import Any

import nats
import pytest

from agentflow_common import events as ev
from agentflow_common.log.event_log import EventLog
from agentflow_sdk import AsyncClient, RetryPolicy, Run, RunEvent, RunStatus
from tests.support.cluster import free_ports
from tests.support.waiting import until

from .killing import DRIVE_S_MAX, Processes, Told

pytestmark = [pytest.mark.integration, pytest.mark.fault]

KEY = "kill-test-" + "0" * 32
CALLERS = 20
STEPS = 3
PATIENT = RetryPolicy(attempts_max=1000, delay_s_max=0.5)


async def test_nothing_is_lost_or_doubled_when_the_gateway_dies(
    nats_url: str, db_env: dict[str, str], tmp_path: Path
) -> None:
    await runs_under_kills(nats_url, db_env, tmp_path, runs=60, kills=2)


@pytest.mark.slow
async def test_nothing_is_lost_or_doubled_when_the_gateway_dies_again_and_again(
    nats_url: str, db_env: dict[str, str], tmp_path: Path
) -> None:
    await runs_under_kills(nats_url, db_env, tmp_path, runs=3_000, kills=15)


def chain() -> dict[str, Any]:
    nodes = [
        {
            "id": f"s{index}",
            "type": "tool",
            "config": {"tool_name": "counter.add", "tool_args": {"n": f"s{index - 1}.output" if index else "{{n}}"}},
        }
        for index in range(STEPS)
    ]
    edges = [{"from": f"s{index}", "to": f"s{index + 1}"} for index in range(STEPS - 1)]
    return {"name": "chain", "dag": {"nodes": nodes, "edges": edges}}


async def runs_under_kills(nats_url: str, db_env: dict[str, str], folder: Path, runs: int, kills: int) -> None:
    """Starts and follows runs while the gateway is killed, and compares what the clients got with the log."""
    (folder / "counted").mkdir()
    (port,) = free_ports(1)
    environment = {
        **db_env,
        "API_PORT": port,
        "API_KEY": KEY,
        "COUNTER_FOLDER": folder / "counted",
        "WORKER_LOAD": Path(__file__).with_name("counter.py"),
        "WORKER_CONCURRENCY": 100,
    }
    ended: dict[int, Run] = {}
    with Processes(folder, ("scheduler", "worker", "gateway"), nats_url, **environment) as processes:
        await processes.ready()
        async with AsyncClient(f"127.0.0.1:{port}", KEY, timeout=DRIVE_S_MAX, retry=PATIENT) as client:
            await client.workflows.register(chain())
            numbers = iter(range(runs))

            def more_than(least: int) -> bool:
                return len(ended) > least

            async def caller() -> None:
                for number in numbers:
                    ended[number] = await (_watched if number % 3 == 0 else _waited)(client, number)

            async def strikes() -> None:
                for kill in range(1, kills + 1):
                    least = kill * runs // (kills + 2)
                    await until(functools.partial(more_than, least), timeout_s=DRIVE_S_MAX)
                    processes.kill("gateway")
                    await processes.ready()

            async with asyncio.timeout(DRIVE_S_MAX), asyncio.TaskGroup() as group:
                group.create_task(strikes())
                for _ in range(CALLERS):
                    group.create_task(caller())
            assert len(processes.died) == kills
            await _compare(nats_url, ended, runs)

            async def all_listed() -> bool:
                page = await client.workflows.list(status=RunStatus.COMPLETED, limit=min(runs, 100))
                return len(page.runs) == min(runs, 100)

            await until(all_listed)


async def _waited(client: AsyncClient, number: int) -> Run:
    submitted = await client.workflows.submit("chain", {"n": number}, tags={"number": str(number)})
    return await client.workflows.wait(submitted, patience=DRIVE_S_MAX, timeout=DRIVE_S_MAX)


async def _watched(client: AsyncClient, number: int) -> Run:
    submitted = await client.workflows.submit("chain", {"n": number}, tags={"number": str(number)})
    items = client.workflows.watch(submitted, patience=DRIVE_S_MAX, timeout=DRIVE_S_MAX)
    seen = [item async for item in items if isinstance(item, RunEvent)]
    places = [(event.sequence, event.part) for event in seen]
    assert places == sorted(set(places)), "an event came twice or out of order"
    kinds = Counter(event.type for event in seen)
    assert (seen[0].type, seen[-1].type) == ("run.submitted", "run.completed")
    assert kinds["step.completed"] == STEPS
    return await client.workflows.get(submitted)


async def _compare(nats_url: str, ended: dict[int, Run], runs: int) -> None:
    """Compares the answers that the clients got with the log."""
    connection = await nats.connect(nats_url)
    try:
        log = EventLog(connection)
        await log.start()
        told = await Told.by(log)  # it checks that no attempt was offered or reported twice
    finally:
        await connection.close()
    begun = [event for event in told.events if isinstance(event, ev.RunSubmitted)]
    assert Counter(event.tags["number"] for event in begun) == {str(number): 1 for number in range(runs)}
    assert {event.run: int(event.tags["number"]) for event in begun} == {
        run.run_id: number for number, run in ended.items()
    }
    for number, run in ended.items():
        outputs = [step.output for step in run.steps]
        assert (run.status, outputs) == (RunStatus.COMPLETED, [number + 1 + index for index in range(STEPS)])
    assert sum(isinstance(event, ev.TERMINAL_RUN) for event in told.events) == runs
