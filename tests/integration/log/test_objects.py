"""Objects are read by direct gets: as they are, while they are replaced, and without anything left on the server."""

from __future__ import annotations

import asyncio
import os

import pytest
from nats.js.errors import ObjectNotFoundError

from agentflow_common import subjects
from agentflow_common.log import object_reads
from agentflow_common.log.event_log import EventLog
from agentflow_common.log.streams import ensure_streams

pytestmark = pytest.mark.integration


async def test_an_object_is_read_whole_however_often(log: EventLog) -> None:
    await ensure_streams(log.nc)
    store = await log.nc.jetstream().object_store(subjects.BLOB_BUCKET)
    large = os.urandom(1_000_000)  # in several parts
    await store.put("large", large)
    await store.put("empty", b"")
    assert await object_reads.read(store, "empty") == b""
    for _ in range(20):
        assert await object_reads.read(store, "large") == large
    stream = await log.nc.jsm().stream_info(f"OBJ_{subjects.BLOB_BUCKET}")
    assert stream.state.consumer_count == 0, "a server takes 1,000"
    with pytest.raises(ObjectNotFoundError):
        await object_reads.read(store, "none")


async def test_what_is_replaced_all_the_time_is_read_as_it_was_at_one_time(log: EventLog) -> None:
    await ensure_streams(log.nc)
    store = await log.nc.jetstream().object_store(subjects.SNAPSHOT_BUCKET)
    versions = [bytes([number]) * 300_000 for number in range(20)]
    await store.put("shard-1", versions[0])

    async def replace() -> None:
        for version in versions:
            await store.put("shard-1", version)

    writer = asyncio.ensure_future(replace())
    while not writer.done():
        assert await object_reads.read(store, "shard-1") in versions
    await writer


async def test_parts_that_are_gone_are_an_error_and_no_wait_for_ever(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_reads, "READ_S_MAX", 0.2)
    await ensure_streams(log.nc)
    store = await log.nc.jetstream().object_store(subjects.BLOB_BUCKET)
    info = await store.put("torn", b"x" * 1000)
    bucket = subjects.BLOB_BUCKET
    await log.nc.jsm().purge_stream(f"OBJ_{bucket}", subject=f"$O.{bucket}.C.{info.nuid}")
    with pytest.raises(TimeoutError, match="0 bytes of 1,000"):
        await object_reads.read(store, "torn")
