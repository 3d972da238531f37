"""The prompt service over a real NATS and a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import msgspec
import pytest
from nats.aio.client import Client

from agentflow_common import rpc
from agentflow_common.errors import InvalidError, NotFoundError
from agentflow_common.rpc.bus import call
from agentflow_common.runtime import service
from agentflow_prompt.app import app
from agentflow_prompt.settings import PromptSettings

pytestmark = pytest.mark.integration


@pytest.fixture
async def nc(nats_url: str, db_env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    for key, value in {**db_env, "NATS_URL": nats_url}.items():
        monkeypatch.setenv(key, value)
    async with service.running("prompt", PromptSettings(), app) as context:
        yield context.nc


def new(name: str = "greet", template: str = "Hello {{ who }}", **more: object) -> rpc.CreatePromptRequest:
    return rpc.CreatePromptRequest(org="acme", name=name, template=template, **more)  # type: ignore[arg-type]


async def test_versions_labels_and_rendering(nc: Client) -> None:
    first = await call(nc, rpc.PROMPT_CREATE, new(labels=("production",), task="answer", system="Be {{ mood }}"))
    again = await call(nc, rpc.PROMPT_CREATE, new(task="answer", system="Be {{ mood }}"))
    assert (first.version, again.version, again.labels) == (1, 1, ("production",))
    second = await call(nc, rpc.PROMPT_CREATE, new(template="Hi {{ who }}"))
    assert second.version == 2

    get = {ref: await call(nc, rpc.PROMPT_GET, rpc.GetPromptRequest(org="acme", ref=ref)) for ref in
           ("greet", "greet@1", "greet@production", "greet@latest")}  # fmt: skip
    assert {ref: prompt.version for ref, prompt in get.items()} == {
        "greet": 2, "greet@1": 1, "greet@production": 1, "greet@latest": 2,
    }  # fmt: skip
    moved = await call(nc, rpc.PROMPT_CREATE, new(template="Hi {{ who }}", labels=("production",)))
    assert (moved.version, moved.labels) == (2, ("production",))

    ask = rpc.RenderRequest(org="acme", run="r", step="s", ref="greet@1", inputs={"who": "Ada", "mood": "kind"})
    reply = await call(nc, rpc.PROMPT_RENDER, ask)
    assert (reply.prompt, reply.system, reply.text, reply.task, reply.max_output_tokens) == (
        "greet@1", "Be kind", "Hello Ada", "answer", 1024,
    )  # fmt: skip
    with pytest.raises(InvalidError) as caught:
        await call(nc, rpc.PROMPT_RENDER, rpc.RenderRequest(org="acme", run="r", step="s", ref="greet@1", inputs={}))
    assert [problem.place for problem in caught.value.problems] == ["inputs.mood", "inputs.who"]


async def test_resolving_pins_what_exists_and_lists_what_does_not(nc: Client) -> None:
    await call(nc, rpc.PROMPT_CREATE, new())
    refs = ("greet", "greet@9", "summarizer", "nobody", "bad ref")
    reply = await call(nc, rpc.PROMPT_RESOLVE, rpc.ResolvePromptsRequest(org="acme", refs=refs))
    assert reply.pinned == {"greet": "greet@1", "summarizer": "summarizer@1"}
    assert reply.missing == ("greet@9", "nobody", "bad ref")
    listed = await call(nc, rpc.PROMPT_LIST, rpc.ListPromptsRequest(org="acme"))
    own = [p for p in listed.prompts if p.created_at]
    assert [(p.name, p.created_by) for p in own] == [("greet", ""), ("summarizer", "agentflow")]
    others = (await call(nc, rpc.PROMPT_LIST, rpc.ListPromptsRequest(org="other"))).prompts
    assert not [p for p in others if p.created_at]
    with pytest.raises(NotFoundError) as caught:
        await call(nc, rpc.PROMPT_GET, rpc.GetPromptRequest(org="other", ref="greet"))
    assert caught.value.problems[0].fix


async def test_usage_13_built_ins_are_listed_before_their_first_use(nc: Client) -> None:
    listed = await call(nc, rpc.PROMPT_LIST, rpc.ListPromptsRequest(org="fresh"))
    names = [p.name for p in listed.prompts]
    assert {"summarizer", "document_analyzer"} <= set(names)
    assert names == sorted(names)
    shown = next(p for p in listed.prompts if p.name == "summarizer")
    used = await call(nc, rpc.PROMPT_GET, rpc.GetPromptRequest(org="fresh", ref="summarizer"))
    assert msgspec.structs.replace(used, created_at=0) == shown  # listing it created nothing and told the truth
    again = await call(nc, rpc.PROMPT_LIST, rpc.ListPromptsRequest(org="fresh", name_prefix="summ", limit=1))
    assert [(p.name, bool(p.created_at)) for p in again.prompts] == [("summarizer", True)]


async def test_the_users_own_prompt_wins_over_a_built_in(nc: Client) -> None:
    await call(nc, rpc.PROMPT_CREATE, new(name="translator", template="mine"))
    got = await call(nc, rpc.PROMPT_GET, rpc.GetPromptRequest(org="acme", ref="translator"))
    assert (got.version, got.template) == (1, "mine")


async def test_concurrent_creation_numbers_without_gaps_and_never_twice(nc: Client, db_env: dict[str, str]) -> None:
    made = await asyncio.gather(
        *(call(nc, rpc.PROMPT_CREATE, new(name="busy", template=f"number {n}")) for n in range(30)),
        *(call(nc, rpc.PROMPT_GET, rpc.GetPromptRequest(org="acme", ref="keyword_extractor")) for _ in range(10)),
    )
    assert sorted(p.version for p in made if p.name == "busy") == list(range(1, 31))
    assert {p.version for p in made if p.name == "keyword_extractor"} == {1}
    same = await asyncio.gather(*(call(nc, rpc.PROMPT_CREATE, new(name="calm")) for _ in range(20)))
    assert {p.version for p in same} == {1}

    connection = await asyncpg.connect(
        host=db_env["DB_HOST"], port=int(db_env["DB_PORT"]), user=db_env["DB_USER"],
        password=db_env["DB_PASSWORD"] or None, database=db_env["DB_NAME"],
    )  # fmt: skip
    with pytest.raises(asyncpg.RaiseError, match="immutable"):
        await connection.execute("UPDATE prompt.versions SET template = 'changed'")
    await connection.close()
