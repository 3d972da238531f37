"""Versions of prompts are listed, and labels move to any of them, through every door."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from agentflow_common.runtime import service
from agentflow_prompt.app import app as prompt_app
from agentflow_prompt.settings import PromptSettings
from agentflow_sdk import InvalidArgumentError, NotFoundError, PermissionDeniedError, each_async
from tests.support.agentctl import run_agentctl
from tests.support.gateway import FakeNeighbours, GatewayUnderTest, running_gateway

pytestmark = pytest.mark.integration


@pytest.fixture
async def gateway(
    nats_url: str, db_env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[GatewayUnderTest]:
    of_security = FakeNeighbours.serving
    monkeypatch.setattr(FakeNeighbours, "serving", lambda own, url: of_security(own, url)[1:])  # prompts are real
    for name, value in {**db_env, "NATS_URL": nats_url}.items():
        monkeypatch.setenv(name, value)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(service.running("prompt", PromptSettings(), prompt_app))
        yield await stack.enter_async_context(running_gateway(nats_url, db_env))


async def test_labels_move_to_any_version_and_versions_are_listed(gateway: GatewayUnderTest) -> None:
    async with gateway.client() as client:
        prompts = client.prompts
        for number in (1, 2, 3):
            await prompts.create("greet", f"Hello {number} {{{{who}}}}", description=f"d{number}", labels=["newest"])
        assert (await prompts.label("greet", "live", 3)).changed
        moved = await prompts.label("greet", "live", 1)
        assert (moved.version, moved.changed) == (1, True)
        assert not (await prompts.label("greet", "live", 1)).changed
        assert (await prompts.get("greet", "live")).template == "Hello 1 {{who}}"
        found = [item async for item in each_async(prompts.versions, "greet", limit=2)]
        assert [(item.version, item.labels, item.description) for item in found] == [
            (3, ("newest",), "d3"), (2, (), "d2"), (1, ("live",), "d1"),
        ]  # fmt: skip
        assert all(item.created_at and len(item.sha256) == 64 for item in found)
        for version in (4, 2**31 - 1):
            with pytest.raises(NotFoundError, match="versions 1 to 3"):
                await prompts.label("greet", "live", version)
        with pytest.raises(InvalidArgumentError, match="versions count from 1"):
            await prompts.label("greet", "live", 0)
        for label in ("latest", "4", ""):
            with pytest.raises(InvalidArgumentError, match="is not a label"):
                await prompts.label("greet", label, 1)
        with pytest.raises(InvalidArgumentError, match="give the name alone"):
            await prompts.versions("greet@1")
        with pytest.raises(NotFoundError):
            await prompts.versions("nobody")
        assert await prompts.remove_label("greet", "live") and not await prompts.remove_label("greet", "live")
        with pytest.raises(NotFoundError):
            await prompts.get("greet", "live")
        # a built-in prompt becomes the org's own at its first use
        assert [item.version for item in await prompts.versions("summarizer")] == [1]
        assert (await prompts.label("summarizer", "live", 1)).changed
        async with gateway.client(await gateway.key_for("default", "read")) as reader:
            assert len(await reader.prompts.versions("greet")) == 3
            with pytest.raises(PermissionDeniedError):
                await reader.prompts.label("greet", "live", 1)
        async with gateway.client(await gateway.key_for("acme", "read", "write")) as stranger:
            with pytest.raises(NotFoundError):
                await stranger.prompts.label("greet", "live", 1)


async def test_a_prompt_has_at_most_100_labels(gateway: GatewayUnderTest) -> None:
    async with gateway.client() as client:
        for start in range(0, 100, 10):
            await client.prompts.create("full", "text", labels=[f"l{number}" for number in range(start, start + 10)])
        with pytest.raises(InvalidArgumentError, match="already has 100 labels"):
            await client.prompts.label("full", "one_more", 1)
        assert not (await client.prompts.label("full", "l7", 1)).changed


async def test_agentctl_lists_versions_and_moves_labels(gateway: GatewayUnderTest) -> None:
    async with gateway.client() as client:
        for number in (1, 2):
            await client.prompts.create("greet", f"Hello {number}")

    async def ctl(*words: str) -> str:
        code, out, err = await run_agentctl(gateway.endpoint, gateway.key, "prompt", *words)
        assert code == 0, err
        return out

    assert "greet@live is version 1\n" in await ctl("label", "greet", "1", "live")
    assert "(as before)" in await ctl("label", "greet", "1", "live")
    assert "live" in await ctl("versions", "greet")
    assert "greet@live is removed\n" in await ctl("label", "greet", "0", "live", "--remove")
