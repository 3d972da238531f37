"""Both clients over real gRPC: errors with details, retries, deadlines, watching through cut connections."""

from __future__ import annotations

import asyncio
import inspect
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest

from agentflow_sdk import (
    AgentFlowError,
    AlreadyExistsError,
    AsyncClient,
    Client,
    DeadlineExceededError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    Problem,
    ResourceExhaustedError,
    RetryPolicy,
    RunEvent,
    RunFailedError,
    RunStatus,
    Token,
    UnauthenticatedError,
    UnavailableError,
    Workflow,
)
from agentflow_sdk.testing import FakeAgentFlow
from tests.support.waiting import PATIENCE_S

QUICK = RetryPolicy(attempts_max=4, initial_s=0.01, delay_s_max=0.05)
FLOW = Workflow("demo").tool("read", "file.read", path="x").llm("think", "p@1").depends_on("read")


class Blocking:
    """The async client behind the sync client's face, so that each test runs on both."""

    def __init__(self, client: AsyncClient, loop: asyncio.AbstractEventLoop) -> None:
        self._client, self._loop = client, loop

    def __getattr__(self, name: str) -> Any:
        return _Face(getattr(self._client, name), self._loop)


class _Face:
    def __init__(self, resource: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._resource, self._loop = resource, loop

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._resource, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            made = function(*args, **kwargs)
            if isinstance(made, AsyncIterator):
                return self._drain(made)
            return self._loop.run_until_complete(made)

        return call

    def _drain(self, items: AsyncIterator[Any]) -> Iterator[Any]:
        while True:
            try:
                yield self._loop.run_until_complete(anext(items))
            except StopAsyncIteration:
                return


@pytest.fixture
def server() -> Iterator[FakeAgentFlow]:
    with FakeAgentFlow() as running:
        yield running


@pytest.fixture(params=["sync", "async"])
def client(request: pytest.FixtureRequest, server: FakeAgentFlow) -> Iterator[Any]:
    if request.param == "sync":
        with Client(server.endpoint, server.token, server.org, retry=QUICK, timeout=60) as made:
            yield made
        return
    loop = asyncio.new_event_loop()
    made_async = AsyncClient(f"http://{server.endpoint}", server.token, server.org, retry=QUICK, timeout=60)
    yield Blocking(made_async, loop)
    loop.run_until_complete(made_async.close())
    loop.close()


def test_a_run_from_the_builder_to_its_result(client: Any, server: FakeAgentFlow) -> None:
    given = {"n": 3, "deep": {"list": [1.5, None, "x"]}}
    run = client.workflows.run(FLOW, given, tags={"a": "b"}, budget_cents=5, timeout=PATIENCE_S)
    assert run.status is RunStatus.COMPLETED
    assert run.output == given
    assert str(run.cost_usd) == "0.0012"
    assert [step.step for step in run.steps] == ["read", "think"]
    assert server.requests[run.run_id].budget_cents == 5
    assert run.to_dict()["status"] == "completed"
    assert client.traces.get(run).steps[0].duration_ms == 5
    assert [item.run_id for item in client.traces.query(status="completed")] == [run.run_id]
    assert [item.run_id for item in client.workflows.list(status="completed")] == [run.run_id]
    assert client.workflows.cancel(run) is RunStatus.COMPLETED


def test_a_failed_run_raises_with_the_run(client: Any) -> None:
    with pytest.raises(RunFailedError, match="asked to fail") as caught:
        client.workflows.run(FLOW, {"fail": True}, timeout=PATIENCE_S)
    assert caught.value.run.error is not None
    assert caught.value.run.error.type == "boom"


def test_prompts_and_budgets(client: Any) -> None:
    prompt = client.prompts.create("p", "Hi {{name}}", inputs_schema={"type": "object"}, labels=["prod"])
    assert (prompt.ref, client.prompts.get("p", "prod").template) == ("p@1", "Hi {{name}}")
    assert client.prompts.get("p@1").inputs_schema == {"type": "object"}
    assert [item.name for item in client.prompts.list("p")] == ["p"]
    client.prompts.create("p", "Hello {{name}}")
    assert [client.prompts.label("p", "prod", version).changed for version in (2, 1, 1)] == [True, True, False]
    assert [(item.version, item.labels) for item in client.prompts.versions("p")] == [(2, ()), (1, ("prod",))]
    assert client.prompts.remove_label("p", "prod") and not client.prompts.remove_label("p", "prod")
    for wrong in (lambda: client.prompts.label("p", "prod", 3), lambda: client.prompts.versions("q")):
        with pytest.raises(NotFoundError):
            wrong()
    budget = client.budgets.create("12.50", "monthly", name="team")
    assert budget.limit_nano_usd == 12_500_000_000
    assert str(client.budgets.get("team").remaining_usd) == "12.5"
    assert len(client.budgets.list()) == 1


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidArgumentError),
        (grpc.StatusCode.NOT_FOUND, NotFoundError),
        (grpc.StatusCode.ALREADY_EXISTS, AlreadyExistsError),
        (grpc.StatusCode.PERMISSION_DENIED, PermissionDeniedError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, ResourceExhaustedError),
    ],
)
def test_statuses_become_typed_errors(
    client: Any, server: FakeAgentFlow, code: grpc.StatusCode, expected: type[AgentFlowError]
) -> None:
    problem = Problem("line 3, dag.nodes[0].type", "unknown node type 'x'", "use tool")
    server.fail_next("GetRun", code, "refused", problems=(problem,), kind="some_reason")
    with pytest.raises(expected, match="refused") as caught:
        client.workflows.get("run_1")
    assert caught.value.problems == (problem,)
    assert caught.value.kind == "some_reason"
    assert server.calls["GetRun"] == 1  # none of these is worth repeating


def test_wrong_keys_and_orgs(server: FakeAgentFlow) -> None:
    with Client(server.endpoint, "wrong", retry=QUICK) as wrong, pytest.raises(UnauthenticatedError):
        wrong.budgets.list()
    with Client(server.endpoint, server.token, "other", retry=QUICK) as other, pytest.raises(PermissionDeniedError):
        other.budgets.list()


def test_retries_are_bounded_and_safe(client: Any, server: FakeAgentFlow) -> None:
    server.fail_next("SubmitWorkflow", grpc.StatusCode.UNAVAILABLE, times=2)
    submission = client.workflows.submit(FLOW)
    assert server.calls["SubmitWorkflow"] == 3
    assert len(server.runs) == 1
    assert not submission.deduplicated

    server.fail_next("GetRun", grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after_s=0.05)
    began = time.monotonic()
    client.workflows.get(submission)
    assert time.monotonic() - began >= 0.05

    server.fail_next("ListRuns", grpc.StatusCode.UNAVAILABLE, times=9)
    with pytest.raises(UnavailableError):
        client.workflows.list()
    assert server.calls["ListRuns"] == QUICK.attempts_max

    # a lost answer may hide a version that was made: never ask twice
    server.fail_next("CreatePrompt", grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(UnavailableError):
        client.prompts.create("p", "t")
    assert server.calls["CreatePrompt"] == 1


def test_an_idempotency_key_is_the_same_run(client: Any, server: FakeAgentFlow) -> None:
    first = client.workflows.submit(FLOW, idempotency_key="k1")
    second = client.workflows.submit(FLOW, idempotency_key="k1")
    assert (first.run_id, second.deduplicated) == (second.run_id, True)
    assert len(server.runs) == 1


def test_a_watch_survives_cut_connections(client: Any, server: FakeAgentFlow) -> None:
    submission = client.workflows.submit(FLOW)
    server.drop_watch_after = 2
    items = list(client.workflows.watch(submission, timeout=PATIENCE_S))
    events = [item for item in items if isinstance(item, RunEvent)]
    sequences = [item.sequence for item in events]
    assert [item.type for item in events] == [
        "run.submitted", "run.started", "step.scheduled", "step.completed", "step.scheduled", "step.completed",
        "run.completed",
    ]  # fmt: skip
    assert sequences == sorted(set(sequences))
    assert "".join(item.text for item in items if isinstance(item, Token)) == "Hello"
    assert server.calls["WatchRun"] >= 4
    last = list(client.workflows.watch(submission, after_sequence=sequences[-2], tokens=False, timeout=PATIENCE_S))
    assert [item.sequence for item in last] == sequences[-1:]


def test_waiting_ends_at_its_deadline_and_leaves_the_run(client: Any, server: FakeAgentFlow) -> None:
    server.may_end.clear()
    submission = client.workflows.submit(FLOW)
    with pytest.raises(DeadlineExceededError, match="still under way"):
        client.workflows.wait(submission, timeout=0.3)
    threading.Timer(0.1, server.may_end.set).start()
    assert client.workflows.wait(submission, timeout=60).status is RunStatus.COMPLETED


def test_a_wait_outlives_servers_that_are_away_and_watches_where_none_can_wait(
    client: Any, server: FakeAgentFlow
) -> None:
    submission = client.workflows.submit(FLOW)
    server.fail_next("WaitRun", grpc.StatusCode.UNAVAILABLE, times=7)
    assert client.workflows.wait(submission, timeout=60).status is RunStatus.COMPLETED
    assert (server.calls["WaitRun"], server.calls["WatchRun"]) == (8, 0)
    server.fail_next("WaitRun", grpc.StatusCode.UNIMPLEMENTED)  # as a gateway of an earlier version says
    assert client.workflows.wait(submission, timeout=60).status is RunStatus.COMPLETED
    assert server.calls["WatchRun"] == 1


def test_nobody_there_is_said_in_time() -> None:
    with socket.socket() as held:  # bound, not listening: nobody else takes the port
        held.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{held.getsockname()[1]}"
        with Client(address, "key", retry=QUICK, timeout=60) as away, pytest.raises(UnavailableError) as caught:
            away.budgets.list()
    assert address in str(caught.value)


def test_both_clients_have_the_same_methods() -> None:
    with Client("127.0.0.1:1", "key") as one:
        two = AsyncClient("127.0.0.1:1", "key")
        for name in ("workflows", "prompts", "budgets", "traces"):
            left, right = getattr(one, name), getattr(two, name)
            methods = {m for m in dir(left) if not m.startswith("_")}
            assert methods == {m for m in dir(right) if not m.startswith("_")}
            for method in methods:
                mine, other = getattr(left, method), getattr(right, method)
                assert list(inspect.signature(mine).parameters) == list(inspect.signature(other).parameters)
                assert mine.__doc__ or method == "list"
