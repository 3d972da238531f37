"""A workflow in WfFormat through the real engine, by the command that people call; and what an interrupt leaves."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.paths import ROOT
from tests.support.waiting import until

pytestmark = pytest.mark.integration


async def wfformat(folder: Path, *arguments: str) -> asyncio.subprocess.Process:
    """The command, with its servers' files below `folder`."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.wfformat", *arguments,
        cwd=ROOT, env={**os.environ, "TMPDIR": str(folder)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def workflow(path: Path, seconds: float) -> str:
    """One task, then three of which two fit at once, then one."""
    middle = [{"id": f"m{index}", "parents": ["a"], "runtimeInSeconds": seconds} for index in range(3)]
    ends: list[dict[str, Any]] = [
        {"id": "a", "runtimeInSeconds": seconds},
        {"id": "z", "parents": ["m0", "m1", "m2"], "runtimeInSeconds": str(seconds)},
    ]
    path.write_text(json.dumps({"schemaVersion": "1.4", "workflow": {"tasks": [*middle, *ends]}}))
    return str(path)


async def test_a_workflow_is_run_and_compared_with_its_bound(tmp_path: Path) -> None:
    file = workflow(tmp_path / "1 diamond.json", 20.0)
    process = await wfformat(tmp_path, file, "--scale", "0.005", "--slots", "2", "--rounds", "2")
    out, errors = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, errors.decode()
    [line] = [json.loads(text) for text in out.splitlines()]
    assert line["name"] == "engine.wfcommons.1_diamond.5.makespan_ratio"
    assert (line["tasks"], line["slots"], line["scale"], line["n"], line["file"]) == (5, 2, 0.005, 2, file)
    assert line["bound_s"] == pytest.approx(0.3)  # the path: 3 x 20 s; the work is 50 s a slot
    assert line["ratio_without_overhead"] == pytest.approx(4 / 3, abs=1e-3)
    assert line["value"] >= line["ratio_without_overhead"], "faster than an engine that takes no time"


async def test_an_interrupt_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    file = workflow(tmp_path / "long.json", 600.0)
    files = tmp_path / "servers"
    files.mkdir()
    process = await wfformat(files, file, "--scale", "1")
    assert process.stderr is not None
    errors = b""
    while b"5 tasks, 3 rounds" not in errors:  # its servers are up and the first round begins
        errors += await asyncio.wait_for(process.stderr.readuntil(b"\n"), 60)
    children = psutil.Process(process.pid).children(recursive=True)
    assert {"nats-server"} < {child.name() for child in children}
    process.send_signal(signal.SIGTERM)
    await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 130
    assert list(files.iterdir()) == []
    await until(lambda: not any(child.is_running() for child in children))
