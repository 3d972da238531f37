"""`agentctl init` makes a project that runs as its README says, and `agentctl logs` shows what its stack writes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e


class Shell:
    """A person's shell in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        paths = [str(Path(sys.executable).parent), os.environ["PATH"]]
        self.env = {**os.environ, "PATH": os.pathsep.join(paths), "AGENTFLOW_CLI_CONFIG": os.devnull}
        for name in ("AGENTFLOW_ENDPOINT", "AGENTFLOW_TOKEN", "API_KEY", "AGENTFLOW_DATA_DIR"):
            self.env.pop(name, None)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False, timeout=300,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def agentctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "agentctl", *arguments)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    folder = tmp_path_factory.mktemp("project") / "my first-project"
    made = Shell(folder.parent).agentctl("init", folder.name)
    assert made.returncode == 0, made.stderr
    assert "agentctl up --detach --load tools.py" in made.stderr
    shell = Shell(folder)
    yield shell
    shell.agentctl("down")


def test_usage_17_a_new_project_runs_as_its_readme_says(shell: Shell) -> None:
    (block,) = re.findall(r"```sh\n(.*?)```", (shell.folder / "README.md").read_text(), re.S)
    assert block.rstrip().endswith("agentctl down")
    block = block.rstrip().removesuffix("agentctl down")  # the tests after this one need the stack
    done = shell.run("bash", "-euo", "pipefail", "-c", block)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Hello, Ada." in done.stdout
    assert "my_first_project.greet" in shell.agentctl("tools", "list").stdout
    again = Shell(shell.folder.parent).agentctl("init", shell.folder.name)
    assert (again.returncode, "README.md" in again.stderr) == (2, True)


def test_usage_17_logs_are_shown_by_time_level_and_part(shell: Shell) -> None:
    shown = [json.loads(line) for line in shell.agentctl("logs", "--limit", "0", "-o", "json").stdout.splitlines()]
    assert {"nats", "postgres", "gateway", "worker", "supervisor"} <= {line["part"] for line in shown}
    times = [line["ts_ms"] for line in shown]
    assert times == sorted(times)
    now_ms = time.time() * 1000
    assert all(now_ms - 3_600_000 < ms <= now_ms for ms in times if ms), "the times of every part are understood"
    only = shell.agentctl("logs", "worker", "--limit", "0")
    assert only.stdout
    assert {line.split()[2] for line in only.stdout.splitlines()} == {"worker"}
    high = [json.loads(line) for line in shell.agentctl("logs", "--level", "error", "-o", "json").stdout.splitlines()]
    assert {line["level"] for line in high} <= {"error", "critical"}
    assert not shell.agentctl("logs", "--since", "2100-01-01").stdout
    for arguments, said in (
        (("logs", "gatway"), "did you mean 'gateway'?"),
        (("logs", "--level", "loud"), "use debug, info"),
        (("logs", "--data-dir", "nowhere"), "no stack has run in"),
    ):
        assert said in shell.agentctl(*arguments).stderr


def test_usage_17_logs_follow_what_is_written(shell: Shell) -> None:
    log = shell.folder / ".agentflow/logs/worker.log"
    command = [sys.executable, "-m", "agentctl", "logs", "worker", "--follow", "--limit", "1"]
    seen = threading.Event()
    with subprocess.Popen(command, cwd=shell.folder, env=shell.env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()  # the last line that was there

        def read() -> None:
            assert process.stdout is not None
            if any("and here is more" in line for line in process.stdout):
                seen.set()

        reader = threading.Thread(target=read)
        reader.start()
        with log.open("a") as file:  # in two parts: half a line is not shown
            file.write('{"ts":"2100-01-01T00:00:00.000Z","level":"info","message":"and here ')
            file.flush()
            file.write('is more"}\n')
        seen.wait(60)
        process.terminate()
        reader.join(timeout=30)
    assert seen.is_set()


def test_usage_17_a_command_that_is_looked_for_in_the_wrong_place_is_named(shell: Shell) -> None:
    for arguments, said in (
        (("submit", "x.yaml"), "'agentctl workflow submit'"),
        (("workfow", "list"), "'workflow'"),
        (("prompt", "submit"), "'agentctl workflow submit'"),
        (("workflow", "lits"), "'list'"),
        (("wach",), "'agentctl workflow watch'"),
    ):
        done = shell.agentctl(*arguments)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
