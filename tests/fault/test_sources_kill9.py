"""kill -9 of everything that takes new files: no file is lost, and none starts two runs."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats
import pytest

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.log.event_log import EventLog
from agentflow_sdk import AsyncClient
from tests.support.waiting import PATIENCE_S, until

from .killing import Processes

pytestmark = [pytest.mark.integration, pytest.mark.fault]

SEED = 20261201
ROUNDS = 5
FILES = 12  # of each round
KEY = "kill-test-" + "2" * 32
WORKFLOW = """\
name: report
version: 1
inputs: {path: {type: string}, etag: {type: string}}
dag:
  nodes:
    - {id: pause, type: wait, config: {duration: 1h}}
"""


@pytest.fixture
def processes(tmp_path: Path, nats_url: str, db_env: dict[str, str]) -> Iterator[Processes]:
    (tmp_path / "roots" / "inbox").mkdir(parents=True)
    with Processes(
        tmp_path, ("scheduler", "gateway", "worker", "security"), nats_url,
        API_PORT=0, API_KEY=KEY, DEFAULT_ORG_ID="test", AGENTFLOW_FILE_ROOTS=str(tmp_path / "roots"), **db_env,
    ) as started:  # fmt: skip
        yield started


async def make(processes: Processes) -> None:
    spec: dict[str, Any] = {
        "name": "inbox", "workflow": "report", "overlap": "allow",
        "trigger": {"files": {"folder": "inbox", "pattern": "*.txt", "settle": 0, "every": "1s", "existing": "take"}},
        "inputs": {"path": "{{trigger.payload.path}}", "etag": "{{trigger.payload.etag}}"},
    }  # fmt: skip
    async with AsyncClient(f"127.0.0.1:{(await processes.ports('gateway'))['grpc']}", KEY) as client:
        await client.workflows.register(WORKFLOW)
        await client.schedules.create(spec)


async def test_each_version_of_a_file_is_one_run_however_often_processes_die(
    processes: Processes, nats_url: str, tmp_path: Path
) -> None:
    chance = random.Random(SEED)
    nc = await nats.connect(nats_url)
    log = EventLog(nc)
    await log.start()
    inbox = tmp_path / "roots" / "inbox"
    expected: set[tuple[str, str]] = set()

    def put(name: str, size: int) -> None:
        draft = inbox / f"{name}.part"
        draft.write_text("x" * size)
        found = draft.rename(inbox / name).stat()
        expected.add((f"inbox/{name}", f"{found.st_size:x}-{found.st_mtime_ns:x}"))

    async def submitted() -> Counter[tuple[str, str]]:
        found: Counter[tuple[str, str]] = Counter()
        for stored in await log.read(subjects.ALL_INS):
            event = ev.decode(stored.data)
            if isinstance(event, ev.RunSubmitted):
                value = event.inputs.value
                found[value["path"], value["etag"]] += 1
        return found

    try:
        await make(processes)
        for number in range(ROUNDS):
            for file in range(FILES):
                put(f"{number}-{file}.txt", file + 1)
            if not number:
                await until(submitted)
            await asyncio.sleep(2 * chance.random())  # anywhere within a look
            processes.kill(chance.choice(["gateway", "gateway", "worker", "scheduler"]))

        async def all_there() -> bool:
            return set(await submitted()) >= expected

        await until(all_there, 4 * PATIENCE_S)
        for file in range(3):
            put(f"0-{file}.txt", 100)  # a new version of a file that was taken
        processes.kill("gateway")
        await until(all_there, 4 * PATIENCE_S)
        await asyncio.sleep(3)  # two more looks
        assert await submitted() == Counter(expected), "a version of a file started two runs"
    finally:
        await nc.close()
