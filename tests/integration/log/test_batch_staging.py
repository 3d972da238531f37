"""Batches staged in memory: whole after a kill of the server, taken out of the log after a loss of power."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats
import pytest

from agentflow_common import subjects
from agentflow_common.embedded import batch_staging
from agentflow_common.embedded.nats import NatsServer
from agentflow_common.errors import AgentFlowError
from agentflow_common.log.event_log import Entry, EventLog
from agentflow_common.log.streams import ensure_streams
from tests.support.waiting import until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not batch_staging._has_ram(), reason="this machine has no RAM disk"),
]


@asynccontextmanager
async def connected(server: NatsServer) -> AsyncIterator[EventLog]:
    nc = await nats.connect(server.url, max_reconnect_attempts=-1, reconnect_time_wait=0.01)
    log = EventLog(nc)
    await log.start()
    await ensure_streams(nc)
    try:
        yield log
    finally:
        await nc.close()


def entry(run: str, number: int) -> Entry:
    return Entry(f"af.evt.0.o.{run}.in", b"%d" % number, msg_id=f"{run}.{number}")


def link_of(server: NatsServer) -> Path:
    return server.folder / "jetstream" / "$G" / "streams" / subjects.EVENTS_STREAM / "batches"


def home_of(server: NatsServer) -> Path:
    return Path((server.folder / "staging").read_text())


def lose_power(server: NatsServer, records: int) -> None:
    """What the disk may hold after it: the last `records` messages never came there, and memory is empty."""
    server.kill()
    messages = link_of(server).parent / "msgs"
    block = max(messages.glob("*.blk"), key=lambda path: int(path.stem))
    data = block.read_bytes()
    starts, at = [], 0
    while at < len(data):
        starts.append(at)
        at += struct.unpack_from("<I", data, at)[0] & 0x3FFFFFFF  # the top bits are flags
    assert at == len(data)
    block.write_bytes(data[: starts[-records]])
    (messages / "index.db").unlink(missing_ok=True)
    shutil.rmtree(home_of(server))


@pytest.mark.parametrize("durability", ["fsync", "default"])
async def test_a_batch_that_lost_its_end_with_the_power_is_taken_out(tmp_path: Path, durability: str) -> None:
    server = NatsServer(tmp_path / "n", durability="fsync" if durability == "fsync" else "default")
    with server:
        async with connected(server) as log:
            await log.append_batch([entry("whole", n) for n in range(5)])
            await log.append(entry("single", 0))
            await log.append_batch([entry("torn", n) for n in range(6)])
        lose_power(server, records=2)
        server.start()
        async with connected(server) as log:
            stored = [item.subject.split(".")[4] for item in await log.read(subjects.ALL_INS)]
            assert stored == ["whole"] * 5 + ["single"]
            again = await log.append_batch([entry("torn", n) for n in range(6)])  # the ids are free again
            assert not again.duplicate
            assert len(await log.read("af.evt.0.o.torn.in")) == 6


async def test_what_was_whole_stays_after_a_loss_of_power(tmp_path: Path) -> None:
    with NatsServer(tmp_path / "n", durability="fsync") as server:
        async with connected(server) as log:
            await log.append_batch([entry("a", n) for n in range(5)])
            await log.append_batch([entry("b", n) for n in range(5)])
            # the message that ends the batch is gone by itself: the batch is no less whole
            await log.nc.jsm().delete_msg(subjects.EVENTS_STREAM, await log.last_seq())
        server.kill()
        shutil.rmtree(home_of(server))
        server.start()
        async with connected(server) as log:
            stored = Counter(item.subject.split(".")[4] for item in await log.read(subjects.ALL_INS))
            assert stored == {"a": 5, "b": 4}


async def test_the_server_is_killed_among_batches(tmp_path: Path) -> None:
    """Each batch is in the log as a whole or not at all, each that was acknowledged is in it, and staging goes on in
    memory although clients come back at once."""
    acknowledged: set[str] = set()
    with NatsServer(tmp_path / "n", durability="fsync") as server:
        async with connected(server) as log:
            enough = asyncio.Event()

            async def write(writer: int) -> None:
                for number in itertools.count():
                    if enough.is_set():
                        return
                    run = f"w{writer}-{number}"
                    try:
                        await log.append_batch([entry(run, n) for n in range(20)], timeout_s=1.0)
                        acknowledged.add(run)
                    except (AgentFlowError, nats.errors.Error):
                        await asyncio.sleep(0.01)

            writers = [asyncio.create_task(write(writer)) for writer in range(4)]
            for kills in range(1, 4):
                await until(lambda wanted=100 * kills: len(acknowledged) >= wanted)
                server.kill()
                server.start()
            before = len(acknowledged)
            await until(lambda: len(acknowledged) > before)
            enough.set()
            await asyncio.gather(*writers)
            assert link_of(server).is_symlink()
            counts = Counter(item.subject.split(".")[4] for item in await log.read(subjects.ALL_INS))
        assert set(counts.values()) == {20}
        assert acknowledged <= set(counts)
        assert len(acknowledged) >= 300


async def test_staging_is_in_memory_and_leaves_nothing_behind(tmp_path: Path) -> None:
    server = NatsServer(tmp_path / "n")
    with server:
        home = home_of(server)
        assert home.stat().st_mode & 0o777 == 0o700
        async with connected(server) as log:
            await log.append_batch([entry("a", n) for n in range(3)])
        assert link_of(server).resolve().parent == home
        assert home.is_relative_to(batch_staging.RAM)
    assert not home.exists()
    assert not link_of(server).is_symlink()
    assert not (server.folder / "staging").exists()
    with server:
        async with connected(server) as log:
            assert len(await log.read(subjects.ALL_INS)) == 3


async def test_the_staging_of_a_folder_that_is_gone_is_swept(tmp_path: Path) -> None:
    gone = NatsServer(tmp_path / "gone")
    gone.start()
    left = home_of(gone)
    gone.kill()
    shutil.rmtree(gone.folder)
    with NatsServer(tmp_path / "n") as server:
        assert home_of(server).exists()
    assert not left.exists()


async def test_without_a_ram_disk_batches_are_staged_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_staging, "RAM", tmp_path / "none")
    with NatsServer(tmp_path / "n") as server:
        assert not (server.folder / "staging").exists()
        async with connected(server) as log:
            await log.append_batch([entry("a", n) for n in range(3)])
            assert not link_of(server).is_symlink()
            assert len(await log.read(subjects.ALL_INS)) == 3
