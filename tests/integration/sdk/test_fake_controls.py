"""What a user's test can do to a run of `FakeAgentFlow`: signals, answers, time, pause, cancel, fork, retry."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from agentflow_sdk import (
    Changes,
    Client,
    FailedPreconditionError,
    InvalidArgumentError,
    PermissionDeniedError,
    RunEvent,
    RunFailedError,
    RunStatus,
    Workflow,
)
from agentflow_sdk.testing import FakeAgentFlow
from tests.support.waiting import PATIENCE_S

FLOW = """
name: pay
inputs: {amount: {type: number}}
outputs: {receipt: bank.output.receipt, by: "approve.output.decisions[0].by", first: "bank.output.lines[0]"}
dag:
  nodes:
    - {id: cool_off, type: wait, config: {duration: 24h}}
    - {id: approve, type: approval, config: {approvers: [ann, bo], expires_ms: 2d, on_expire: fail}}
    - {id: delivered, type: signal, config: {signal: delivered, timeout_ms: 30d}}
    - {id: bank, type: tool, config: {tool_name: bank.transfer, tool_args: {note: "{{delivered.output.note}}"}}}
  edges: [{from: cool_off, to: approve}, {from: approve, to: delivered}]
"""
DAY_S = 86_400


@pytest.fixture
def server() -> Iterator[FakeAgentFlow]:
    with FakeAgentFlow() as running:
        yield running


@pytest.fixture
def client(server: FakeAgentFlow) -> Iterator[Client]:
    with Client(server.endpoint, server.token, timeout=60) as made:
        yield made


def test_a_run_waits_for_time_people_and_signals(server: FakeAgentFlow, client: Client) -> None:
    server.outputs["bank"] = lambda inputs: {"receipt": f"paid {inputs['amount']}", "lines": [7]}
    before = server.now_ms
    run = client.workflows.submit(FLOW, {"amount": 5})
    assert server.now_ms - before >= DAY_S * 1000, "the time passed by itself"
    assert client.workflows.get(run).status is RunStatus.WAITING
    assert [(item.step, item.approvers) for item in client.workflows.approvals(approver="bo")] == [
        ("approve", ("ann", "bo"))
    ]
    assert [(w.step, w.kind) for w in client.workflows.why(run).waiting] == [
        ("approve", "approval"), ("delivered", "dependency"), ("bank", "dependency"),
    ]  # fmt: skip
    with pytest.raises(PermissionDeniedError, match="ann, bo"):
        client.workflows.approve(run, "approve", as_person="eve")
    assert client.workflows.approve(run, "approve", as_person="bo").approvals == 1
    with pytest.raises(InvalidArgumentError, match="wait for delivered"):
        client.workflows.signal(run, "delivred")
    threading.Timer(0.1, client.workflows.signal, (run, "delivered", {"note": "x"})).start()
    done = client.workflows.wait(run, timeout=60)
    assert done.output == {"receipt": "paid 5", "by": "bo", "first": 7}
    assert done.step("delivered").output == {"note": "x"}
    with pytest.raises(FailedPreconditionError, match="has completed"):
        client.workflows.signal(run, "delivered")


def test_what_is_not_answered_in_time_fails_and_is_retried(server: FakeAgentFlow, client: Client) -> None:
    run = client.workflows.submit(FLOW, {"amount": 5})
    server.skip(DAY_S)
    assert client.workflows.get(run).status is RunStatus.WAITING
    server.skip(DAY_S)
    failed = client.workflows.get(run)
    assert (failed.status, failed.error and failed.error.type) == (RunStatus.FAILED, "approval_expired")
    again = client.workflows.retry(run)
    assert (again.kept, client.workflows.retry(run).deduplicated) == (("cool_off",), True)
    client.workflows.reject(again, "approve")
    rejected = client.workflows.get(again)
    assert (rejected.error and rejected.error.type, rejected.origin_run_id) == ("rejected", run.run_id)


def test_time_stands_still_if_it_is_told_so() -> None:
    with FakeAgentFlow(skip_time=False) as server, Client(server.endpoint, server.token) as client:
        run = client.workflows.submit(FLOW, {"amount": 5})
        assert client.workflows.get(run).step("cool_off").waiting_for == "wait"
        server.skip(DAY_S)
        assert client.workflows.get(run).step("approve").waiting_for == "approval"


def test_a_paused_run_holds_still_and_a_cancelled_one_ends(client: Client) -> None:
    run = client.workflows.submit(FLOW, {"amount": 5})
    assert client.workflows.pause(run, "lunch") is RunStatus.PAUSED
    client.workflows.approve(run, "approve")
    assert client.workflows.why(run).summary == "the run is paused"
    assert client.workflows.get(run).step("approve").status.value == "waiting"
    client.workflows.resume(run)
    assert client.workflows.get(run).step("approve").output["approved"] is True
    client.workflows.cancel(run, "enough")
    types = [item.type for item in client.workflows.watch(run, timeout=PATIENCE_S) if isinstance(item, RunEvent)]
    assert types[-2:] == ["step.cancelled", "run.cancelled"]
    assert "run.paused" in types
    ended = client.workflows.get(run)
    assert ended.cancel_reason == "enough"
    with pytest.raises(RunFailedError, match="was cancelled: enough"):
        ended.raise_for_status()


def test_a_run_stops_before_its_breakpoints(server: FakeAgentFlow, client: Client) -> None:
    flow = Workflow("three").function("a", "f").function("b", "f").function("c", "f")
    flow.edge("a", "b").edge("b", "c")
    run = client.workflows.submit(flow, break_at=["b"])
    found = client.workflows.get(run)
    assert (found.status, found.stopped_before, found.break_at) == (RunStatus.PAUSED, ("b",), ("b",))
    gone = client.workflows.continue_run(run, to="c")
    assert (gone.status, gone.steps, gone.stopped_before) == (RunStatus.PAUSED, ("b",), ("c",))
    with pytest.raises(InvalidArgumentError, match="no step 'd'"):
        client.workflows.set_breakpoints(run, ["d"])
    assert client.workflows.set_breakpoints(run, remove=True).break_at == ()
    changed = client.workflows.continue_run(run, values={"a.output": {"n": 7}})
    assert changed.status is RunStatus.COMPLETED
    assert client.workflows.get(run).step("a").output == {"n": 7}
    assert client.workflows.get(run).changed_values == {"a.output": "tester"}
    with pytest.raises(FailedPreconditionError, match="has completed"):
        client.workflows.continue_run(run)
    stepping = client.workflows.submit(flow, step=True)
    assert [client.workflows.continue_run(stepping, step=True).steps for _ in range(3)] == [("a",), ("b",), ("c",)]
    assert client.workflows.wait(stepping, timeout=PATIENCE_S).status is RunStatus.COMPLETED


def test_a_step_fails_as_it_is_told_and_a_fork_keeps_what_came_before(server: FakeAgentFlow, client: Client) -> None:
    flow = Workflow("two").function("one", "f").function("two", "f").depends_on("one").output("sum", "two.output")
    server.outputs |= {"one": 1, "two": RuntimeError("no luck")}
    with pytest.raises(RunFailedError, match="no luck") as caught:
        client.workflows.run(flow, {"n": 1}, timeout=PATIENCE_S)
    server.outputs["two"] = lambda inputs: inputs["n"] + 1
    made = client.workflows.fork(caught.value.run, "two", changes=Changes(inputs={"n": 9}))
    assert (made.kept, client.workflows.get(made).output) == (("one",), {"sum": 10})


def test_many_runs_and_whole_workflows(client: Client) -> None:
    runs = [client.workflows.submit(FLOW, {"amount": n}, tags={"n": str(n)}) for n in range(3)]
    shown = list(client.workflows.batch("cancel", workflow="pay"))
    assert (shown[0].matched, client.workflows.get(runs[0]).status) == (3, RunStatus.WAITING)
    done = list(client.workflows.batch("cancel", workflow="pay", tags={"n": "1"}, execute=True))
    assert (done[-1].done, done[-1].finished) == (1, True)
    assert [client.workflows.get(run).status.value for run in runs] == ["waiting", "cancelled", "waiting"]
    end = client.workflows.get(runs[0]).submitted_at + 3_600_000
    list(client.workflows.batch("pause", workflow="pay", tags={"n": "2"}, pause_until=end, execute=True))
    paused = client.workflows.get(runs[2])
    assert (paused.status, paused.paused_until) == (RunStatus.PAUSED, end)
    client.workflows.resume(runs[2])
    client.workflows.pause_workflow("pay")
    client.workflows.approve(runs[0], "approve")
    assert client.workflows.get(runs[0]).step("approve").status.value == "waiting"
    assert client.workflows.resume_workflow("pay")
    assert client.workflows.get(runs[0]).step("delivered").status.value == "waiting"


def test_engine_02_what_follows_a_failed_step_runs_and_a_retry_keeps_it(server: FakeAgentFlow, client: Client) -> None:
    flow = """
name: shaky
outputs: {found: "look.output.x", kept: save.output}
dag:
  nodes:
    - {id: look, type: tool, config: {tool_name: x}, policy: {on_failure: continue}}
    - {id: save, type: tool, config: {tool_name: y}}
    - {id: last, type: tool, config: {tool_name: z}}
  edges: [{from: look, to: save}, {from: save, to: last}]
"""
    server.outputs.update(look=ValueError("no"), save=5)
    run = client.workflows.submit(flow, {})
    assert (client.workflows.get(run).status, client.workflows.get(run).output) == (
        RunStatus.COMPLETED, {"found": None, "kept": 5}
    )  # fmt: skip
    server.outputs["last"] = ValueError("no")
    failed = client.workflows.submit(flow, {}, idempotency_key="again")
    del server.outputs["last"]
    assert set(client.workflows.retry(failed).kept) == {"look", "save"}


def test_a_pause_until_a_time_ends_when_it_has_come() -> None:
    with FakeAgentFlow() as server, Client(server.endpoint, server.token) as client:
        text = "name: w\ndag: {nodes: [{id: a, type: signal, config: {signal: s}}]}"
        run = client.workflows.submit(text)
        end_ms = server.now_ms + 3_600_000
        assert client.workflows.pause(run, until=end_ms) is RunStatus.PAUSED
        assert client.workflows.get(run).paused_until == end_ms
        server.skip(3_000)
        assert client.workflows.get(run).status is RunStatus.PAUSED
        server.skip(700)
        found = client.workflows.get(run)
        assert (found.status, found.paused_until) == (RunStatus.WAITING, 0)
