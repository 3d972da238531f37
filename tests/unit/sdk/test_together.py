"""Submissions of one client: alone while few are on their way, together with others otherwise, each with its answer."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2

from agentflow.v1 import workflow_pb2 as pb
from agentflow_sdk.errors import from_rpc_error
from agentflow_sdk.transport import together
from agentflow_sdk.transport.together import ResultError, Submissions


def request(name: str) -> Any:
    return pb.SubmitWorkflowRequest(workflow=name)


class Server:
    """Answers with the name of the workflow as the run's id, when the gate is open; `bad` is not found."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.gate = asyncio.Event()
        self.failure: ResultError | None = None

    async def one(self, item: Any, _timeout_s: float) -> Any:
        self.calls.append([item.workflow])
        await self.gate.wait()
        return pb.SubmitWorkflowResponse(run_id=item.workflow)

    async def several(self, items: Any, _timeout_s: float) -> Any:
        self.calls.append([item.workflow for item in items.submissions])
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        bad = status_pb2.Status(code=grpc.StatusCode.NOT_FOUND.value[0], message="there is no workflow")
        results = [
            pb.SubmissionResult(error=bad.SerializeToString())
            if item.workflow == "bad"
            else pb.SubmissionResult(submitted=pb.SubmitWorkflowResponse(run_id=item.workflow))
            for item in items.submissions
        ]
        return pb.SubmitWorkflowsResponse(results=results)


async def sent(submissions: Submissions, names: str, timeout_s: float = 5.0) -> list[asyncio.Future[Any]]:
    tasks = [asyncio.ensure_future(submissions.send(request(name), timeout_s)) for name in names.split()]
    await asyncio.sleep(0)
    return tasks


@pytest.fixture
async def server() -> Server:
    return Server()


async def test_what_comes_while_two_calls_are_under_way_shares_the_next_one(server: Server) -> None:
    tasks = await sent(Submissions(server.one, server.several), "a b c d e")
    assert server.calls == [["a"], ["b"]]
    server.gate.set()
    assert [answer.run_id for answer in await asyncio.gather(*tasks)] == ["a", "b", "c", "d", "e"]
    assert server.calls == [["a"], ["b"], ["c", "d", "e"]]


async def test_each_has_its_own_error(server: Server) -> None:
    tasks = await sent(Submissions(server.one, server.several), "a b good bad fine")
    server.gate.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    error = from_rpc_error(answers.pop(3), "host:1")
    assert (error.code, error.message) == ("not_found", "there is no workflow")
    assert [answer.run_id for answer in answers] == ["a", "b", "good", "fine"]  # type: ignore[union-attr]


async def test_a_failed_call_fails_those_that_shared_it(server: Server) -> None:
    server.failure = ResultError(grpc.StatusCode.UNAVAILABLE, "away")
    tasks = await sent(Submissions(server.one, server.several), "a b c d")
    server.gate.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [from_rpc_error(answer, "host:1").code for answer in answers[2:]] == ["unavailable"] * 2


async def test_a_server_that_does_not_know_the_call_gets_each_alone(server: Server) -> None:
    server.failure = ResultError(grpc.StatusCode.UNIMPLEMENTED)
    submissions = Submissions(server.one, server.several)
    tasks = await sent(submissions, "a b c d")
    server.gate.set()
    assert [answer.run_id for answer in await asyncio.gather(*tasks)] == ["a", "b", "c", "d"]
    assert [answer.run_id for answer in await asyncio.gather(*await sent(submissions, "e f g"))] == ["e", "f", "g"]
    assert server.calls == [["a"], ["b"], ["c", "d"], ["c"], ["d"], ["e"], ["f"], ["g"]]


async def test_a_deadline_is_that_of_the_submission(server: Server) -> None:
    submissions = Submissions(server.one, server.several)
    slow = await sent(submissions, "a b")
    (late,) = await sent(submissions, "c", timeout_s=0.01)
    with pytest.raises(ResultError) as caught:
        await late
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    server.gate.set()
    await asyncio.gather(*slow)
    assert server.calls == [["a"], ["b"]]  # nobody waits for c any more


async def test_a_large_submission_is_sent_alone_and_a_call_is_bounded(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(together, "SUBMISSIONS_MAX", 2)
    monkeypatch.setattr(together, "SHARED_BYTES_MAX", 10)
    tasks = await sent(Submissions(server.one, server.several), "a b c d e this_is_large")
    server.gate.set()
    assert [answer.run_id for answer in await asyncio.gather(*tasks)] == ["a", "b", "c", "d", "e", "this_is_large"]
    assert server.calls == [["a"], ["b"], ["this_is_large"], ["c", "d"], ["e"]]


async def test_a_cancelled_submission_leaves_the_others(server: Server) -> None:
    tasks = await sent(Submissions(server.one, server.several), "a b c d")
    tasks[2].cancel()
    server.gate.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(answers.pop(2), asyncio.CancelledError)
    assert [answer.run_id for answer in answers] == ["a", "b", "d"]  # type: ignore[union-attr]
