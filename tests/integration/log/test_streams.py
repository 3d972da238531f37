"""Streams and buckets on one server and on three: replicas, and a client whose server hangs."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client

from agentflow_common import subjects
from agentflow_common.connections import nats_client
from agentflow_common.errors import RetryableError, TerminalError
from agentflow_common.log.event_log import Entry, EventLog
from agentflow_common.log.streams import ensure_streams
from agentflow_common.runtime.service import connect
from tests.support.cluster import NatsCluster

# nats-py forgets the writer of a connection whose server accepted it and said nothing
LEAK = pytest.mark.filterwarnings("ignore:.*StreamWriter.__del__:pytest.PytestUnraisableExceptionWarning")
pytestmark = [pytest.mark.integration, LEAK]

HANGING_S_MAX = 9.0 + 6.0  # until pings tell (here sooner), then a connection and, if it led, an election


async def replicas(nc: Client) -> set[int]:
    return {info.config.num_replicas or 0 for info in await nc.jsm().streams_info()}


async def test_more_replicas_than_servers_are_refused_with_what_to_do(nats_url: str) -> None:
    nc = await nats.connect(nats_url)
    with pytest.raises(TerminalError, match="AGENTFLOW_REPLICAS=3 needs a NATS cluster of at least 3 servers"):
        await ensure_streams(nc, 3)
    await ensure_streams(nc, 1)
    await ensure_streams(nc, 1)
    bucket = await nc.jsm().stream_info(subjects.LEASE_STREAM)
    assert bucket.config.allow_direct
    await nc.close()


async def test_servers_that_do_not_answer_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One node of three has no leader, so JetStream does not answer."""
    cluster = NatsCluster(tmp_path)
    with cluster.nodes[0] as alone:
        nc = await nats.connect(alone.url)
        monkeypatch.setattr(nc, "jsm", partial(nc.jsm, timeout=0.5))
        with pytest.raises(RetryableError, match="JetStream does not answer"):
            await ensure_streams(nc, 3, patience_s=0.0)
        await nc.close()


async def test_a_log_gets_replicas_and_outlives_a_server_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats_client, "PING_EVERY_S", 0.5)
    with NatsCluster(tmp_path) as cluster:
        nc = await connect(cluster.url, "test")
        await ensure_streams(nc, 1)
        log = EventLog(nc)
        await log.start()
        key = subjects.key_of("o", "run_1")
        first = await log.append(Entry(subjects.run_in(key), b"1"))
        assert await replicas(nc) == {1}
        await ensure_streams(nc, 3)
        async with asyncio.timeout(60):  # a list is empty while leaders are elected
            while await replicas(nc) != {3} or not await caught_up(nc):
                await asyncio.sleep(0.1)

        mine = next(node for node in cluster.nodes if nc.connected_url and node.port == nc.connected_url.port)
        mine.pause()
        began = time.monotonic()
        async with asyncio.timeout(HANGING_S_MAX + 45.0):
            while True:
                try:
                    second = await log.append(Entry(subjects.run_in(key), b"2"), timeout_s=1.0)
                    break
                except RetryableError:
                    await asyncio.sleep(0.1)
        took_s = time.monotonic() - began
        mine.resume()
        assert second.seq > first.seq
        assert (await log.read(subjects.run_all(key)))[0].data == b"1"
        print(f"\na server that hangs is left after {took_s:.1f} s")
        await nc.close()


async def caught_up(nc: Client) -> bool:
    cluster = (await nc.jsm().stream_info(subjects.EVENTS_STREAM)).cluster
    peers = (cluster.replicas or []) if cluster else []
    return len(peers) == 2 and all(peer.current for peer in peers)
