"""kill -9 of everything that takes new files and rows: none is lost, and none starts two runs."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import nats
import pytest

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.log.event_log import EventLog
from agentflow_sdk import AsyncClient
from tests.support.row_sources import TABLE, dsn_of
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
        API_PORT=0, API_KEY=KEY, DEFAULT_ORG_ID="test", AGENTFLOW_FILE_ROOTS=str(tmp_path / "roots"),
        AGENTFLOW_TRIGGER_DATABASES=json.dumps({"shop": dsn_of(db_env)}), **db_env,
    ) as started:  # fmt: skip
        yield started


FILES_TRIGGER: dict[str, Any] = {
    "files": {"folder": "inbox", "pattern": "*.txt", "settle": 0, "every": "1s", "existing": "take"}
}
ROWS_TRIGGER: dict[str, Any] = {
    "rows": {"database": "shop", "table": "orders", "every": "1s", "notify": "orders", "existing": "take"}
}


async def make(processes: Processes, trigger: dict[str, Any]) -> None:
    path, etag = ("path", "etag") if "files" in trigger else ("row.customer", "key")
    spec: dict[str, Any] = {
        "name": "inbox", "workflow": "report", "overlap": "allow", "trigger": trigger,
        "inputs": {"path": f"{{{{trigger.payload.{path}}}}}", "etag": f"{{{{trigger.payload.{etag}}}}}"},
    }  # fmt: skip
    async with AsyncClient(f"127.0.0.1:{(await processes.ports('gateway'))['grpc']}", KEY) as client:
        await client.workflows.register(WORKFLOW)
        await client.schedules.create(spec)


async def submitted(log: EventLog) -> Counter[tuple[str, str]]:
    """The inputs of all runs, and how many runs have each of them."""
    found: Counter[tuple[str, str]] = Counter()
    for stored in await log.read(subjects.ALL_INS):
        event = ev.decode(stored.data)
        if isinstance(event, ev.RunSubmitted):
            value = event.inputs.value
            found[value["path"], value["etag"]] += 1
    return found


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

    try:
        await make(processes, FILES_TRIGGER)
        for number in range(ROUNDS):
            for file in range(FILES):
                put(f"{number}-{file}.txt", file + 1)
            if not number:
                await until(lambda: submitted(log))
            await asyncio.sleep(2 * chance.random())  # anywhere within a look
            processes.kill(chance.choice(["gateway", "gateway", "worker", "scheduler"]))

        async def all_there() -> bool:
            return set(await submitted(log)) >= expected

        await until(all_there, 4 * PATIENCE_S)
        for file in range(3):
            put(f"0-{file}.txt", 100)  # a new version of a file that was taken
        processes.kill("gateway")
        await until(all_there, 4 * PATIENCE_S)
        await asyncio.sleep(3)  # two more looks
        assert await submitted(log) == Counter(expected), "a version of a file started two runs"
    finally:
        await nc.close()


async def test_each_row_is_one_run_however_often_processes_die(
    processes: Processes, nats_url: str, db_env: dict[str, str]
) -> None:
    chance = random.Random(SEED)
    nc = await nats.connect(nats_url)
    log = EventLog(nc)
    await log.start()
    shop = await asyncpg.connect(dsn_of(db_env))
    await shop.execute(TABLE)
    over = asyncio.Event()

    async def write(seed: int) -> None:
        """Transactions that overlap, and some that are undone."""
        draws = random.Random(seed)
        connection = await asyncpg.connect(dsn_of(db_env))
        number = 0
        while not over.is_set():
            transaction = connection.transaction()
            await transaction.start()
            for _ in range(draws.randrange(1, 4)):
                number += 1
                await connection.execute("INSERT INTO orders (customer) VALUES ($1)", f"c{seed}-{number}")
                await asyncio.sleep(draws.random() / 2)
            await (transaction.commit() if draws.random() < 0.8 else transaction.rollback())
        await connection.close()

    try:
        await make(processes, ROWS_TRIGGER)
        writers = [asyncio.create_task(write(seed)) for seed in range(3)]
        await until(lambda: submitted(log))
        for _ in range(ROUNDS):
            await asyncio.sleep(3 * chance.random())
            processes.kill(chance.choice(["gateway", "gateway", "worker", "scheduler"]))
        over.set()
        await asyncio.gather(*writers)
        expected = Counter({(row["customer"], str(row["id"])): 1 for row in await shop.fetch("SELECT * FROM orders")})

        async def all_there() -> bool:
            return set(await submitted(log)) >= set(expected)

        await until(all_there, 4 * PATIENCE_S)
        processes.kill("gateway")
        await asyncio.sleep(5)
        assert await submitted(log) == expected, "a row started two runs"
    finally:
        await shop.close()
        await nc.close()
