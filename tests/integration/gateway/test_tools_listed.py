"""`agentctl tools`, the clients and the API show what a running worker has loaded."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agentflow_common.runtime.service import running
from agentflow_sdk import InvalidArgumentError, NotFoundError
from agentflow_worker.app import app as worker_app
from agentflow_worker.settings import WorkerSettings
from tests.support.agentctl import run_agentctl
from tests.support.gateway import GatewayUnderTest, running_gateway
from tests.support.waiting import until

pytestmark = pytest.mark.integration

OWN = '''
from typing import Literal

from agentflow_worker.context import StepContext
from agentflow_worker.registry import function, tool


@tool("crm.note", reveal=("email",))
async def note(email: str, context: StepContext, kind: Literal["call", "mail"] = "call", tags: list[str] = []) -> None:
    """Adds a note to a customer."""


@function("shout")
def shout(text: str) -> str:
    return text.upper()
'''


@pytest.fixture
async def gateway(nats_url: str, db_env: dict[str, str], tmp_path: Path) -> AsyncIterator[GatewayUnderTest]:
    (tmp_path / "own.py").write_text(OWN)
    worker = WorkerSettings(nats_url=nats_url, load=str(tmp_path / "own.py"))
    async with running_gateway(nats_url, db_env) as gateway, running("worker", worker, worker_app):
        yield gateway


async def test_usage_13_the_tools_of_a_running_worker_are_listed_with_their_arguments(
    gateway: GatewayUnderTest,
) -> None:
    async with gateway.client(await gateway.key_for("default", "read")) as client:

        async def loaded() -> Any:
            found = {tool.name: tool for tool in await client.tools.list()}
            return found if {"crm.note", "shout", "file.list", "text_stats"} <= set(found) else None

        found = await until(loaded)
        note, read = found["crm.note"], found["file.read"]
        assert (note.kind, note.idempotent, note.reveal, note.built_in) == ("tool", False, ("email",), False)
        assert note.doc == "Adds a note to a customer."
        assert note.offered_at > 0
        assert note.schema["required"] == ["email"]
        assert note.schema["properties"]["kind"]["enum"] == ["call", "mail"]
        assert "context" not in note.schema["properties"]
        assert (read.idempotent, read.built_in) == (True, True)
        assert found["shout"].kind == "function"
        assert await client.tools.get("crm.note") == note
        assert [t.name for t in await client.tools.list("file.", kind="tool")] == [
            "file.list",
            "file.read",
            "file.write",
        ]
        assert await client.tools.list(kind="function", prefix="crm") == ()
        with pytest.raises(NotFoundError, match=r"did you mean 'crm\.note'"):
            await client.tools.get("crm.nota")
        with pytest.raises(InvalidArgumentError, match="kind"):
            await client.tools.list(kind="agent")  # type: ignore[arg-type]


async def test_usage_13_agentctl_shows_them(gateway: GatewayUnderTest) -> None:
    async def listed() -> Any:
        code, out, err = await run_agentctl(gateway.endpoint, gateway.key, "tools", "list")
        return (out, err) if code == 0 and "crm.note" in out and "text_stats" in out else None

    out, err = await until(listed)
    assert "loaded" in out
    assert "agentctl tools get" in err
    code, out, _ = await run_agentctl(gateway.endpoint, gateway.key, "tools", "get", "crm.note")
    assert code == 0
    for text in ("crm.note", "email", "required", '"call" or "mail"', "array of string", "is not repeated"):
        assert text in out
    code, out, _ = await run_agentctl(gateway.endpoint, gateway.key, "tools", "get", "crm.note", "-o", "json")
    assert json.loads(out)["reveal"] == ["email"]
    code, _, err = await run_agentctl(gateway.endpoint, gateway.key, "tools", "get", "crm.nota")
    assert code == 2
    assert "did you mean 'crm.note'?" in err
