"""The gateway is killed with -9 in the middle of a batch: repeated, the batch gives each run one retry and no other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats
import pytest

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.log.event_log import Entry, EventLog
from agentflow_sdk import AgentFlowError, AsyncClient
from tests.support.waiting import until

from .killing import Processes

pytestmark = [pytest.mark.integration, pytest.mark.fault]

KEY = "kill-test-" + "2" * 32
RUNS = 250  # more than two pages
DEFINITION = "name: one\ndag: {nodes: [{id: a, type: function, config: {function_name: noop}}]}\n"


@pytest.fixture
def gateway(nats_url: str, db_env: dict[str, str], tmp_path: Path) -> Iterator[Processes]:
    with Processes(tmp_path, ("gateway",), nats_url, API_PORT=0, API_KEY=KEY, **db_env) as started:
        yield started


async def _client(gateway: Processes) -> AsyncClient:
    return AsyncClient(f"127.0.0.1:{(await gateway.ports('gateway'))['grpc']}", KEY)


async def _failed_runs(client: AsyncClient, log: EventLog) -> set[str]:
    """Runs that failed, as a scheduler would have left them."""
    runs = {(await client.workflows.submit(DEFINITION)).run_id for _ in range(RUNS)}
    for run in runs:
        key = subjects.key_of("default", run)
        first = await log.last(subjects.run_in(key))
        assert first is not None
        at: dict[str, Any] = {"org": "default", "run": run, "ts": 2, "seen": first.seq}
        error = ev.StepError("broken", "it broke", retryable=False)
        started = ev.RunStarted(**at, workflow="one", version=1, steps=1, submitted_at=1)
        await log.append(Entry(subjects.out_run(key), ev.encode(started)))
        await log.append(Entry(subjects.out_run(key), ev.encode(ev.RunFailed(**at, error=error))))

    async def listed() -> bool:
        return len(await client.workflows.list(status="failed", limit=1000)) == RUNS

    await until(listed)
    return runs


async def test_a_batch_that_was_killed_is_repeated_without_a_second_retry(gateway: Processes, nats_url: str) -> None:
    nc = await nats.connect(nats_url)
    log = EventLog(nc)
    await log.start()
    client = await _client(gateway)
    runs = await _failed_runs(client, log)
    options: dict[str, Any] = {"status": "failed", "workflow": "one", "error_type": "broken", "execute": True}
    seen: list[int] = []

    async def until_killed() -> None:
        async for progress in client.workflows.batch("retry", **options):
            seen.append(progress.done)
            if progress.done:
                gateway.kill("gateway")

    with pytest.raises(AgentFlowError):
        await until_killed()
    assert 0 < seen[-1] < RUNS
    await client.close()
    client = await _client(gateway)
    done = [progress async for progress in client.workflows.batch("retry", **options)]
    assert (done[-1].done, done[-1].failed, done[-1].finished) == (RUNS, 0, True)
    created = {old: new for progress in done for old, new in progress.created.items()}
    assert set(created) == runs
    stored = await log.read(subjects.ALL_INS)
    origins = [
        event.origin.run
        for item in stored
        if isinstance(event := ev.decode(item.data), ev.RunSubmitted) and event.origin is not None
    ]
    assert sorted(origins) == sorted(runs), "one retry each, those before the kill included"
    await client.close()
    await nc.close()
