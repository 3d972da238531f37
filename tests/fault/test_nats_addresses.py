"""A cluster whose servers want a password and tell their clients each other's addresses, without it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats.errors
import pytest

from agentflow_common import rpc
from agentflow_common.connections.nats_client import NatsConnection, connect, read
from agentflow_common.errors import RetryableError
from agentflow_common.rpc import bus
from tests.support.cluster import ClusterNode, NatsCluster
from tests.support.waiting import until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.fault,
    # nats-py forgets the writer of a connection whose server accepted it and said nothing
    pytest.mark.filterwarnings("ignore:.*StreamWriter.__del__:pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[NatsCluster]:
    with NatsCluster(tmp_path, password=secrets.token_hex(12)) as found:
        yield found


async def _meet(nc: NatsConnection, size: int) -> None:
    """Until the cluster has told the client all of its servers."""
    await until(lambda: len({server.netloc for server in nc.servers}) >= size, what="the servers do not meet")


def _restart(node: ClusterNode, how: str) -> None:
    node.kill() if how == "killed" else node.retire()
    node.start()


@pytest.mark.parametrize("how", ["retired", "killed"])
async def test_cluster_01_questions_are_answered_after_every_server_restarted_twice(
    cluster: NatsCluster, how: str
) -> None:
    async def resolve(request: rpc.ResolvePromptsRequest) -> rpc.ResolvePromptsReply:
        return rpc.ResolvePromptsReply(pinned={ref: ref for ref in request.refs})

    async def ask() -> bool:
        request = rpc.ResolvePromptsRequest(org="test", refs=("a@1",))
        try:
            answer = await bus.call(asking, rpc.PROMPT_RESOLVE, request, timeout_s=1.0)
        except RetryableError:
            return False
        return answer.pinned == {"a@1": "a@1"}

    known = cluster.nodes[0].url  # and no other
    closed: list[str] = []
    asking = await connect(known, "asking", lambda: closed.append("asking"))
    try:
        routes: list[bus.Route] = [(rpc.PROMPT_RESOLVE, resolve)]
        async with bus.serving(known, "prompt", routes, "me", lambda: closed.append("serving")) as broker:
            serving: Any = await broker.connect()
            await _meet(asking, len(cluster.nodes))
            await _meet(serving, len(cluster.nodes))
            for _ in range(2):
                for node in cluster.nodes:
                    await asyncio.to_thread(node.kill if how == "killed" else node.retire)
                    await until(ask, what=f"nobody answers without {node.server_name}")
                    node.start()  # in this thread: the child is bound to the thread that starts it
                    await until(ask, what=f"nobody answers with {node.server_name}")
            assert closed == []
            assert not serving.is_lost
        assert closed == ["serving"]
    finally:
        await asking.close()


async def test_cluster_01_a_server_that_no_url_names_is_shown_the_credentials(cluster: NatsCluster) -> None:
    nc = await connect(cluster.nodes[0].url, "test")
    try:
        await _meet(nc, len(cluster.nodes))
        cluster.nodes[0].kill()
        await until(lambda: nc.is_connected and nc.connected_url is not None and nc.stats["reconnects"] > 0)
        assert nc.connected_url is not None
        assert nc.connected_url.port in {node.port for node in cluster.nodes[1:]}
        await nc.flush()
        assert nc.trouble == ""
    finally:
        await nc.close()


def test_cluster_01_each_url_keeps_its_own_credentials_and_the_first_hold_for_others() -> None:
    secret, other = secrets.token_hex(8), secrets.token_hex(8)
    servers, credentials = read(f"nats://user:{secret}@one:1, nats://{other}@two:2,three")
    assert servers == ["nats://one:1", "nats://two:2", "nats://three:4222"]
    given = {(uri.hostname, uri.port): credentials.of(uri) for uri in map(nats_url, [*servers, "nats://four:4"])}
    user = {"user": "user", "password": secret, "token": None}
    assert given["one", 1] == given["three", 4222] == given["four", 4] == user
    assert given["two", 2] == {"user": None, "password": None, "token": other}
    assert read("nats://one:1")[1].of(nats_url("nats://one:1")) == {"user": None, "password": None, "token": None}


def nats_url(url: str) -> Any:
    from urllib.parse import urlsplit

    return urlsplit(url)


async def test_cluster_01_an_error_handler_that_fails_would_end_the_attempts_and_ours_does_not(
    cluster: NatsCluster,
) -> None:
    """A server that refuses one attempt is asked again: the connection is not lost."""
    nc = await connect(cluster.nodes[0].url, "test")
    try:
        await _meet(nc, len(cluster.nodes))
        right = cluster.nodes[0].password
        for node in cluster.nodes:
            node.kill()
        for node in cluster.nodes:
            node.password = secrets.token_hex(12)
            node.start()
        await until(lambda: nc.trouble != "", what="nobody says that the credentials are refused")
        assert not nc.is_lost
        for node in cluster.nodes:
            node.kill()
            node.password = right
            node.start()
        await until(lambda: nc.is_connected)
        await nc.flush()
        assert nc.trouble == ""
    except nats.errors.Error as error:
        raise AssertionError(f"the connection did not come back: {error!r}") from error
    finally:
        await nc.close()
