"""Submissions and waits of one client: alone if they come alone, else together, each with its own answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2

from agentflow.v1 import workflow_pb2 as pb
from agentflow_sdk.errors import from_rpc_error
from agentflow_sdk.transport import together
from agentflow_sdk.transport.together import ResultError, Submissions, Waits

TURNS = 5  # of the loop, until what begins together is sent
NOT_FOUND = status_pb2.Status(code=grpc.StatusCode.NOT_FOUND.value[0], message="there is no workflow")


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
        results = [
            pb.SubmissionResult(error=NOT_FOUND.SerializeToString())
            if item.workflow == "bad"
            else pb.SubmissionResult(submitted=pb.SubmitWorkflowResponse(run_id=item.workflow))
            for item in items.submissions
        ]
        return pb.SubmitWorkflowsResponse(results=results)


async def turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def sent(submissions: Submissions, names: str, timeout_s: float = 5.0) -> list[asyncio.Future[Any]]:
    tasks: list[asyncio.Future[Any]] = [
        asyncio.ensure_future(submissions.send(request(name), timeout_s)) for name in names.split()
    ]
    await turns()
    return tasks


@pytest.fixture
async def server() -> Server:
    return Server()


async def test_what_begins_together_shares_a_call(server: Server) -> None:
    submissions = Submissions(server.one, server.several)
    tasks = [*await sent(submissions, "a"), *await sent(submissions, "b c d")]
    assert server.calls == [["a"], ["b", "c", "d"]]
    server.gate.set()
    assert [answer.run_id for answer in await asyncio.gather(*tasks)] == ["a", "b", "c", "d"]


async def test_what_comes_while_two_calls_are_under_way_shares_the_next_one(server: Server) -> None:
    submissions = Submissions(server.one, server.several)
    tasks = [task for name in "abcde" for task in await sent(submissions, name)]
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
    assert [from_rpc_error(answer, "host:1").code for answer in answers] == ["unavailable"] * 4


async def test_a_server_that_does_not_know_the_call_gets_each_alone(server: Server) -> None:
    server.failure = ResultError(grpc.StatusCode.UNIMPLEMENTED)
    submissions = Submissions(server.one, server.several)
    tasks = await sent(submissions, "a b c")
    server.gate.set()
    assert [answer.run_id for answer in await asyncio.gather(*tasks)] == ["a", "b", "c"]
    assert [answer.run_id for answer in await asyncio.gather(*await sent(submissions, "e f g"))] == ["e", "f", "g"]
    assert server.calls == [["a", "b", "c"], ["a"], ["b"], ["c"], ["e"], ["f"], ["g"]]


async def test_a_deadline_is_that_of_the_submission(server: Server) -> None:
    submissions = Submissions(server.one, server.several)
    slow = [*await sent(submissions, "a"), *await sent(submissions, "b")]
    (late,) = await sent(submissions, "c", timeout_s=0.01)
    with pytest.raises(ResultError) as caught:
        await late
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    server.gate.set()
    await asyncio.gather(*slow)
    await turns()
    assert server.calls == [["a"], ["b"]]  # nobody waits for c any more


async def test_a_large_submission_is_sent_alone_and_a_call_is_bounded(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(together, "SUBMISSIONS_MAX", 2)
    monkeypatch.setattr(together, "SHARED_BYTES_MAX", 10)
    tasks = await sent(Submissions(server.one, server.several), "a b c d e this_is_large")
    server.gate.set()
    assert [answer.run_id for answer in await asyncio.gather(*tasks)] == ["a", "b", "c", "d", "e", "this_is_large"]
    assert server.calls == [["this_is_large"], ["a", "b"], ["c", "d"], ["e"]]


async def test_a_cancelled_submission_leaves_the_others(server: Server) -> None:
    submissions = Submissions(server.one, server.several)
    tasks = await sent(submissions, "a b c d")
    tasks[2].cancel()
    server.gate.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(answers.pop(2), asyncio.CancelledError)
    assert [answer.run_id for answer in answers] == ["a", "b", "d"]  # type: ignore[union-attr]
    (alone,) = [asyncio.ensure_future(submissions.send(request("e"), 5.0))]
    await asyncio.sleep(0)
    alone.cancel()  # before it is sent
    assert [answer.run_id for answer in await asyncio.gather(*await sent(submissions, "f"))] == ["f"]


class Runs:
    """Answers waits in the order in which runs end; `bad` is not found."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.open: set[Following] = set()

    async def one(self, item: Any, _timeout_s: float) -> Any:
        self.calls.append([item.run_id])
        return pb.WaitRunResponse(run=pb.Run(run_id=item.run_id))

    def several(self, items: Any, _timeout_s: float) -> Following:
        names = [item.run_id for item in items.waits]
        self.calls.append(names)
        following = Following(self, names)
        self.open.add(following)
        return following


class Following:
    """The stream of one call of several waits."""

    def __init__(self, runs: Runs, names: list[str]) -> None:
        self.names = names
        self.answers: asyncio.Queue[Any] = asyncio.Queue()
        self._runs = runs

    def end(self, *names: str) -> None:
        results = [
            pb.WaitResult(number=self.names.index(name), error=NOT_FOUND.SerializeToString())
            if name == "bad"
            else pb.WaitResult(number=self.names.index(name), waited=pb.WaitRunResponse(run=pb.Run(run_id=name)))
            for name in names
        ]
        self.answers.put_nowait(pb.WaitRunsResponse(results=results))

    async def __aiter__(self) -> AsyncIterator[Any]:
        while True:
            answer = await self.answers.get()
            if isinstance(answer, ResultError):
                raise answer
            yield answer

    def cancel(self) -> None:
        self._runs.open.discard(self)


async def begun(waits: Waits, names: str) -> list[asyncio.Future[Any]]:
    requests = [pb.WaitRunRequest(run_id=name) for name in names.split()]
    tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(waits.send(item, 5.0)) for item in requests]
    await turns()
    return tasks


async def test_waits_that_begin_together_share_a_call_and_end_one_by_one() -> None:
    runs = Runs()
    waits = Waits(runs.one, runs.several)
    (alone,) = await begun(waits, "x")
    assert (await alone).run.run_id == "x"
    tasks = await begun(waits, "a b bad c")
    assert runs.calls == [["x"], ["a", "b", "bad", "c"]]
    (stream,) = runs.open
    stream.end("c", "bad")
    assert (await tasks[3]).run.run_id == "c"
    with pytest.raises(ResultError) as caught:
        await tasks[2]
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.NOT_FOUND, "there is no workflow")
    assert not any(task.done() for task in tasks[:2])
    stream.end("b")
    assert (await tasks[1]).run.run_id == "b"
    tasks[0].cancel()
    await turns()
    assert not runs.open, "the call ends with the last one who waits"


async def test_a_stream_that_fails_fails_those_who_have_no_answer() -> None:
    runs = Runs()
    tasks = await begun(Waits(runs.one, runs.several), "a b c")
    (stream,) = runs.open
    stream.end("b")
    stream.answers.put_nowait(ResultError(grpc.StatusCode.UNAVAILABLE, "away"))
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert answers[1].run.run_id == "b"  # type: ignore[union-attr]
    assert [from_rpc_error(answers[number], "host:1").code for number in (0, 2)] == ["unavailable"] * 2


async def test_a_server_that_does_not_know_several_waits_gets_each_alone() -> None:
    runs = Runs()
    waits = Waits(runs.one, runs.several)
    tasks = await begun(waits, "a b")
    (stream,) = runs.open
    stream.answers.put_nowait(ResultError(grpc.StatusCode.UNIMPLEMENTED))
    assert [answer.run.run_id for answer in await asyncio.gather(*tasks)] == ["a", "b"]
    assert [answer.run.run_id for answer in await asyncio.gather(*await begun(waits, "c d"))] == ["c", "d"]
    assert runs.calls == [["a", "b"], ["a"], ["b"], ["c"], ["d"]]
