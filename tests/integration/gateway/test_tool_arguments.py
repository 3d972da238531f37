"""A definition whose arguments no tool takes is refused at every door, before a run begins and a model is paid."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agentflow_common.runtime.service import running
from agentflow_sdk import InvalidArgumentError
from agentflow_worker.app import app as worker_app
from agentflow_worker.settings import WorkerSettings
from tests.support.gateway import GatewayUnderTest, running_gateway
from tests.support.waiting import until

pytestmark = pytest.mark.integration

OWN = '''
from agentflow_worker.registry import tool


@tool("crm.note")
async def note(email: str, count: int = 1) -> None:
    """Adds a note to a customer."""
'''
TEXT = """\
name: notes
version: 1
inputs: {email: {type: string}}
dag:
  nodes:
    - id: read
      type: tool
      config: {tool_name: file.read, tool_args: {pth: a.txt}}
    - id: note
      type: tool
      config:
        tool_name: crm.note
        tool_args:
          email: "{{email}}"
          count: many
"""
FOUND = [
    ("line 8, dag.nodes[0].config.tool_args.pth", "tool 'file.read' has no argument 'pth'", "did you mean 'path'?"),
    ("line 8, dag.nodes[0].config", "tool 'file.read' needs the argument 'path'", "add it to `tool_args`"),
    ("line 15, dag.nodes[1].config.tool_args.count", "count of tool 'crm.note': \"many\" is not a whole number", ""),
]


@pytest.fixture
async def gateway(nats_url: str, db_env: dict[str, str], tmp_path: Path) -> AsyncIterator[GatewayUnderTest]:
    (tmp_path / "own.py").write_text(OWN)
    worker = WorkerSettings(nats_url=nats_url, load=str(tmp_path / "own.py"))
    async with running_gateway(nats_url, db_env) as gateway, running("worker", worker, worker_app):
        async with gateway.client() as client:

            async def offered() -> bool:
                return {"crm.note", "file.read"} <= {item.name for item in await client.tools.list()}

            await until(offered, what="the worker has not published its tools")
        yield gateway


def told(problems: Any, wanted: list[tuple[str, str, str]] = FOUND) -> None:
    assert [(p.place, p.message) for p in problems] == [(place, message) for place, message, _ in wanted]
    assert all(p.fix.startswith(fix) for p, (_, _, fix) in zip(problems, wanted, strict=True))


async def test_engine_16_arguments_that_do_not_fit_are_refused_by_validate_register_and_submit(
    gateway: GatewayUnderTest,
) -> None:
    async with gateway.client() as client:
        told((await client.workflows.validate(TEXT)).problems)
        for door in (client.workflows.register(TEXT), client.workflows.submit(TEXT, {"email": "x"})):
            with pytest.raises(InvalidArgumentError) as caught:
                await door
            told(caught.value.problems)
        right = TEXT.replace("pth", "path").replace("many", '"{{email}}"')
        assert (await client.workflows.validate(right)).valid


async def test_engine_16_a_graph_is_told_the_line_of_its_node(gateway: GatewayUnderTest) -> None:
    graph = "name: g\nentry_point: a\nnodes:\n  - name: a\n    tool: crm.note\n    args:\n      emial: x\nedges: []\n"
    async with gateway.client() as client:
        problems = (await client.workflows.validate(graph)).problems
    assert [p.place.split(",")[0] for p in problems] == ["line 4", "line 7"]
    assert problems[1].fix == "did you mean 'email'?"


async def test_engine_16_problems_of_the_schema_and_of_arguments_are_told_in_one_go(gateway: GatewayUnderTest) -> None:
    async with gateway.client() as client:
        broken = TEXT + "  edges: [{from: read, to: nowhere}]\n"
        problems = (await client.workflows.validate(broken)).problems
    told([p for p in problems if "nowhere" not in p.message])
    assert len(problems) > len(FOUND)


async def test_engine_16_without_a_server_the_built_in_tools_are_known(tmp_path: Path) -> None:
    (tmp_path / "notes.yaml").write_text(TEXT)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agentctl", "workflow", "validate", str(tmp_path / "notes.yaml"), "--output", "json",
        env={**os.environ, "AGENTFLOW_CLI_CONFIG": os.devnull}, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate()
    found = json.loads(out)
    assert not found["valid"]
    assert [(p["place"], p["message"]) for p in found["problems"]] == [(place, text) for place, text, _ in FOUND[:2]]
