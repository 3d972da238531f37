"""Runs that new files start: a real scheduler, gateway, worker, NATS and PostgreSQL; nobody runs the steps."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from agentflow.v1 import schedule_pb2 as pb
from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_gateway.schedules import commands
from agentflow_worker.settings import WorkerSettings
from agentflow_worker.tools.buckets import open_bucket
from tests.support.agentctl import AgentCtlInThread, configure
from tests.support.engine import working
from tests.support.gateway_schedules import SchedulesUnderTest
from tests.support.waiting import until

pytestmark = pytest.mark.integration


@pytest.fixture
async def inbox(schedules: SchedulesUnderTest, nats_url: str, tmp_path: Path) -> AsyncIterator[Path]:
    """A folder that a worker may read."""
    folder = tmp_path / "roots" / "inbox"
    folder.mkdir(parents=True)
    async with working(nats_url, file_roots=(tmp_path / "roots",), pools=("nobody",)):
        yield folder


async def watch(schedules: SchedulesUnderTest, **more: Any) -> None:
    files = {"folder": "inbox", "pattern": "*.txt", "settle": 0, "every": "1s", **more.pop("files", {})}
    inputs = more.pop("inputs", {"text": "{{trigger.payload.path}}", "limit": "{{trigger.payload.size}}"})
    await schedules.create(cron=(), overlap="allow", trigger={"files": files}, inputs=inputs, **more)


async def taken(schedules: SchedulesUnderTest, count: int) -> list[tuple[str, int]]:
    """What the runs were started with, once there are so many."""
    state = await schedules.until(lambda state: state.number >= count)
    assert state.number == count and not state.skipped
    runs = [await schedules.submitted(fire.child) for fire in state.recent]
    return sorted((run.inputs.value["text"], run.inputs.value["limit"]) for run in runs)


async def looked_twice(schedules: SchedulesUnderTest) -> Any:
    """How far the schedule has read, after another look."""
    await until(lambda: _looked(schedules))
    before = (await schedules.get()).watch.looked_at

    async def later() -> Any:
        found = (await schedules.get()).watch
        return found if found.looked_at > before else None

    return await until(later)


async def test_each_new_or_changed_file_is_one_run(schedules: SchedulesUnderTest, inbox: Path) -> None:
    (inbox / "before.txt").write_text("1")
    await watch(schedules)
    await until(lambda: _looked(schedules))
    (inbox / "a.txt").write_text("12")
    (inbox / "b.md").write_text("not asked for")
    assert await taken(schedules, 1) == [("inbox/a.txt", 2)]
    (inbox / "a.txt").write_text("123")  # changed
    (inbox / "c.txt").write_text("1234")
    (inbox / "before.txt").write_text("12345")
    expected = [("inbox/a.txt", 2), ("inbox/a.txt", 3), ("inbox/before.txt", 5), ("inbox/c.txt", 4)]
    assert await taken(schedules, 4) == expected
    (inbox / "a.txt").chmod(0o600)  # changed for the system, but the same version
    (inbox / "c.txt").rename(inbox / "moved.md")
    (inbox / "moved.md").rename(inbox / "c.txt")
    found = await looked_twice(schedules)
    assert (found.kind, found.taken, found.refused, found.waiting, found.HasField("error")) == ("file", 4, 0, 0, False)
    assert (await schedules.state()).number == 4
    run = await schedules.submitted((await schedules.state()).recent[0].child)
    assert run.tags["schedule"] == "nightly"


async def _looked(schedules: SchedulesUnderTest) -> bool:
    return bool((await schedules.get()).watch.looked_at)


async def test_files_that_were_there_may_be_taken_too(schedules: SchedulesUnderTest, inbox: Path) -> None:
    count = 120  # more than may wait in the schedule's inbox
    for number in range(count):
        (inbox / f"{number:03}.txt").write_text("x")
    await watch(schedules, files={"existing": "take"})
    state = await schedules.until(lambda state: state.number == count)
    assert not state.skipped
    found = await looked_twice(schedules)
    assert (found.taken, (await schedules.state()).number) == (count, count)


async def test_a_file_that_grows_is_not_taken(schedules: SchedulesUnderTest, inbox: Path) -> None:
    await watch(schedules, files={"settle": "4s"})
    await until(lambda: _looked(schedules))
    growing = inbox / "growing.txt"
    for size in range(1, 5):
        with growing.open("a") as file:
            file.write("x")
        os.utime(growing, (1, 1))  # as a copy that keeps the time of its original
        await looked_twice(schedules)
        assert (await schedules.state()).number == 0, size
    assert await taken(schedules, 1) == [("inbox/growing.txt", 4)]


async def test_a_pause_loses_nothing_and_one_run_at_a_time_is_kept_to(
    schedules: SchedulesUnderTest, inbox: Path
) -> None:
    files = {"folder": "inbox", "settle": 0, "every": "1s"}
    inputs = {"text": "{{trigger.payload.name}}"}
    await schedules.create(cron=(), overlap="buffer_all", trigger={"files": files}, inputs=inputs)
    await until(lambda: _looked(schedules))
    for name in ("a", "b", "c"):
        (inbox / name).write_text(name)
    state = await schedules.until(lambda state: len(state.inbox) == 2)
    assert [active.child for active in state.active.values()] == [state.recent[0].child]
    assert (await schedules.get()).watch.waiting == 2
    await schedules.call("PauseSchedule", pb.PauseScheduleRequest(name="nightly"))
    (inbox / "d").write_text("d")
    await schedules.cancel_run(state.recent[0].child)
    await schedules.until(lambda state: not state.active)
    assert (await schedules.state()).number == 1
    await schedules.call("ResumeSchedule", pb.ResumeScheduleRequest(name="nightly"))
    for number in (2, 3, 4):
        state = await schedules.until(lambda state, n=number: state.number == n)
        await schedules.submitted(state.recent[-1].child)
        await schedules.cancel_run(state.recent[-1].child)
    texts = [(await schedules.submitted(fire.child)).inputs.value["text"] for fire in state.recent]
    assert texts == ["a", "b", "c", "d"] and not (await schedules.state()).skipped


async def test_what_was_seen_outlives_its_memory(schedules: SchedulesUnderTest, inbox: Path) -> None:
    """Without what the gateway remembers, the ids of triggers and runs still make each version one run."""
    await watch(schedules, files={"existing": "take"})
    (inbox / "a.txt").write_text("1")
    await taken(schedules, 1)
    state = await schedules.state()
    async with schedules.gateway.store.pool.acquire() as connection:
        await connection.execute("DELETE FROM source_items")
        await connection.execute("UPDATE sources SET position = ''")
    (inbox / "b.txt").write_text("12")
    assert await taken(schedules, 2) == [("inbox/a.txt", 1), ("inbox/b.txt", 2)]
    await looked_twice(schedules)
    assert (await schedules.state()).number == 2
    events = await schedules.gateway.context.log.read(subjects.run_in(commands.key_of("default", "nightly")))
    asked = [event.id for stored in events if isinstance(event := ev.decode(stored.data), ev.ScheduleTriggered)]
    assert len(set(asked)) == 2
    assert state.uid == (await schedules.state()).uid


async def test_a_folder_that_may_not_be_read_is_told(schedules: SchedulesUnderTest, inbox: Path) -> None:
    await watch(schedules, files={"folder": "/etc"})

    async def told() -> Any:
        watch = (await schedules.get()).watch
        return watch if watch.HasField("error") else None

    found = await until(told)
    assert (found.error.type, found.taken) == ("path_outside_roots", 0)
    spec = {"folder": "inbox", "settle": 0, "every": "1s", "existing": "take"}
    (inbox / "a").write_text("x")
    plain = {
        "name": "nightly",
        "workflow": "report",
        "overlap": "allow",
        "inputs": {"text": "{{trigger.payload.path}}"},
    }
    source = pb.ScheduleSource(text=json.dumps({**plain, "trigger": {"files": spec}}))
    await schedules.call("UpdateSchedule", pb.UpdateScheduleRequest(source=source))
    await schedules.until(lambda state: state.number == 1)
    found = await looked_twice(schedules)
    assert (found.HasField("error"), found.taken) == (False, 1)
    await schedules.call("DeleteSchedule", pb.DeleteScheduleRequest(name="nightly"))


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


async def test_each_new_object_of_a_bucket_is_one_run(schedules: SchedulesUnderTest, nats_url: str, s3: str) -> None:
    import httpx

    settings: dict[str, Any] = {"s3_endpoint": s3, "s3_access_key_id": "k", "s3_secret_access_key": "s"}
    async with working(nats_url, pools=("nobody",), **settings), httpx.AsyncClient() as client:
        await client.put(f"{s3}/invoices")
        store = open_bucket("s3://invoices", WorkerSettings(**settings), "x")
        await store.put_async("2030/old.txt", b"1")
        files = {"folder": "", "bucket": "s3://invoices", "pattern": "2030/*.txt", "existing": "take"}
        text = "{{trigger.payload.bucket}} {{trigger.payload.key}}"
        await watch(schedules, files=files, inputs={"text": text, "limit": "{{trigger.payload.size}}"})
        assert await taken(schedules, 1) == [("s3://invoices 2030/old.txt", 1)]
        await store.put_async("2030/new.txt", b"12")
        await store.put_async("2031/else.txt", b"12")
        await store.put_async("2030/old.txt", b"123")
        assert await taken(schedules, 3) == [
            ("s3://invoices 2030/new.txt", 2),
            ("s3://invoices 2030/old.txt", 1),
            ("s3://invoices 2030/old.txt", 3),
        ]


async def test_every_client_says_how_far_a_schedule_has_read(
    schedules: SchedulesUnderTest, inbox: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    await watch(schedules, files={"existing": "take"})
    (inbox / "a.txt").write_text("1")
    await taken(schedules, 1)
    await looked_twice(schedules)
    gateway = schedules.gateway
    async with gateway.client() as client:
        found = (await client.schedules.get("nightly")).watch
        assert found is not None
        assert (found.kind, found.taken, found.refused, found.waiting, found.error) == ("file", 1, 0, 0, None)
        (listed,) = (await client.schedules.list()).schedules
        assert listed.watch is None
    configure(monkeypatch, tmp_path, gateway.endpoint, gateway.key)
    shown = (await AgentCtlInThread("schedule")("get", "nightly")).stdout
    assert "1 taken" in shown and "files inbox/*.txt" in shown
