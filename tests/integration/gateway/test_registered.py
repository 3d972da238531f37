"""Registered workflows are listed by name, and read back as they were written."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest

from agentflow_sdk import InvalidArgumentError, NotFoundError, WorkflowLabel, each_async
from tests.support.agentctl import run_agentctl
from tests.support.gateway import GatewayUnderTest, running_gateway

pytestmark = pytest.mark.integration

TEXT = """\
# what customers get back
name: refund
version: {version}
dag:
  nodes: [{{id: a, type: wait, config: {{duration: 1h}}}}]  # later: a person
"""


@pytest.fixture
async def gateway(nats_url: str, db_env: dict[str, str]) -> AsyncIterator[GatewayUnderTest]:
    async with running_gateway(nats_url, db_env) as gateway:
        yield gateway


async def test_a_workflow_is_shown_with_its_text_its_versions_and_its_labels(gateway: GatewayUnderTest) -> None:
    async with gateway.client() as client:
        flows = client.workflows
        for version in (1, 2, 3):
            await flows.register(TEXT.format(version=version))
        await flows.label("refund", "prod", 3)
        await flows.label("refund", "prod", 1)  # backwards
        await flows.label("refund", "next", 2)
        await flows.label("refund", "next", 3, percent=10)

        async with gateway.client(await gateway.key_for("default", "read")) as reader:
            shown = await reader.workflows.definition("refund@2")
            assert shown.definition_text == TEXT.format(version=2)
            assert shown.definition["dag"]["nodes"][0]["config"] == {"duration": "1h"}
            assert (shown.workflow.name, shown.workflow.version, shown.workflow.versions) == ("refund", 2, 3)
            labels = (WorkflowLabel("next", 2, 3, 10), WorkflowLabel("prod", 1))
            assert shown.workflow.labels == labels
            for ref, version in (("refund", 3), ("refund@prod", 1), ("refund@next", 2), ("refund@latest", 3)):
                assert (await reader.workflows.definition(ref)).workflow.version == version
        with pytest.raises(NotFoundError, match="has no version 9; it has 3, 2, 1"):
            await flows.definition("refund@9")
        with pytest.raises(NotFoundError, match="did you mean 'refund'"):
            await flows.definition("refnd")
        async with gateway.client(await gateway.key_for("acme", "read")) as stranger:
            assert await stranger.workflows.registered() == ()
            with pytest.raises(NotFoundError):
                await stranger.workflows.definition("refund")


async def test_a_paused_workflow_is_marked_in_the_list_and_where_it_is_shown(gateway: GatewayUnderTest) -> None:
    async with gateway.client() as client:
        flows = client.workflows
        for name in ("free", "held", "resumed"):
            await flows.register(TEXT.format(version=1).replace("refund", name))
        until = int(time.time() * 1000) + 3_600_000
        await flows.pause_workflow("held", "a bug", until=until)
        await flows.pause_workflow("resumed")
        await flows.resume_workflow("resumed")
        there = {item.name: (item.paused, item.paused_until) for item in await flows.registered()}
        none = (False, 0)
        assert there == {"free": none, "held": (True, until), "resumed": none}
        assert (await flows.definition("held")).workflow.paused_until == until
        assert not (await flows.definition("free")).workflow.paused
        _, out, _ = await run_agentctl(gateway.endpoint, gateway.key, "workflow", "registered")
        rows = {line.split()[0]: line for line in out.splitlines()}
        assert "paused until" in rows["held"] and "paused" not in rows["free"] + rows["resumed"]


async def test_what_was_registered_as_data_is_read_back_as_a_text_that_means_the_same(
    gateway: GatewayUnderTest,
) -> None:
    inputs = {"x": "{{ y }}", "yes": "no", "date": "2026-01-01", "n": "1e3", "line": "a\nb: c", "emoji": "\U0001f600"}
    node = {"id": "a", "type": "tool", "config": {"tool_name": "x.y", "inputs": inputs}}
    data = {"name": "data", "inputs": {"y": {"type": "string"}}, "dag": {"nodes": [node]}}
    async with gateway.client() as client:
        first = await client.workflows.register(data)
        shown = await client.workflows.definition("data")
        assert shown.definition_text.startswith("name: data\n")
        again = await client.workflows.register(shown.definition_text)
        assert (again.created, again.digest, shown.workflow.digest) == (False, first.digest, first.digest)
        assert shown.definition["dag"]["nodes"][0]["config"]["inputs"] == inputs


async def test_the_list_has_pages_and_a_prefix(gateway: GatewayUnderTest) -> None:
    async with gateway.client() as client:
        flows = client.workflows
        for name in ("b", "a_1", "c", "a_2", "B"):
            await flows.register(TEXT.format(version=1).replace("refund", name))
        await flows.register(TEXT.format(version=7).replace("refund", "c"))
        names = [item.name async for item in each_async(flows.registered, limit=2)]
        assert sorted(names) == ["B", "a_1", "a_2", "b", "c"] and len(set(names)) == 5
        assert [item.name for item in await flows.registered("a_")] == ["a_1", "a_2"]
        (item,) = await flows.registered("c")
        assert (item.version, item.versions, item.labels, item.created_at > 0) == (7, 2, (), True)
        page = await flows.registered(limit=2)
        with pytest.raises(InvalidArgumentError, match="other filters"):
            await flows.registered("a", page_token=page.next_page_token)


async def test_agentctl_lists_and_shows_them(gateway: GatewayUnderTest) -> None:
    async with gateway.client() as client:
        await client.workflows.register(TEXT.format(version=1))
        await client.workflows.register(TEXT.format(version=2))
        await client.workflows.label("refund", "prod", 2)
        await client.workflows.label("refund", "prod", 1, percent=25)
    code, out, _ = await run_agentctl(gateway.endpoint, gateway.key, "workflow", "registered")
    assert code == 0
    for word in ("refund", "prod 2 (25% 1)"):
        assert word in out
    code, out, err = await run_agentctl(gateway.endpoint, gateway.key, "workflow", "show", "refund@1")
    assert (code, out) == (0, TEXT.format(version=1))
    assert "refund@1" in err
    code, out, err = await run_agentctl(gateway.endpoint, gateway.key, "workflow", "registered", "--prefix", "x")
    assert (code, out, "no workflow is registered" in err) == (0, "", True)
