"""A client in another language, made from the .proto files alone, submits a workflow and watches it to the end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.paths import EXAMPLES, ROOT

from .conftest import Platform

pytestmark = pytest.mark.e2e

PROGRAM = Path(__file__).with_name("node")


@pytest.fixture(scope="module")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("node")
    shutil.copytree(PROGRAM, folder, dirs_exist_ok=True)
    try:
        done = subprocess.run(
            [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error", "--fetch-retries=0"],
            cwd=folder, capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        pytest.skip("the npm registry did not answer in time")
    if done.returncode != 0:
        pytest.skip(f"npm install failed: {done.stderr.strip().splitlines()[-1:]}")
    return folder


def node(folder: Path, platform: Platform, token: str, inputs: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["node", "client.js", ROOT / "proto", platform.stack.grpc, EXAMPLES / "conditional.yaml", json.dumps(inputs)],
        cwd=folder, env={**os.environ, "AGENTFLOW_TOKEN": token}, capture_output=True, text=True, timeout=180,
        check=False,
    )  # fmt: skip


def test_a_node_client_submits_and_watches_to_the_end(node_folder: Path, platform: Platform) -> None:
    text = "The harbour was busy all day. Three boats came in before noon, and two of them carried grain."
    done = node(node_folder, platform, platform.stack.dev_key, {"content": text})
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["status"] == "RUN_STATUS_COMPLETED"
    assert answer["output"]["kind"] == "text"
    seen = answer["seen"]
    assert seen["types"][0] == "run.submitted"
    assert seen["types"][-1] == "run.completed"
    assert seen["types"].count("step.completed") == 3
    assert seen["types"].count("step.skipped") == 1
    assert seen["status"] == "RUN_STATUS_COMPLETED"


def test_a_node_client_reads_what_is_wrong(node_folder: Path, platform: Platform) -> None:
    done = node(node_folder, platform, platform.stack.dev_key, {"contents": "x"})
    assert done.returncode == 1
    assert done.stderr.startswith("3 ")  # INVALID_ARGUMENT
    assert "content" in done.stderr
