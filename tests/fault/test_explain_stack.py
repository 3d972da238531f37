"""Faults on the real stack, kill -9 among them: the explanation names the cause, with events of the log as evidence."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agentctl.main import app
from agentflow_sdk import Client, NotFoundError, Run, TraceExplanation
from tests.support.stack import RunningStack, running_stack
from tests.support.waiting import PATIENCE_S, until_now

pytestmark = [pytest.mark.integration, pytest.mark.fault]
SIM = {"busy": {"failure_rate": 1, "failures": ["overloaded"]}}
LOCAL = {"model": "local/extractive-1"}
ASK = {"prompt_ref": "summarizer", "inputs": {"content": "Apples are red. Pears are green. Plums are blue."}}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    env = {"AGENTFLOW_SIM_MODELS": json.dumps(SIM), "AGENTFLOW_ACK_WAIT_S": "2"}
    tools = [str(Path(__file__).with_name("explain_tools.py"))]
    with running_stack(tmp_path_factory.mktemp("explain"), load=tools, env=env) as running:
        yield running


@pytest.fixture
def client(stack: RunningStack) -> Iterator[Client]:
    with Client(stack.grpc, stack.dev_key) as opened:
        yield opened


def workflow(*nodes: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "explained", **more, "dag": {"nodes": list(nodes)}}


def function(name: str, function_name: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "type": "function", "config": {"function_name": function_name}, **more}


def ended(client: Client, run: Any) -> Run:
    return client.workflows.wait(run, timeout=3 * PATIENCE_S)


def explained(client: Client, run: Any, kind: str, step: str) -> TraceExplanation:
    """Checks the first cause, and that the trace has each event that it shows."""
    found = client.traces.explain(run)
    cause = found.causes[0]
    assert (cause.kind, cause.step) == (kind, step), found.to_dict()
    assert cause.fix
    assert cause.chain[-1].evidence
    for link in cause.chain:
        events = {(e.stream, e.sequence): e.type for e in client.traces.get(link.run_id).events}
        for item in link.evidence:
            assert events[item.stream, item.sequence] == item.type
    return found


def types(client: Client, run: Any) -> list[str]:
    return [event.type for event in client.traces.get(run).events]


def test_a_worker_that_is_killed_in_a_payment(stack: RunningStack, client: Client) -> None:
    pay = {"id": "pay", "type": "tool", "config": {"tool_name": "x.pay", "tool_args": {"seconds": 60}}}
    run = client.workflows.submit(workflow(function("first", "x.one"), {**pay, "depends_on": ["first"]}))
    until_now(lambda: "step.started" in types(client, run))
    stack.kill("worker")
    assert ended(client, run).status == "failed"
    found = explained(client, run, "outcome_unknown", "pay")
    assert "vanished" in found.summary
    assert {item.type for item in found.causes[0].chain[-1].evidence} >= {"claim.taken", "step.outcome_unknown"}


def test_a_worker_that_stops_while_it_works(stack: RunningStack, client: Client) -> None:
    config = {"function_name": "x.beats", "inputs": {"seconds": 30}}
    policy = {"heartbeat_ms": 2000, "retry": {"max_attempts": 1}}
    run = client.workflows.submit(workflow({"id": "long", "type": "function", "config": config, "policy": policy}))
    until_now(lambda: "step.progressed" in types(client, run))
    pid = stack.kill("worker", signal.SIGSTOP)
    try:
        assert ended(client, run).status == "failed"
    finally:
        os.kill(pid, signal.SIGCONT)
    explained(client, run, "worker_silent", "long")


def test_a_tool_that_fails_in_a_subworkflow_of_a_map(client: Client) -> None:
    client.workflows.register(workflow(function("charge", "x.decline")) | {"name": "explained_child"})
    body = {"type": "subworkflow", "config": {"workflow": "explained_child", "inputs": {}}}
    each = {"id": "each", "type": "map", "config": {"over": [1, 2], "body": body}}
    run = client.workflows.submit(workflow(each))
    assert ended(client, run).status == "failed"
    found = explained(client, run, "tool_error", "charge")
    kinds = [link.kind for link in found.causes[0].chain]
    assert kinds == ["run_failed", "item_failed", "child_failed", "run_failed", "tool_error"]
    assert found.causes[0].run_id != run.run_id
    child = client.traces.explain(found.causes[0].run_id)
    assert child.causes[0].kind == "tool_error"


def test_models_that_are_away(client: Client) -> None:
    ask = {"id": "ask", "type": "llm", "config": {"prompt": "Say hello to {{run}}"},
           "policy": {"model": "sim/busy", "retry": {"max_attempts": 2, "initial_ms": 50}}}  # fmt: skip
    run = client.workflows.submit(workflow(ask))
    assert ended(client, run).status == "failed"
    found = explained(client, run, "provider_outage", "ask")
    assert "sim/busy: overloaded" in found.causes[0].text


def test_a_budget_that_does_not_cover_a_call(client: Client) -> None:
    client.budgets.create("0.000000001", "total", name="tiny")
    try:
        run = client.workflows.submit(workflow({"id": "ask", "type": "llm", "config": ASK}))
        assert ended(client, run).status == "failed"
    finally:
        client.budgets.delete("tiny")
    assert "'tiny'" in explained(client, run, "budget_exhausted", "ask").summary


def test_people_who_do_not_answer_reject_or_cancel(client: Client) -> None:
    ask = {"id": "approve", "type": "approval", "config": {"message": "Go?"}}
    late = client.workflows.submit(workflow(ask), deadline_s=2)
    no = client.workflows.submit(workflow(ask))
    until_now(lambda: client.workflows.get(no).status == "waiting")
    still = client.traces.explain(no)
    assert (still.causes[0].kind, still.causes[0].step) == ("approval_missing", "approve")
    client.workflows.reject(no, "approve", comment="too dear")
    cancelled = client.workflows.submit(workflow(ask))
    until_now(lambda: client.workflows.get(cancelled).status == "waiting")
    client.workflows.cancel(cancelled, reason="a mistake")
    for run in (late, no, cancelled):
        ended(client, run)
    explained(client, late, "approval_missing", "approve")
    assert "too dear" in explained(client, no, "approval_rejected", "approve").summary
    assert "a mistake" in explained(client, cancelled, "cancelled_by_person", "").summary


def test_a_pool_without_a_worker(client: Client) -> None:
    run = client.workflows.submit(
        workflow(function("train", "x.one", lane="gpu", policy={"timeout_ms": 2000, "retry": {"max_attempts": 1}}))
    )
    assert ended(client, run).status == "failed"
    explained(client, run, "no_worker", "train")


def test_the_time_and_the_money_against_earlier_runs(client: Client) -> None:
    nodes = (
        function("quick", "x.beats"),
        {"id": "ask", "type": "llm", "config": ASK, "policy": LOCAL, "depends_on": ["quick"]},
    )

    def submit(seconds: float) -> Any:
        nodes[0]["config"] = {"function_name": "x.beats", "inputs": {"seconds": seconds}}
        return ended(client, client.workflows.submit(workflow(*nodes) | {"name": "timed"}))

    for _ in range(9):
        assert (run := submit(0.2)).status == "completed", run.error
    slow = submit(4)
    found = client.traces.explain(slow, slow=True, cost=True)
    assert found.slow is not None
    assert sum(part.ms for part in found.slow.parts) == found.slow.duration_ms == slow.finished_at - slow.submitted_at
    first = found.slow.parts[0]
    assert (first.kind, first.step, first.usual.unusual, first.usual.samples) == ("work", "quick", True, 9)
    assert found.cost is not None
    assert sum(step.cost_nano_usd for step in found.cost.steps) == found.cost.cost_nano_usd == slow.cost_nano_usd
    assert sum(model.cost_nano_usd for model in found.cost.models) == slow.cost_nano_usd
    assert found.cost.steps[0].usual.samples == 9
    assert not found.cost.steps[0].usual.unusual


def test_the_command_line(stack: RunningStack, client: Client) -> None:
    run = client.workflows.submit(workflow(function("charge", "x.decline")))
    ended(client, run)
    env = {"AGENTFLOW_ENDPOINT": stack.grpc, "AGENTFLOW_TOKEN": stack.dev_key, "AGENTFLOW_CLI_CONFIG": os.devnull}

    def agentctl(*arguments: str) -> str:
        done = CliRunner(env=env).invoke(app, list(arguments))
        assert done.exit_code == 0, done.output
        return done.output

    said = agentctl("trace", "explain", run.run_id, "--slow", "--cost")
    for text in (
        "the run failed at charge",
        "card_declined: the card was declined",
        "what to do:",
        "step.failed",
        "TIME FOR",
    ):
        assert text in said
    data = json.loads(agentctl("trace", "explain", run.run_id, "--output", "json"))
    assert data["causes"][0]["kind"] == "tool_error"
    assert "Cause: charge: card_declined: the card was declined (tool_error)" in agentctl("trace", "get", run.run_id)
    assert f"agentctl trace explain {run.run_id}" in agentctl("workflow", "get", run.run_id)


def test_a_run_that_is_not_there(client: Client) -> None:
    with pytest.raises(NotFoundError):
        client.traces.explain("run_00000000000000000000000000")
