"""What agentctl shows on a terminal of 80 columns, and what a person can copy from it."""

from __future__ import annotations

import itertools
import os
import pty
import re
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from agentflow.v1 import workflow_pb2, workflow_pb2_grpc
from tests.support import deadlines
from tests.support.paths import EXAMPLES
from tests.support.waiting import PATIENCE_S, until_now

from .conftest import Platform

if TYPE_CHECKING:
    from agentflow_sdk import Client

pytestmark = pytest.mark.e2e
COLUMNS = 80
CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
RUN = re.compile(r"run_[0-9a-z]{26}(?![0-9a-z])")
ASKS = """
name: asks
dag:
  nodes:
    - {id: approve, type: approval, config: {message: "Ship it?", approvers: [ann, bo], required: 1}}
"""
FAILS = """
name: a_workflow_with_a_long_name_that_fails
inputs:
  path: {type: string}
dag:
  nodes:
    - {id: read, type: tool, config: {tool_name: file.read, tool_args: {path: "{{path}}"}}}
"""


def environment(platform: Platform) -> dict[str, str]:
    return {
        **os.environ, "AGENTFLOW_ENDPOINT": platform.stack.grpc, "AGENTFLOW_TOKEN": platform.stack.dev_key,
        "AGENTFLOW_CLI_CONFIG": os.devnull, "COLUMNS": str(COLUMNS), "LINES": "40", "TERM": "xterm-256color",
    }  # fmt: skip


def on_a_terminal(platform: Platform, *arguments: str) -> str:
    """What the command writes on a terminal, without its colours."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "agentctl", *arguments], env=environment(platform), stdin=theirs, stdout=theirs,
        stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    parts: list[bytes] = []

    def read() -> None:
        try:
            while chunk := os.read(ours, 65_536):
                parts.append(chunk)
        except OSError:  # the other end is closed
            return

    reader = threading.Thread(target=read)
    reader.start()
    process.wait(timeout=180)
    reader.join(timeout=30)
    os.close(ours)
    return CODES.sub("", b"".join(parts).decode()).replace("\r", "")


def test_usage_16_ids_stay_on_one_line_of_80_columns(platform: Platform, client: Client) -> None:
    tags = {"team": "data-platform-and-more", "stage": "a-long-value-of-a-tag"}
    made = client.workflows.submit(FAILS, {"path": "nowhere.txt"}, tags=tags)
    assert client.workflows.wait(made, timeout=PATIENCE_S).status.value == "failed"
    for arguments in (
        ("workflow", "list"),
        ("workflow", "list", "--workflow", "a_workflow_with_a_long_name_that_fails"),
        ("workflow", "get", made.run_id),
        ("trace", "query", "--since", "1h"),
    ):
        until_now(lambda words=arguments: made.run_id in RUN.findall(on_a_terminal(platform, *words)))
    listed = on_a_terminal(platform, "workflow", "list", "--workflow", "a_workflow_with_a_long_name_that_fails")
    assert max(len(line) for line in listed.splitlines()) <= COLUMNS


def test_usage_16_the_timeline_fits_80_columns(platform: Platform, client: Client) -> None:
    text = (EXAMPLES / "document_analysis.yaml").read_text()
    run = client.workflows.run(text, {"document_key": "vendor_review.md"}, timeout=180)
    until_now(lambda: len(client.traces.get(run.run_id).steps) > 3)
    shown = on_a_terminal(platform, "trace", "get", run.run_id, "--output", "timeline").splitlines()
    steps = [line for line in shown if line.split()[:1] in (["ingest"], ["analyze"]) or "█" in line]
    assert len(steps) == len([line for line in steps if "█" in line]), "a step takes one line"
    assert max(len(line) for line in shown) <= COLUMNS


def test_usage_16_a_run_is_named_by_its_beginning_or_as_the_last(platform: Platform, client: Client) -> None:
    made = client.workflows.submit(FAILS, {"path": "nowhere.txt"})
    client.workflows.wait(made, timeout=PATIENCE_S)
    until_now(lambda: next(iter(client.workflows.list(limit=1))).run_id == made.run_id)
    for named in ("last", "@last", made.run_id[:-8], made.run_id.removeprefix("run_")[:-8]):
        done = platform.cli("workflow", "get", named, "-o", "json")
        assert made.run_id in done.stdout, named
        assert made.run_id in done.stderr, "it says which run that is"
    done = platform.cli("workflow", "why", "run_zzzzzz")
    assert (done.returncode, "no run's id begins with run_zzzzzz" in done.stderr) == (2, True)
    # without a key of the client's, ids begin with the time
    with deadlines.blocking_channel(platform.stack.grpc) as channel:
        make: Any = workflow_pb2_grpc.WorkflowServiceStub
        auth = (("authorization", f"Bearer {platform.stack.dev_key}"),)
        request = workflow_pb2.SubmitWorkflowRequest(definition_text=FAILS)
        request.inputs.update({"path": "nowhere.txt"})
        both = [make(channel).SubmitWorkflow(request, metadata=auth).run_id for _ in range(2)]
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(*both, strict=True))
    shared = "".join(first for first, _ in same)
    assert len(shared) > len("run_") + 4
    until_now(lambda: len(list(client.workflows.list(run_id_prefix=shared))) == 2)
    done = platform.cli("workflow", "get", shared)
    assert (done.returncode, all(run in done.stderr for run in both)) == (2, True)


def test_usage_16_an_approval_prints_the_command_that_answers_it(platform: Platform, client: Client) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "agentctl", "workflow", "submit", "-", "--watch"], env=environment(platform),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(ASKS)
        process.stdin.close()
        command = next(line for line in process.stderr if "agentctl workflow approve" in line)
        words = command.partition("agentctl ")[2].split()
        run = words[2]
        why = on_a_terminal(platform, "workflow", "why", run)
        assert f"  agentctl workflow approve {run} approve --as PERSON\n" in why
        done = platform.cli(*(word.replace("PERSON", "ann") for word in words))
        assert done.returncode == 0, done.stderr
        process.stderr.read()
        assert process.wait(timeout=180) == 0


def test_usage_16_retry_and_fork_follow_the_new_run(platform: Platform, client: Client) -> None:
    made = client.workflows.submit(FAILS, {"path": "later.txt"})
    assert client.workflows.wait(made, timeout=PATIENCE_S).status.value == "failed"
    assert platform.cli("workflow", "retry", made.run_id, "--watch").returncode == 1
    (platform.files / "later.txt").write_text("there now")
    done = platform.cli("workflow", "fork", made.run_id, "--at", "read", "--watch", "-o", "json")
    assert done.returncode == 0, done.stderr
    assert '"completed"' in done.stdout
    assert "0 steps keep their result" in done.stderr


def test_usage_16_an_empty_list_says_so_and_is_empty_json(platform: Platform) -> None:
    for arguments, said in (
        (("workflow", "list", "--workflow", "nothing"), "no run matches"),
        (("workflow", "approvals", "--workflow", "nothing"), "no step waits for an approval"),
        (("schedule", "list", "--workflow", "nothing"), "no schedules yet"),
        (("dead", "list", "--run", "run_nothing"), "no dead letters"),
        (("prompt", "list", "--prefix", "nothing_"), "no prompts"),
        (("trace", "query", "--start", "2020-01-01", "--end", "2020-01-02"), "no runs in that time"),
        (("tools", "list", "--prefix", "nothing."), "no worker offers"),
        (("audit", "list", "--start", "2020-01-01", "--end", "2020-01-02"), "no audit entry matches"),
    ):
        done = platform.cli(*arguments)
        assert (done.returncode, done.stdout) == (0, ""), arguments
        assert said in done.stderr
        assert platform.cli(*arguments, "-o", "json").stdout == "[]\n"


def test_usage_16_times_of_schedules_have_a_zone_and_headers_are_alike(platform: Platform, client: Client) -> None:
    client.workflows.register(ASKS)
    spec = {"name": "zoned", "workflow": "asks", "cron": "30 2 * * *", "time_zone": "Europe/Berlin"}
    client.schedules.create(spec)
    until_now(lambda: any(schedule.name == "zoned" for schedule in client.schedules.list()))
    done = platform.cli("schedule", "list", "--workflow", "asks")
    assert re.search(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun) \d{4}-\d\d-\d\d 02:30:00 CES?T", done.stdout), done.stdout
    assert done.stdout.startswith("NAME")
    assert platform.cli("schedule", "backfill", "zoned", "--since", "2d", "--until", "1d", "--dry-run").returncode == 0
    client.schedules.delete("zoned")
