"""For tests: agentctl in this process, in a thread of it, or as a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from agentctl.main import app
from tests.support.waiting import PATIENCE_S

PROCESS_S_MAX = 60.0


def configure(monkeypatch: pytest.MonkeyPatch, folder: Path, endpoint: str, token: str) -> None:
    """Lets agentctl call this server with this key. It finds no configuration and no stack of the user."""
    monkeypatch.setenv("AGENTFLOW_CLI_CONFIG", str(folder / "config.yaml"))
    monkeypatch.setenv("AGENTFLOW_DATA_DIR", str(folder / "none"))
    monkeypatch.delenv("API_KEY", raising=False)
    monkeypatch.setenv("AGENTFLOW_ENDPOINT", endpoint)
    monkeypatch.setenv("AGENTFLOW_TOKEN", token)


class AgentCtl:
    """Runs agentctl in this process, with stdout and stderr apart. Every call checks the exit code."""

    def __call__(self, *words: str | Path, code: int = 0, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(app, [str(word) for word in words], input=stdin)
        assert result.exit_code == code, (words, result.stdout, result.stderr, result.exception)
        return result

    def json(self, *words: str | Path) -> Any:
        return json.loads(self(*words, "-o", "json").stdout)


class AgentCtlInThread:
    """Runs agentctl in a thread, so that a server in this process can answer it. `group`: the first words of all."""

    def __init__(self, *group: str) -> None:
        self._group = group

    async def __call__(self, *words: str | Path, code: int = 0) -> Result:
        return await asyncio.to_thread(AgentCtl(), *self._group, *words, code=code)

    async def json(self, *words: str | Path) -> Any:
        return json.loads((await self(*words, "-o", "json")).stdout)

    async def until_status(self, run: str, status: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while (await self.json("workflow", "get", run))["status"] != status:
                await asyncio.sleep(0.05)


async def run_agentctl(endpoint: str, token: str, *words: str, stdin: str = "") -> tuple[int, str, str]:
    """Runs agentctl as a process; returns its exit code, stdout and stderr."""
    env = {
        **os.environ, "AGENTFLOW_ENDPOINT": endpoint, "AGENTFLOW_TOKEN": token, "AGENTFLOW_CLI_CONFIG": os.devnull,
        "COLUMNS": "200",
    }  # fmt: skip
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agentctl", *words, env=env, stdin=pipe, stdout=pipe, stderr=pipe
    )
    out, err = await asyncio.wait_for(process.communicate(stdin.encode()), PROCESS_S_MAX)
    return process.returncode or 0, out.decode(), err.decode()
