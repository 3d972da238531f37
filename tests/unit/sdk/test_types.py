"""A type checker finds typos in calls of the SDK, and `help()` shows each method as itself."""

from __future__ import annotations

import inspect
import os
import pydoc
import re
import subprocess
import sys
from pathlib import Path

import pytest

from agentflow_sdk import AsyncClient, Client, InvalidArgumentError, Workflow, body
from tests.support.paths import ROOT

RIGHT = """
import asyncio

from agentflow_sdk import AsyncClient, Client, Run, RunStatus, RunSummary, Submission, Token, Workflow, body
from agentflow_sdk import each, each_async

flow = (
    Workflow("w").input("n", "integer").llm("a", "p", output="json").quality("Gold").retry(3, backoff="linear")
    .on_unknown("ask").on_failure("continue")
    .tool("b", "t").compensate_with(body.tool("u"), backoff="fixed", initial_ms=10)
)
client = Client()
made: Submission = client.workflows.submit(flow, {"n": 1}, priority=3)
run: Run = client.workflows.run(flow, {"n": 1}, timeout=9.0, priority=3, budget_cents=5, tags={"a": "b"})
client.workflows.list(status=RunStatus.FAILED)
for progress in client.workflows.batch("cancel", status="running", execute=True):
    print(progress.done)
for item in client.workflows.watch(run):
    print(item.text if isinstance(item, Token) else item.type)
summaries: list[RunSummary] = list(each(client.workflows.list, status="failed"))


async def main() -> None:
    there = AsyncClient()
    again: Run = await there.workflows.run(flow, priority=3)
    await there.workflows.resolve(again, "a", "retry")
    task: asyncio.Task[Run] = asyncio.create_task(there.workflows.get(again))
    async for item in there.workflows.watch(again):
        print(item.step)
    more: list[RunSummary] = [summary async for summary in each_async(there.workflows.list, status="failed")]
"""
WRONG = [
    'flow.quality("Golden")',
    'flow.retry(3, backoff="exponentional")',
    'flow.on_unknown("aks")',
    'flow.on_failure("ignore")',
    'flow.input("m", "int")',
    'flow.compensate_with(body.tool("u"), backof="fixed")',
    'flow.map("m", body.tool("t"), over=[1], on_item_failure="skip")',
    "client.workflows.run(flow, prority=3)",
    "client.workflows.submit(flow, prority=3)",
    'client.workflows.batch("cancle")',
    'client.workflows.batch("cancel", exectue=True)',
    'client.workflows.resolve("run_1", "a", "complete")',
    'client.workflows.list(status="complete")',
    'client.schedules.trigger("s", overlap="skipp")',
    'client.budgets.create(5, "month")',
]


def test_usage_19_a_type_checker_finds_typos_in_calls_of_the_sdk(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(RIGHT + "\n" + "\n".join(WRONG) + "\n")
    command = [
        sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml"),
        "--cache-dir", str(tmp_path / "cache"), str(program),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, env={**os.environ}, capture_output=True, text=True, check=False)
    found = {int(line) for line in re.findall(r"program\.py:(\d+): error", done.stdout)}
    first = RIGHT.count("\n") + 2
    assert found == set(range(first, first + len(WRONG))), done.stdout + done.stderr


@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_usage_19_help_shows_a_method_as_itself(client: type) -> None:
    workflows = client("127.0.0.1:1", token="x").workflows
    text = pydoc.plain(pydoc.render_doc(workflows.get))
    assert "get(run: " in text
    assert "agentflow_sdk.models.workflows.Run" in text
    assert "Returns a run in its present state." in text
    assert "Call[" not in text
    assert workflows.get == workflows.get
    of_class = pydoc.plain(pydoc.render_doc(type(workflows)))
    assert "submit(self, " in of_class
    stream = "AsyncIterator" if client is AsyncClient else "Iterator"
    assert f"abc.{stream}[" in str(inspect.signature(workflows.watch).return_annotation)
    for name, method in inspect.getmembers(workflows, inspect.ismethod):
        assert method.__name__ == name


def test_usage_19_a_word_that_is_not_known_is_refused_where_it_is_written() -> None:
    flow = Workflow("w").tool("a", "t")
    for wrong in (
        lambda: flow.on_unknown("aks"),  # type: ignore[arg-type]
        lambda: flow.on_failure("ignore"),  # type: ignore[arg-type]
        lambda: flow.retry(3, backoff="linaer"),  # type: ignore[arg-type]
        lambda: flow.compensate_with(body.tool("u"), backof="fixed"),  # type: ignore[call-arg]
        lambda: flow.approval("ok", on_expire="rejct"),  # type: ignore[arg-type]
        lambda: flow.graph("a", reducers={"k": "apend"}),  # type: ignore[dict-item]
    ):
        with pytest.raises(InvalidArgumentError) as caught:
            wrong()
        assert caught.value.problems[0].fix
