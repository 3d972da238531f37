"""agentctl against a real gRPC server: output, exit codes, errors."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import yaml

from agentflow_sdk import Problem
from agentflow_sdk.testing import FakeAgentFlow
from tests.support.agentctl import AgentCtl, configure

FLOW = """
name: demo
version: 1
dag:
  nodes:
    - {id: read, type: tool, config: {tool_name: file.read, tool_args: {path: x}}}
    - {id: think, type: llm, config: {prompt_ref: p@1, inputs: {content: read.output}}}
  edges: [{from: read, to: think}]
"""


class Cli(AgentCtl):
    """agentctl beside a server that is a fake, and a workflow in a file."""

    def __init__(self, server: FakeAgentFlow, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.flow = folder / "flow.yaml"
        self.flow.write_text(FLOW)


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    monkeypatch.chdir(tmp_path)
    with FakeAgentFlow() as server:
        configure(monkeypatch, tmp_path, server.endpoint, server.token)
        yield Cli(server, tmp_path)


def test_submit_and_follow_a_run(cli: Cli) -> None:
    words = (
        "--input",
        "n=3",
        "-i",
        "s=hello",
        "--inputs-json",
        '{"deep": [1]}',
        "--tag",
        "team=a",
        "--budget-cents",
        "7",
    )
    result = cli("workflow", "submit", cli.flow, *words, "--watch")
    assert "completed" in result.stdout
    assert "hello" in result.stdout
    assert "step.completed" in result.stderr
    (request,) = cli.server.requests.values()
    assert (request.budget_cents, dict(request.tags)) == (7, {"team": "a"})

    run = cli.json("workflow", "submit", cli.flow, "-i", "n=3", "--wait")
    assert (run["status"], run["output"], run["cost_nano_usd"]) == ("completed", {"n": 3}, 1_200_000)
    listed = cli.json("workflow", "list", "--status", "completed")
    assert {item["run_id"] for item in listed} == set(cli.server.runs)
    assert "demo@1" in cli("workflow", "list").stdout
    assert "EMAIL_ADDRESS 2" in cli("workflow", "get", run["run_id"], "--reveal", "--reason", "audit").stdout
    assert yaml.safe_load(cli("workflow", "get", run["run_id"], "-o", "yaml").stdout)["status"] == "completed"
    events = [json.loads(line) for line in cli("workflow", "watch", run["run_id"], "-o", "json").stdout.splitlines()]
    assert events[-1]["type"] == "run.completed"
    assert "has already ended" in cli("workflow", "cancel", run["run_id"]).stdout
    assert "█" in cli("trace", "get", run["run_id"]).stdout
    assert cli.json("trace", "get", run["run_id"])["steps"][0]["step"] == "read"
    assert len(cli.json("trace", "query", "--start", "1h", "--end", "now", "--status", "completed")) == 2


def test_a_failed_run_is_exit_code_1(cli: Cli) -> None:
    for way in ("--wait", "--watch"):
        result = cli("workflow", "submit", cli.flow, "-i", "fail=true", way, code=1)
        assert "asked to fail" in result.stdout
    run_id = cli.json("workflow", "submit", cli.flow, "-i", "fail=true")["run_id"]
    cli("workflow", "watch", run_id, code=1)
    cli("workflow", "watch", run_id, "-o", "json", code=1)
    cli("workflow", "get", run_id)


def test_registered_workflows_and_idempotency(cli: Cli) -> None:
    assert "demo@1 registered" in cli("workflow", "register", cli.flow).stdout
    assert "already" in cli("workflow", "register", cli.flow).stdout
    first = cli.json("workflow", "submit", "demo@1", "--idempotency-key", "k")
    again = cli("workflow", "submit", "demo", "--idempotency-key", "k", "-o", "json")
    assert json.loads(again.stdout) == {"run_id": first["run_id"], "deduplicated": True}
    assert "nothing new" in again.stderr
    assert cli("workflow", "submit", "-", "--wait", stdin=FLOW).exit_code == 0
    assert "no workflow 'unknown'" in cli("workflow", "submit", "unknown", code=2).stderr


def test_validate_offline_with_file_and_line(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTFLOW_ENDPOINT", "")
    assert "demo@1, 2 steps" in cli("workflow", "validate", cli.flow).stdout
    bad = cli.folder / "bad.yaml"
    bad.write_text(FLOW.replace("type: tool", "type: tol").replace("to: think", "to: thin"))
    result = cli("workflow", "validate", bad, code=2)
    assert f"{bad}:6: dag.nodes[0].type: unknown node type 'tol'" in result.stderr
    assert result.stdout == ""
    bad.write_text("name: [oops")
    assert f"{bad}:" in cli("workflow", "validate", bad, code=2).stderr
    problems = json.loads(cli("workflow", "validate", bad, "-o", "json", code=2).stdout)["problems"]
    assert problems[0]["fix"]
    assert "no such file" in cli("workflow", "validate", "missing.yaml", code=2).stderr.lower()
    assert cli.server.calls == {}


def test_prompts_and_budgets(cli: Cli) -> None:
    (cli.folder / "t.txt").write_text("Say {{x}}")
    words = ("--template", "@t.txt", "--schema", '{"type": "object"}', "--label", "prod", "--task", "answer")
    assert "p@1 created" in cli("prompt", "create", "p", *words).stdout
    prompt = cli.json("prompt", "get", "p", "1")
    assert (prompt["template"], prompt["labels"], prompt["inputs_schema"]) == (
        "Say {{x}}",
        ["prod"],
        {"type": "object"},
    )
    assert "Say {{x}}" in cli("prompt", "get", "p").stdout
    assert "p" in cli("prompt", "list").stdout
    assert "--schema: not JSON" in cli("prompt", "create", "p", "--template", "x", "--schema", "{", code=2).stderr
    budget = cli.json("budget", "create", "--limit", "1000", "--period", "monthly", "--name", "team")
    assert (budget["limit_nano_usd"], budget["period"]) == (1_000_000_000_000, "monthly")
    assert "$1,000.00" in cli("budget", "list").stdout
    assert "$1,000.00" in cli("budget", "get", "team").stdout
    assert "US dollars" in cli("budget", "create", "--limit", "much", code=2).stderr
    assert "daily" in cli("budget", "create", "--limit", "1", "--period", "hourly", code=2).stderr


def test_errors_are_one_clear_message(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem("line 7, dag.nodes[1].config.prompt_ref", "the prompt 'p@1' does not exist", "create it")
    cli.server.fail_next("SubmitWorkflow", grpc.StatusCode.INVALID_ARGUMENT, "not valid", problems=(problem,))
    result = cli("workflow", "submit", cli.flow, code=2)
    assert f"{cli.flow}:7: dag.nodes[1].config.prompt_ref: the prompt 'p@1' does not exist (create it)" in result.stderr
    assert "Traceback" not in result.stderr
    assert "no run" in cli("workflow", "get", "run_xyzw", code=2).stderr
    assert "API key" in cli("workflow", "list", "--token", "wrong", code=4).stderr
    assert "org" in cli("workflow", "list", "--org-id", "other", code=4).stderr
    assert "agentctl up" in cli("workflow", "list", "--endpoint", "127.0.0.1:1", code=3).stderr
    known = "pending, running, waiting, paused, completed, failed, cancelled"
    said = cli("workflow", "list", "--status", "done", code=2).stderr
    assert said == f"error: --status: unknown run status 'done' (use {known})\n"
    assert "key=value" in cli("workflow", "submit", cli.flow, "--input", "x", code=2).stderr
    cli("workflow", "list", "--no-such-flag", code=2)
    monkeypatch.setenv("AGENTFLOW_TOKEN", "")
    assert "no API key" in cli("workflow", "list", code=4).stderr
    monkeypatch.setenv("AGENTFLOW_ENDPOINT", "")
    assert "agentctl up" in cli("workflow", "list", code=3).stderr
    assert "there is no such file" in cli("demo", "--doc", "missing.pdf", code=2).stderr


def test_config_is_kept_private_and_masked(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AGENTFLOW_ENDPOINT")
    monkeypatch.delenv("AGENTFLOW_TOKEN")
    cli("config", "set", "endpoint", cli.server.endpoint)
    cli("config", "set", "token", "-", stdin=cli.server.token + "\n")
    cli("config", "set", "org-id", "default")
    assert (cli.folder / "config.yaml").stat().st_mode & 0o777 == 0o600
    shown = cli("config", "show")
    assert cli.server.endpoint in shown.stdout
    assert cli.server.token not in shown.stdout
    assert cli.json("config", "show")["token"].startswith("afk_")
    cli("workflow", "list")
    cli("config", "set", "token", "")
    cli("workflow", "list", code=4)
    assert "host:port" in cli("config", "set", "endpoint", "nonsense", code=2).stderr


def test_the_program_starts_fast_and_completes_words(cli: Cli) -> None:
    program = [str(Path(sys.executable).parent / "agentctl")]
    done = subprocess.run([*program, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("agentctl 0.")
    # the promise is 0.3 s; a busy machine's clock can't judge it, what is imported can
    heavy = (
        "{'asyncio', 'grpc', 'rich', 'yaml', 'pydantic', 'msgspec', 'agentflow_sdk.client', "
        "'agentflow_common.definition.model'}"
    )
    check = f"import sys, agentctl.main; print(sorted({heavy} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
    assert "_AGENTCTL_COMPLETE" in cli("completion", "show", "bash").stdout
    piped = subprocess.run(
        [*program, "workflow", "submit", str(cli.flow), "--watch", "-o", "json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(piped.stdout)["status"] == "completed"
