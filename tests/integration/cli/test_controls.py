"""agentctl's controls against a real gateway, scheduler and worker: what it prints, and how it exits."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.agentctl import AgentCtlInThread, configure
from tests.support.engine import scheduling, working
from tests.support.gateway import running_gateway
from tests.support.waiting import PATIENCE_S, until

pytestmark = pytest.mark.integration

FLOW = """\
name: pay
version: {version}
dag:
  nodes:
    - {{id: ask, type: approval, config: {{approvers: [env, ann], message: "pay {version}?"}}}}
    - {{id: go, type: signal, config: {{signal: go}}}}
    - {{id: sum, type: function, config: {{function_name: {function}, inputs: {{a: go.output.amount, b: 1}}}}}}
  edges: [{{from: ask, to: sum}}]
"""


@pytest.fixture
async def cli(
    nats_url: str, db_env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[AgentCtlInThread]:
    monkeypatch.chdir(tmp_path)
    for version, function in ((1, "t.broken"), (2, "t.add")):
        Path(tmp_path / f"v{version}.yaml").write_text(FLOW.format(version=version, function=function))
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(scheduling(nats_url))
        await stack.enter_async_context(working(nats_url))
        gateway = await stack.enter_async_context(running_gateway(nats_url, db_env))
        configure(monkeypatch, tmp_path, gateway.endpoint, gateway.key)
        yield AgentCtlInThread()


async def test_a_cancellation_that_comes_too_late_names_the_run_that_goes_on(
    cli: AgentCtlInThread, tmp_path: Path
) -> None:
    text = """\
name: rounds
inputs: {first: {type: boolean, default: true}}
dag:
  nodes:
    - {id: held, type: signal, condition: "!first", config: {signal: go}}
    - {id: again, type: continue_as_new, condition: first, config: {inputs: {first: false}}}
"""
    Path(tmp_path / "rounds.yaml").write_text(text)
    run = (await cli.json("workflow", "submit", "rounds.yaml"))["run_id"]
    await cli.until_status(run, "completed")
    following = (await cli.json("workflow", "get", run))["continued_as"]
    said = (await cli("workflow", "cancel", run)).stdout
    assert "has already ended: completed" in said and f"it went on as {following}" in said


STEPS = """\
name: steps
dag:
  nodes:
    - {id: one, type: function, config: {function_name: t.add, inputs: {a: 1, b: 1}}}
    - {id: two, type: function, config: {function_name: t.add, inputs: {a: one.output, b: 1}}}
    - {id: three, type: function, config: {function_name: t.add, inputs: {a: two.output, b: 1}}}
"""


async def test_a_run_is_debugged(cli: AgentCtlInThread, tmp_path: Path) -> None:
    Path(tmp_path / "steps.yaml").write_text(STEPS)
    run = (await cli.json("workflow", "submit", "steps.yaml", "--break-at", "two"))["run_id"]
    await cli.until_status(run, "paused")
    shown = (await cli("workflow", "get", run)).stdout
    assert "stopped before  two" in shown and "breakpoints     two" in shown
    why = await cli("workflow", "why", run)
    assert "the run is stopped before two by a breakpoint" in why.stderr
    assert (await cli("workflow", "break", run, "--at", "three")).stdout == "the run stops before two, three\n"
    assert (await cli("workflow", "continue", run, "--step")).stdout == f"run {run} goes on with two\n"

    async def is_there() -> bool:
        return (await cli.json("workflow", "get", run))["stopped_before"] == ["three"]

    await until(is_there)
    assert (await cli("workflow", "break", run, "--remove")).stdout == "the run has no breakpoints\n"
    changed = await cli.json("workflow", "continue", run, "--set", "two.output=40")
    assert changed["steps"] == ["three"]
    await cli.until_status(run, "completed")
    assert (await cli.json("workflow", "get", run))["output"] == {"three": 41}
    assert "changed    two.output by " in (await cli("workflow", "get", run)).stdout
    wrong = await cli("workflow", "continue", run, "--set", "two.output=[", code=2)
    assert "--set: not JSON" in wrong.stderr
    assert "before two" in (await cli("workflow", "watch", run)).stderr
    assert "give --at STEP" in (await cli("workflow", "break", run, code=2)).stderr
    refused = await cli("workflow", "continue", run, "--step", "--to", "two", code=2)
    assert "--step and --to exclude each other" in refused.stderr


CHAIN = """\
name: rounds
inputs: {n: {type: integer, default: 1}}
dag:
  nodes:
    - {id: held, type: signal, config: {signal: go}}
    - {id: again, type: continue_as_new, condition: n < 2, depends_on: [held], config: {inputs: {n: "{{n + 1}}"}}}
"""


async def test_a_chain_is_signalled_watched_and_shown_by_its_first_run(cli: AgentCtlInThread, tmp_path: Path) -> None:
    Path(tmp_path / "rounds.yaml").write_text(CHAIN)
    first = (await cli.json("workflow", "submit", "rounds.yaml"))["run_id"]
    assert (await cli.json("workflow", "signal", first, "go"))["run_id"] == first
    await cli.until_status(first, "completed")
    second = (await cli.json("workflow", "get", first))["continued_as"]
    told = await cli("workflow", "signal", first, "go")
    assert told.stdout == "signal go received\n"
    assert f"run {first} went on as a new one; its newest run is {second}" in told.stderr
    await cli.until_status(second, "completed")
    over = (await cli("workflow", "signal", first, "go", code=2)).stderr
    assert f"the chain of runs that run {first} began is over: its last run {second} has completed" in over
    watched = await cli("workflow", "watch", first, "--chain")
    assert f"run {first} goes on as {second}" in watched.stderr
    assert watched.stdout.split()[1] == second
    lines = (await cli("workflow", "watch", first, "--chain", "-o", "json")).stdout.splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["run_id"] for event in events if event["type"] == "run.submitted"] == [first, second]
    for run in (first, second):
        found = await cli.json("workflow", "get", run, "--chain")
        assert [item["run_id"] for item in found["runs"]] == [first, second]
        assert found["cost_nano_usd"] == 0
    table = (await cli("workflow", "get", first, "--chain")).stdout
    assert first in table and second in table and "2 runs" in table


async def test_labels_and_differences(cli: AgentCtlInThread) -> None:
    for version in (1, 2):
        await cli("workflow", "register", f"v{version}.yaml")
    assert "pay@prod is version 1" in (await cli("workflow", "label", "pay", "1", "prod")).stdout
    canary = (await cli("workflow", "label", "pay", "2", "prod", "--percent", "25")).stdout
    assert "25% to version 2" in canary
    listed = (await cli("workflow", "versions", "pay")).stdout
    assert "prod 75%" in listed and "prod 25%" in listed
    here = (await cli("workflow", "diff", "v1.yaml", "v2.yaml")).stdout
    there = (await cli("workflow", "diff", "pay", "1", "2")).stdout
    assert here == there, "with and without a server"
    assert "~ node sum\n    config.function_name: t.broken -> t.add" in here
    assert [c["name"] for c in (await cli.json("workflow", "diff", "pay", "1", "2"))["changes"]] == ["ask", "sum"]
    unknown = await cli("workflow", "label", "pay", "9", "prod", code=2)
    assert "no version 9; it has 2, 1" in unknown.stderr
    assert "has no label 'beta'" in (await cli("workflow", "submit", "pay@beta", code=2)).stderr


async def test_a_run_is_paused_answered_signalled_and_retried(cli: AgentCtlInThread) -> None:
    run = (await cli.json("workflow", "submit", "v1.yaml", "--tag", "case=7"))["run_id"]
    await cli.until_status(run, "waiting")
    told = (await cli("workflow", "why", run)).stdout
    assert "waits for an approval, 0 of 1 given; may answer: env, ann" in told
    assert "waits for the signal go" in told
    assert "waits for ask (waiting), go (waiting)" in told
    async with asyncio.timeout(PATIENCE_S):
        while not (waiting := await cli.json("workflow", "approvals")):
            await asyncio.sleep(0.05)
    assert (waiting[0]["run_id"], waiting[0]["message"]) == (run, "pay 1?")
    assert "goes on" in (await cli("workflow", "resume", run)).stdout
    assert "already ended" not in (await cli("workflow", "pause", run, "--reason", "lunch")).stdout
    await cli.until_status(run, "paused")
    assert (await cli.json("workflow", "pause", run))["status"] == "paused"
    assert "is paused" in (await cli("workflow", "pause", run)).stdout
    assert (await cli.json("workflow", "resume", run))["run_id"] == run
    await cli.until_status(run, "waiting")
    assert "env approved ask (1 of 1" in (await cli("workflow", "approve", run, "ask", "--comment", "fine")).stdout
    assert (
        "takes no signal 'stop' (its steps wait for go)"
        in (await cli("workflow", "signal", run, "stop", code=2)).stderr
    )
    assert "not JSON" in (await cli("workflow", "signal", run, "go", "--payload", "{a", code=2)).stderr
    await cli("workflow", "signal", run, "go", "--payload", '{"amount": 6}', "--id", "s1")
    await cli.until_status(run, "failed")
    assert "the run has failed: broken" in (await cli("workflow", "why", run)).stderr

    retried = (await cli.json("workflow", "retry", run))["run_id"]
    again = await cli("workflow", "retry", run)
    assert (again.stdout.strip(), "asked for before" in again.stderr) == (retried, True)
    await cli.until_status(retried, "failed")
    fork = await cli.json("workflow", "fork", run, "--at", "sum", "--step-input", "sum.b=5")
    assert set(fork["kept"]) == {"ask", "go"}
    assert "did you mean 'sum'?" in (await cli("workflow", "fork", run, "--at", "sun", code=2)).stderr
    assert (
        "write --step-input" in (await cli("workflow", "fork", run, "--at", "sum", "--step-input", "x", code=2)).stderr
    )
    assert "fork of" in (await cli("workflow", "get", fork["run_id"])).stdout

    await cli.until_status(fork["run_id"], "failed")
    async with asyncio.timeout(PATIENCE_S):
        while len(await cli.json("workflow", "list", "--status", "failed", "--tag", "case=7")) < 3:
            await asyncio.sleep(0.05)
    words = ("workflow", "batch", "retry", "--status", "failed", "--tag", "case=7", "--since", "1h")
    shown = await cli(*words)
    assert "retry: 3 runs" in shown.stderr and "--yes does it" in shown.stderr
    done = await cli.json(*words, "--yes")
    assert (done["done"], done["failed"], done["finished"]) == (3, 0, True)
    assert done["created"][run] == retried, "it was retried before"
    assert "matches every run" in (await cli("workflow", "batch", "cancel", code=2)).stderr
    words = ("workflow", "batch", "pause", "--tag", "case=none")
    assert (await cli.json(*words, "--pause-until", "2h", "--yes"))["finished"] is True
    assert "is not after now" in (await cli(*words, "--pause-until", "2020-01-01", code=2)).stderr


async def test_cancel_lanes_and_a_paused_workflow(cli: AgentCtlInThread) -> None:
    run = (await cli.json("workflow", "submit", "v2.yaml"))["run_id"]
    await cli.until_status(run, "waiting")
    assert "exclude each other" in (await cli("workflow", "cancel", run, "--grace", "5s", "--force", code=2)).stderr
    assert "not a duration" in (await cli("workflow", "cancel", run, "--grace", "soon", code=2)).stderr
    await cli("workflow", "cancel", run, "--grace", "30s")
    await cli("workflow", "cancel", run, "--force")
    await cli.until_status(run, "cancelled")
    assert "has already ended" in (await cli("workflow", "cancel", run)).stdout

    assert "is paused" in (await cli("workflow", "pause", "pay", "--reason", "audit")).stdout
    assert "no workflow 'payy'" in (await cli("workflow", "pause", "payy", code=2)).stderr
    held = (await cli.json("workflow", "submit", "v2.yaml"))["run_id"]
    async with asyncio.timeout(PATIENCE_S):
        while "is paused: audit" not in (await cli("workflow", "why", held)).stderr:
            await asyncio.sleep(0.05)
    assert "goes on" in (await cli("workflow", "resume", "pay")).stdout
    await cli.until_status(held, "waiting")

    assert "4 at a time" in (await cli("lane", "set", "acme", "--limit", "4", "--rate", "2.5")).stdout
    assert "db" in (await cli("lane", "pause", "acme", "--reason", "db")).stdout
    lane = await cli.json("lane", "get", "acme")
    assert (lane["limit"], lane["rate_per_s"], lane["paused"]) == (4, 2.5, True)
    assert (await cli.json("lane", "resume", "acme"))["paused"] is False
    assert {item["name"] for item in await cli.json("lane", "list")} == {"acme", "default"}
    assert "there is no lane 'nope'" in (await cli("lane", "get", "nope", code=2)).stderr
    assert (await cli.json("lane", "set", "acme", "--rate", "300/m"))["rate_per_s"] == 5.0
    told = (await cli("lane", "set", "default", "--rate", "5/s", code=2)).stderr
    assert "'default' is a worker pool" in told and "use a keyed lane" in told
    assert (await cli.json("lane", "set", "default", "--limit", "40"))["limit"] == 40
    assert "give --limit or --rate" in (await cli("lane", "set", "acme", code=2)).stderr
    assert "not used yet" in (await cli("lane", "set", "later", "--limit", "2")).stdout
