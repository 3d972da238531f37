"""The supervised stack under kill -9: of each service, of the servers, of the supervisor itself."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import nats
import pytest

from agentctl import stack as agentstack
from agentflow_common.embedded import processes
from agentflow_common.embedded.servers import StackError
from agentflow_sdk import Client, RunStatus
from tests.support.stack import RunningStack, running_stack
from tests.support.waiting import PATIENCE_S, until_now

pytestmark = [pytest.mark.integration, pytest.mark.fault]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with running_stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


async def _sql(stack: RunningStack, sql: str) -> object:
    env = stack.info.postgres
    connection = await asyncpg.connect(
        host=env["DB_HOST"],
        port=int(env["DB_PORT"]),
        user=env["DB_USER"],
        password=env["DB_PASSWORD"],
        database=env["DB_NAME"],
    )
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def test_every_part_is_ready_and_secrets_are_private(stack: RunningStack) -> None:
    parts = {name: stack.wait_ready(name) for name in stack.status()}
    assert set(parts) == {"nats", "postgres", *agentstack.SERVICES}
    assert all(part.rss_bytes > 0 and part.pid > 0 for part in parts.values())
    for name in ("stack.json", "dev.key", "vault.key", "nats.token", "postgres.password"):
        assert stat.S_IMODE((stack.data_dir / name).stat().st_mode) == 0o600, name
    assert len(stack.dev_key) > 20


def test_starting_again_returns_the_running_stack(stack: RunningStack) -> None:
    assert agentstack.start(stack.options).pid == stack.info.pid


def test_each_killed_service_comes_back_on_its_ports(stack: RunningStack) -> None:
    before = stack.status()
    killed = {name: stack.kill(name) for name in agentstack.SERVICES}
    for name, pid in killed.items():
        part = stack.wait_ready(name, not_pid=pid, timeout_s=180)
        assert part.restarts == before[name].restarts + 1
        assert part.port == before[name].port
        assert "SIGKILL" in part.detail
    until_now(lambda: stack.info.services["worker"].pid == stack.status()["worker"].pid)


ASK = """
name: ask
inputs: {text: {type: string}}
dag:
  nodes:
    - {id: go, type: signal, config: {signal: go}}
    - id: ask
      type: llm
      depends_on: [go]
      config: {prompt_ref: summarizer, inputs: {content: "{{text}}"}}
      policy: {retry: {max_attempts: 1}}
"""


@pytest.mark.parametrize("name", ["cost", "prompt", "security"])
def test_cluster_01_a_service_that_is_killed_fails_no_model_call(stack: RunningStack, name: str) -> None:
    for part in stack.status():
        stack.wait_ready(part)
    text = "Three boats came in before noon, and jo.doe" + "@example.com wrote it down."
    with Client(stack.grpc, token=stack.dev_key) as client:
        run = client.workflows.submit(ASK, inputs={"text": text})
        stack.kill(name)
        client.workflows.signal(run, "go")
        done = client.workflows.wait(run, timeout=3 * PATIENCE_S)
    assert (done.status, done.error) == (RunStatus.COMPLETED, None)


async def test_killed_servers_come_back_with_their_data(stack: RunningStack) -> None:
    await _sql(stack, "CREATE TABLE kept AS SELECT 7 AS x")
    url = stack.nats_url
    nc = await nats.connect(url)
    await nc.jetstream().add_stream(name="kept", subjects=["kept.>"])
    await nc.jetstream().publish("kept.a", b"7")
    await nc.close()
    for name in ("nats", "postgres"):
        stack.wait_ready(name, not_pid=stack.kill(name))
    for name in agentstack.SERVICES:
        stack.wait_ready(name)
    assert await _sql(stack, "SELECT x FROM kept") == 7
    assert stack.nats_url == url


async def test_after_a_killed_supervisor_the_next_start_has_data_and_ports(stack: RunningStack) -> None:
    before, pids = stack.info, {name: part.pid for name, part in stack.status().items()}
    os.kill(before.pid, signal.SIGKILL)
    until_now(lambda: not any(map(processes.is_running, pids.values())), what="children outlive it")
    assert agentstack.find(stack.data_dir) is None
    assert {part.state for part in agentstack.status(stack.data_dir)} == {"stopped"}
    stack.start()
    assert (stack.grpc, stack.http, stack.nats_url) == (before.grpc, before.http, before.nats)
    assert await _sql(stack, "SELECT x FROM kept") == 7
    nc = await nats.connect(stack.nats_url)
    assert (await nc.jetstream().stream_info("kept")).state.messages == 1
    await nc.close()


def test_two_stacks_side_by_side(stack: RunningStack, tmp_path: Path) -> None:
    with running_stack(tmp_path, services=["scheduler"]) as other:
        assert other.nats_url != stack.nats_url
        other.wait_ready("scheduler")
        assert agentstack.down(other.data_dir)
        assert not agentstack.down(other.data_dir)
        assert agentstack.status(other.data_dir) == []
    stack.wait_ready("scheduler")


def test_a_service_that_cannot_start_is_named_with_its_log(tmp_path: Path) -> None:
    tools = tmp_path / "broken_tools.py"
    tools.write_text("raise RuntimeError('broken on purpose')\n")
    with (
        pytest.raises(StackError, match=r"(?s)worker ended with code.*broken on purpose"),
        running_stack(tmp_path, services=["worker"], load=[str(tools)]),
    ):
        pass
    assert agentstack.find(tmp_path / "agentflow") is None


def test_bad_options_are_refused_before_anything_starts(stack: RunningStack, tmp_path: Path) -> None:
    with pytest.raises(StackError, match="no such file"), running_stack(tmp_path, load=["missing_tools.py"]):
        pass
    taken = int(stack.grpc.rsplit(":", 1)[1])
    with (
        pytest.raises(StackError, match=f"--port {taken}: the port is in use"),
        running_stack(tmp_path, grpc_port=taken),
    ):
        pass
