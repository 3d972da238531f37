"""`agentctl up` as people use it: Ctrl-C, a second start with other settings, what is kept between starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from agentctl.stack import layout as files
from agentctl.stack.choices import differences, environment_of, remembered
from agentctl.stack.control import down, find
from agentctl.stack.layout import Layout, Options, StackInfo
from agentflow_common.embedded.servers import StackError
from agentflow_sdk import Client
from tests.support.waiting import until_now

pytestmark = pytest.mark.integration

WAITING = """
name: waiting
version: 1
dag: {nodes: [{id: ask, type: approval, config: {message: go on?}}]}
"""
TOOL = """
from agentflow_worker.registry import tool

@tool(name="mine.answer", idempotent=True)
def answer() -> dict:
    return {"answer": 42}
"""


def run(*words: str | Path, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "agentctl", *map(str, words)]
    return subprocess.run(
        command, cwd=cwd, env=_env(env), capture_output=True, text=True, timeout=400, check=False
    )  # fmt: skip


def begin(*words: str | Path, cwd: Path, log: Path) -> subprocess.Popen[bytes]:
    """A foreground command in a process group of its own, as a shell starts it."""
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "agentctl", *map(str, words)], cwd=cwd, env=_env({}), stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip


def _env(more: dict[str, str]) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("AGENTFLOW_") and not k.endswith("_API_KEY")}
    return {**kept, "AGENTFLOW_CLI_CONFIG": os.devnull, "COLUMNS": "200", "PYTHONUNBUFFERED": "1", **more}


def parts(data_dir: Path) -> list[psutil.Process]:
    state = files.read(Layout(data_dir).state_json, files.State)
    assert state is not None
    return [psutil.Process(part.pid) for part in state.parts.values()]


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def quiet(text: str) -> bool:
    return not any(word in text for word in ("Traceback", "never retrieved", "CancelledError", "Error:"))


def test_usage_11_ctrl_c_stops_a_foreground_stack_cleanly(tmp_path: Path) -> None:
    data, log = tmp_path / "data", tmp_path / "log"
    process = begin("up", "--data-dir", data, "--timeout", "300", cwd=tmp_path, log=log)
    try:
        until_now(lambda: find(data), timeout_s=300, what=log.read_text())
        running = parts(data)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(120) == 0, log.read_text()
    finally:
        process.kill()
        down(data)
    assert quiet(log.read_text()), log.read_text()
    assert all(gone(part) for part in running)
    assert find(data) is None


def test_usage_11_a_second_ctrl_c_forces_the_stop(tmp_path: Path) -> None:
    data, log = tmp_path / "data", tmp_path / "log"
    process = begin("up", "--data-dir", data, "--timeout", "300", cwd=tmp_path, log=log)
    try:
        info = until_now(lambda: find(data), timeout_s=300, what=log.read_text())
        running = parts(data)
        os.kill(info.services["worker"].pid, signal.SIGSTOP)  # it never stops by itself now
        process.send_signal(signal.SIGINT)
        until_now(lambda: "Ctrl-C again" in log.read_text())
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 130, log.read_text()
    finally:
        process.kill()
        down(data)
    assert quiet(log.read_text()), log.read_text()
    until_now(lambda: all(gone(part) for part in running))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder where a stack with a tool of its own runs."""
    folder = tmp_path_factory.mktemp("up")
    (folder / "mine.py").write_text(TOOL)
    made = run("up", "--detach", "--load", "mine.py", "--timeout", "300", cwd=folder, OPENAI_API_KEY="one")
    try:
        assert made.returncode == 0, made.stderr
        yield folder
    finally:
        down(folder / ".agentflow")


def client(folder: Path) -> Client:
    info = find(folder / ".agentflow")
    assert info is not None
    return Client(info.grpc, Path(info.dev_key_file).read_text().strip())


@pytest.mark.parametrize("words", [("watch",), ("submit", "--watch")], ids=" ".join)
def test_usage_11_ctrl_c_leaves_a_watched_run_and_says_how_to_follow_it(
    folder: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    (folder / "waiting.yaml").write_text(WAITING)
    with client(folder) as opened:
        subject = opened.workflows.submit(WAITING).run_id if words == ("watch",) else "waiting.yaml"
        log = tmp_path / "log"
        process = begin("workflow", words[0], subject, *words[1:], cwd=folder, log=log)
        try:
            until_now(lambda: "ask" in log.read_text(), what="the run is shown")
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130, log.read_text()
        finally:
            process.kill()
        told = log.read_text()
        assert quiet(told) and "the run goes on" in told, told
        for item in opened.workflows.list(status="waiting"):
            opened.workflows.cancel(item.run_id, force=True)


def test_usage_07_a_running_stack_with_other_settings_says_so(folder: Path) -> None:
    (folder / "other.py").write_text(TOOL.replace("mine.answer", "mine.other"))
    for words, env, told in (
        (("--load", "other.py"), {}, f"--load {folder / 'other.py'}: it runs with {folder / 'mine.py'}"),
        (("--load", ""), {}, "--load nothing: it runs with"),
        (("--port", "1"), {}, "--port 1: it listens on"),
        (("--fsync",), {}, "--fsync: it runs with --no-fsync"),
        (("--file-root", "."), {}, "--file-root"),
        (("--postgres-port", "2"), {}, "--postgres-port 2: it runs with 0"),
        ((), {"OPENAI_API_KEY": "two"}, "OPENAI_API_KEY: it had another value"),
        ((), {"COHERE_API_KEY": "x"}, "COHERE_API_KEY: it was not set"),
    ):
        made = run("up", "--detach", *words, cwd=folder, **env)
        assert made.returncode == 1 and told in made.stderr and "--restart" in made.stderr, (words, made)
        assert "two" not in made.stderr
    for words, env in (((), {}), (("--load", "mine.py"), {"OPENAI_API_KEY": "one"}), (("--no-fsync",), {})):
        made = run("up", "--detach", *words, cwd=folder, **env)
        assert made.returncode == 0 and "already running" in made.stdout, (words, made)
    with client(folder) as opened:
        assert "mine.answer" in {tool.name for tool in opened.tools.list()}
    (folder / ".env").write_text("COHERE_API_KEY=two\nOPENAI_API_KEY=one\n")
    try:
        made = run("up", "--detach", cwd=folder)
        assert made.returncode == 1 and "COHERE_API_KEY: it was not set" in made.stderr, made
        assert "OPENAI_API_KEY" not in made.stderr and "two" not in made.stderr
    finally:
        (folder / ".env").unlink()


def test_usage_07_settings_are_kept_over_down_and_up_and_changed_by_restart(folder: Path) -> None:
    data = folder / ".agentflow"
    before = find(data)
    assert run("down", cwd=folder).returncode == 0
    assert run("up", "--detach", "--timeout", "300", cwd=folder).returncode == 0
    kept = files.options_of(Layout(data).options_json.read_bytes())
    after = find(data)
    assert before is not None and after is not None
    assert (list(kept.load), after.grpc) == ([str(folder / "mine.py")], before.grpc)

    (folder / "other.py").write_text(TOOL.replace("mine.answer", "mine.other"))
    made = run("up", "--detach", "--load", "other.py", "--restart", "--timeout", "300", cwd=folder)
    assert made.returncode == 0, made.stderr
    with client(folder) as opened:
        until_now(lambda: "mine.other" in {tool.name for tool in opened.tools.list()})
    (folder / "other.py").write_text(TOOL.replace("mine.answer", "mine.other") + "\n# edited\n")
    assert "was changed after" in run("up", "--detach", "--load", "other.py", cwd=folder).stderr
    (folder / "other.py").write_text(TOOL.replace("mine.answer", "mine.third"))
    made = run("up", "--detach", "--restart", "--timeout", "300", cwd=folder)  # whatever is given, or nothing
    assert made.returncode == 0, made.stderr
    with client(folder) as opened:
        until_now(lambda: "mine.third" in {tool.name for tool in opened.tools.list()})
    assert run("down", cwd=folder).returncode == 0
    (folder / "other.py").unlink()
    made = run("up", "--detach", cwd=folder)
    assert made.returncode != 0 and "no such file any more" in made.stderr + made.stdout, made


def test_a_wrong_setting_ends_the_start_at_once_and_is_said_once(tmp_path: Path) -> None:
    logs = Layout(tmp_path / ".agentflow").logs
    logs.mkdir(parents=True)
    for name in files.Options(data_dir=tmp_path).services:
        (logs / f"{name}.log").write_text("an old line\n")
    made = run("up", "--detach", cwd=tmp_path, LOG_LEVEL="loud")
    assert made.returncode == 1
    assert made.stderr.count("LOG_LEVEL: use one of DEBUG, INFO") == 1, made.stderr
    assert "an old line" not in made.stderr
    began = [path.read_text().count("can't start") for path in logs.glob("*.log") if path.stem != "supervisor"]
    assert max(began) < 3, "no service is started until it has failed three times"


def test_the_dotenv_file_reaches_the_services_and_a_wrong_line_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("# mine\nLOG_LEVEL=loud\n")
    made = run("up", "--detach", cwd=tmp_path)
    assert made.returncode == 1 and made.stderr.count("LOG_LEVEL: use one of DEBUG, INFO") == 1, made
    (tmp_path / ".env").write_text("# mine\nLOG_LEVEL info\n")
    made = run("up", "--detach", cwd=tmp_path)
    assert made.returncode == 1 and f"{tmp_path / '.env'} is not valid:\n  line 2: it is not" in made.stderr, made


def test_usage_07_what_is_not_given_is_as_in_the_last_start(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    last = Options(data_dir=tmp_path, load=["a.module"], file_roots=["/x"], durability="fsync", postgres_port=7)
    assert remembered(Options(data_dir=tmp_path), frozenset()) == Options(data_dir=tmp_path)  # there was none
    files.write(layout.options_json, files.plain(last))
    assert remembered(Options(data_dir=tmp_path), frozenset()) == last
    mine = remembered(Options(data_dir=tmp_path, load=["b"]), frozenset({"load", "durability"}))
    assert (list(mine.load), mine.durability, list(mine.file_roots)) == (["b"], "default", ["/x"])
    files.write(layout.options_json, files.plain(Options(data_dir=tmp_path, load=[str(tmp_path / "gone.py")])))
    with pytest.raises(StackError, match="no such file any more"):
        remembered(Options(data_dir=tmp_path), frozenset())


def test_usage_07_the_environment_is_compared_by_digests_alone(tmp_path: Path) -> None:
    secret = "-".join(("sk", "value"))
    then = environment_of({"OPENAI_API_KEY": secret, "AGENTFLOW_TOKEN": secret, "HOME": "/x", "AGENTFLOW_X": "1"})
    assert set(then.digests) == {"OPENAI_API_KEY", "AGENTFLOW_X"} and secret not in str(then)
    info = StackInfo(
        pid=1, grpc="127.0.0.1:5", http="http://127.0.0.1:6", nats="nats://127.0.0.1:7", postgres={}, services={},
        dev_key_file="", data_dir="", started_at=0.0, ready_s=0.0,
    )  # fmt: skip
    options = Options(data_dir=tmp_path)

    def told(**variables: str) -> list[str]:
        return differences(info, options, then, options, frozenset(), variables)

    assert told() == told(OPENAI_API_KEY=secret) == told(AGENTFLOW_TOKEN="other") == []
    assert told(WORKER_CONCURRENCY="3") == ["WORKER_CONCURRENCY: it was not set when the stack was started"]
    assert told(AGENTFLOW_CONFIG="y.yaml") == ["AGENTFLOW_CONFIG: it was not set when the stack was started"]
    assert told(OPENAI_API_KEY="x") == ["OPENAI_API_KEY: it had another value when the stack was started"]
