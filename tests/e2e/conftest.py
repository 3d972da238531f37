"""One running stack for the tests of this folder, and what they ask of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from typer.testing import CliRunner

from agentctl.main import app
from tests.support.paths import EXAMPLES

if TYPE_CHECKING:
    from agentflow_sdk import Client


@dataclass
class Platform:
    """A running stack. buckets: the folder of its file:// buckets. files: one more folder that its workers may read."""

    stack: Any
    buckets: Path
    files: Path = Path()
    token: str = ""  # the API key of its clients; "": the stack's own

    def client(self, token: str = "", org_id: str = "") -> Client:
        from agentflow_sdk import NO_RETRY, Client

        return Client(self.stack.grpc, token or self.token or self.stack.dev_key, org_id, retry=NO_RETRY)

    def make_key(self, permissions: str, org: str = "default") -> str:
        """A new API key, as an administrator makes one."""
        command = [sys.executable, "-m", "agentflow_gateway.keys", "create", "--org", org, "--permissions", permissions]
        env = {**os.environ, **self.stack.info.postgres}
        return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout.strip()

    def cli(self, *arguments: str, token: str = "", text: str = "") -> subprocess.CompletedProcess[str]:
        """`agentctl` in this process: a process of its own takes a quarter of a second to start.

        Those of `test_documents_run.py` are processes.
        """
        env = {
            "AGENTFLOW_ENDPOINT": self.stack.grpc,
            "AGENTFLOW_TOKEN": token or self.token or self.stack.dev_key,
            "AGENTFLOW_CLI_CONFIG": os.devnull,
            "COLUMNS": "200",
        }
        done = CliRunner(env=env).invoke(app, list(arguments), input=text)
        return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)


def buckets_in(folder: Path) -> Path:
    buckets = folder / "buckets"
    shutil.copytree(EXAMPLES / "data" / "posts", buckets / "posts")
    return buckets


def options(buckets: Path, files: Path | None = None) -> dict[str, Any]:
    """What a stack needs to run the examples."""
    roots = [str(EXAMPLES / "data"), *([str(files)] if files else [])]
    return {"file_roots": roots, "env": {"AGENTFLOW_BUCKET_ROOT": str(buckets)}}


@pytest.fixture(scope="package")  # it ends with the tests of this folder, and does not idle beside others
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    from tests.support.stack import running_stack

    folder = tmp_path_factory.mktemp("platform")
    buckets = buckets_in(folder)
    files = folder / "files"
    files.mkdir()
    tools = [str(Path(__file__).with_name(name)) for name in ("predecessor_tools.py", "foreign_tools.py")]
    with running_stack(folder / "data", load=tools, **options(buckets, files)) as stack:
        yield Platform(stack, buckets, files)


@pytest.fixture
def client(platform: Platform) -> Iterator[Client]:
    with platform.client() as opened:
        yield opened


@pytest.fixture(scope="session")
def planted() -> dict[str, list[str]]:
    """The planted values of vendor_review.md, by category."""
    values: dict[str, list[str]] = yaml.safe_load((EXAMPLES / "data" / "planted.yaml").read_text())["planted"]
    return values


@pytest.fixture(scope="session")
def kept() -> list[str]:
    """Look-alikes in vendor_review.md that must survive."""
    values: list[str] = yaml.safe_load((EXAMPLES / "data" / "planted.yaml").read_text())["kept"]
    return values
