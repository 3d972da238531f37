"""Tools are listed while a worker offers them: every version with its workers, nothing of workers that have gone."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agentflow_common import subjects
from agentflow_common.clock import SystemClock
from agentflow_common.log import worker_offers
from agentflow_common.runtime.service import running
from agentflow_sdk import AsyncClient, InvalidArgumentError, NotFoundError, Tool
from agentflow_worker.app import app as worker_app
from agentflow_worker.offers import KEPT_MS, Offers
from agentflow_worker.registry import Registry, built_in_registry, tool
from agentflow_worker.settings import WorkerSettings
from tests.support.agentctl import run_agentctl
from tests.support.gateway import GatewayUnderTest, running_gateway

pytestmark = pytest.mark.integration

OWN = """
from agentflow_worker.registry import tool

@tool("crm.note")
async def note({arguments}) -> None:
    \"\"\"{doc}\"\"\"
"""
FLOW = """
name: noting
dag: {nodes: [{id: a, type: tool, config: {tool_name: crm.note, tool_args: {email: a}}}]}
"""


@pytest.fixture
async def gateway(nats_url: str, db_env: dict[str, str]) -> AsyncIterator[GatewayUnderTest]:
    async with running_gateway(nats_url, db_env) as gateway:
        yield gateway


def worker(gateway: GatewayUnderTest, folder: Path, name: str, arguments: str) -> Any:
    (folder / f"{name}.py").write_text(OWN.format(arguments=arguments, doc=f"Of {name}."))
    settings = WorkerSettings(
        nats_url=gateway.context.settings.nats_url, worker_id=name, load=str(folder / f"{name}.py")
    )
    return running("worker", settings, worker_app)


async def shown(client: AsyncClient, name: str = "crm.note") -> Tool:
    return await client.tools.get(name)


async def test_every_version_is_shown_with_its_workers_until_they_stop(
    gateway: GatewayUnderTest, tmp_path: Path
) -> None:
    async with gateway.client() as client, contextlib.AsyncExitStack() as late:
        async with worker(gateway, tmp_path, "one", "email: str"):
            first = await shown(client)
            assert (first.workers, first.doc, first.other_versions) == (("one",), "Of one.", ())
            assert len(first.version) == 16 and first.offered_at > 0
            await late.enter_async_context(worker(gateway, tmp_path, "two", "email: str, kind: str = 'call'"))
            both = await shown(client)
            assert (both.workers, both.doc) == (("two",), "Of two.")
            assert set(both.schema["properties"]) == {"email", "kind"}
            (other,) = both.other_versions
            assert (other.workers, other.version, set(other.schema["properties"])) == (
                ("one",), first.version, {"email"},
            )  # fmt: skip
            assert (await shown(client, "file.read")).workers == ("one", "two")
            (listed,) = await client.tools.list("crm.")
            assert (listed.version, listed.other_versions[0].version) == (both.version, first.version)
            code, out, _ = await run_agentctl(gateway.endpoint, gateway.key, "tools", "get", "crm.note")
            assert code == 0
            assert f"{first.version} of one" in out
        left = await shown(client)
        assert (left.workers, left.other_versions) == (("two",), ())
        await late.aclose()
        assert await client.tools.list() == ()
        with pytest.raises(NotFoundError, match="start a worker that loads it"):
            await client.tools.get("crm.note")
        await client.workflows.register(FLOW)  # the workers may only restart
        with pytest.raises(NotFoundError, match=r"no worker offers a tool or function named 'crm\.nowhere'"):
            await client.tools.get("crm.nowhere")


async def test_offers_age_out_and_descriptions_are_kept_for_a_day(gateway: GatewayUnderTest) -> None:
    nc, clock = gateway.context.nc, SystemClock()

    @tool("mine.gone")
    def gone() -> None: ...

    registry = Registry()
    registry.add(gone)
    lost, there = Offers(nc, registry, "lost", clock), Offers(nc, built_in_registry(), "there", clock)
    for offers in (lost, there):
        await offers.publish()
    status = await (await nc.jetstream().key_value(subjects.WORKERS_BUCKET)).status()
    assert status.ttl == 60
    assert [item.worker for item in await worker_offers.read(nc)] == ["there", "lost"]
    now = clock.now_ms()
    assert await there.sweep(now + 2 * KEPT_MS) == []
    await lost.withdraw()
    assert [item.worker for item in await worker_offers.read(nc)] == ["there"]
    assert await there.sweep(now) == []
    swept = await there.sweep(now + KEPT_MS + 60_000)
    assert [key.partition(".")[0] for key in swept] == ["tool", "version"] and swept[0] == "tool.mine.gone"
    registered = gateway.context.nc.jsm()
    info = await registered.stream_info(f"KV_{subjects.REGISTRY_BUCKET}", subjects_filter="$KV.AF_REGISTRY.>")
    keys = {subject.removeprefix("$KV.AF_REGISTRY.") for subject in info.state.subjects or {}}
    assert "tool.file.read" in keys and not any("mine.gone" in key for key in keys)
    await lost.publish()  # it is there again
    async with gateway.client() as client:
        assert (await client.tools.get("mine.gone")).workers == ("lost",)


async def test_what_an_older_worker_published_is_listed_without_workers(gateway: GatewayUnderTest) -> None:
    bucket = await gateway.context.nc.jetstream().key_value(subjects.REGISTRY_BUCKET)
    await bucket.put("tool.old.one", b'{"kind": "tool", "name": "old.one", "schema": {"type": "object"}}')
    async with gateway.client() as client:
        old = await client.tools.get("old.one")
        assert (old.name, old.workers, old.version) == ("old.one", (), "")


async def test_a_workflow_may_be_registered_before_its_worker_is_there(
    gateway: GatewayUnderTest, tmp_path: Path
) -> None:
    async with gateway.client() as client, worker(gateway, tmp_path, "other", "email: str"):
        text = FLOW.replace("crm.note", "crm.later")
        with pytest.raises(InvalidArgumentError, match=r"unknown tool 'crm\.later'"):
            await client.workflows.register(text)
        made = await client.workflows.register(text, allow_unknown=True)
        (warning,) = made.warnings
        assert made.created and warning.message == "unknown tool 'crm.later'"
        assert warning.place == "line 3, dag.nodes[0].config.tool_name"
        checked = await client.workflows.validate(text, allow_unknown=True)
        assert (checked.valid, checked.warnings) == (True, (warning,))
        assert not (await client.workflows.validate(text)).valid
        with pytest.raises(InvalidArgumentError, match=r"unknown tool 'crm\.later'"):
            await client.workflows.submit("noting")
        wrong = FLOW.replace("email: a", "mail: a")  # arguments of known tools are checked all the same
        with pytest.raises(InvalidArgumentError, match="has no argument 'mail'"):
            await client.workflows.register(wrong.replace("noting", "wrong"), allow_unknown=True)
        (tmp_path / "flow.yaml").write_text(text.replace("noting", "by_hand"))
        words = ("workflow", "register", str(tmp_path / "flow.yaml"))
        assert (await run_agentctl(gateway.endpoint, gateway.key, *words))[0] == 2
        code, out, err = await run_agentctl(gateway.endpoint, gateway.key, *words, "--allow-unknown")
        assert (code, "by_hand@1 registered" in out) == (0, True)
        assert "warning: " in err and "unknown tool 'crm.later'" in err
