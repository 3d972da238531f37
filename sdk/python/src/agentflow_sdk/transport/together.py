"""Submissions and waits that come together share a call. Each keeps its own deadline and error.

A call costs the gateway and the client more than a submission or a wait in it. What begins in the same turn of the loop
is sent together at the end of that turn. Submissions that come while enough calls are on their way share the next one.
What comes alone is sent by itself.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import grpc

from agentflow.v1 import workflow_pb2 as pb
from agentflow_sdk.errors import STATUS_DETAILS_KEY

SUBMIT: Final = "/agentflow.v1.WorkflowService/SubmitWorkflow"
SUBMIT_SEVERAL: Final = "/agentflow.v1.WorkflowService/SubmitWorkflows"
WAIT: Final = "/agentflow.v1.WorkflowService/WaitRun"
WAIT_SEVERAL: Final = "/agentflow.v1.WorkflowService/WaitRuns"
UNDER_WAY_MAX: Final = 2  # calls: the server works on one while this program reads and makes the other
SUBMISSIONS_MAX: Final = 50  # of one call; the server takes 100
WAITS_MAX: Final = 50  # of one call; the server takes 100
SHARED_BYTES_MAX: Final = 64 * 1024  # a larger request is sent alone: a call has at most 8 MiB

Send = Callable[[Any, float], Awaitable[Any]]  # a request and the seconds until its deadline


class ResultError(grpc.RpcError):  # type: ignore[misc]
    """The status of one submission of several, in the form of a failed call's."""

    def __init__(self, code: grpc.StatusCode, message: str = "", details: bytes | None = None) -> None:
        super().__init__(message)
        self._code = code
        self._message = message
        self._metadata = () if details is None else ((STATUS_DETAILS_KEY, details),)

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._message

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        return self._metadata


@dataclass(frozen=True, slots=True)
class _Waiting:
    request: Any
    end_s: float
    answer: asyncio.Future[Any]  # None: send it alone

    @property
    def left_s(self) -> float:
        return max(0.001, self.end_s - time.monotonic())


class Submissions:
    """The submissions of one client. one, several: send a call of SubmitWorkflow and of SubmitWorkflows."""

    def __init__(self, one: Send, several: Send) -> None:
        self._one = one
        self._several = several
        self._waiting: list[_Waiting] = []
        self._under_way = 0
        self._sending = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._shared = True  # until a server does not know SubmitWorkflows

    async def send(self, request: Any, timeout_s: float) -> Any:
        """Returns the answer to a submission. Raises grpc.RpcError."""
        if not self._shared or request.ByteSize() > SHARED_BYTES_MAX:
            return await self._alone(request, timeout_s)
        waiting = _Waiting(request, time.monotonic() + timeout_s, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._send_soon()
        answer = await _answer_of(waiting, timeout_s)
        return await self._alone(request, waiting.left_s) if answer is None else answer

    async def _alone(self, request: Any, timeout_s: float) -> Any:
        self._under_way += 1
        try:
            return await self._one(request, timeout_s)
        finally:
            self._ended()

    def _ended(self) -> None:
        self._under_way -= 1
        self._send_soon()

    def _send_soon(self) -> None:
        """Sends what waits once this turn of the loop is over."""
        if self._waiting and not self._sending and self._under_way < UNDER_WAY_MAX:
            self._sending = True
            asyncio.get_running_loop().call_soon(self._send)

    def _send(self) -> None:
        self._sending = False
        while self._waiting and self._under_way < UNDER_WAY_MAX:
            batch, self._waiting = self._waiting[:SUBMISSIONS_MAX], self._waiting[SUBMISSIONS_MAX:]
            batch = [waiting for waiting in batch if not waiting.answer.done()]
            if len(batch) == 1:
                batch[0].answer.set_result(None)  # it counts itself when it is sent
            elif batch:
                self._under_way += 1
                task = asyncio.create_task(self._together(batch))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _together(self, batch: list[_Waiting]) -> None:
        request = pb.SubmitWorkflowsRequest(submissions=[waiting.request for waiting in batch])
        try:
            results = (await self._several(request, max(waiting.left_s for waiting in batch))).results
        except grpc.RpcError as error:
            self._shared = self._shared and error.code() is not grpc.StatusCode.UNIMPLEMENTED
            for waiting in batch:
                if not self._shared:
                    _answer(waiting, None)
                elif not waiting.answer.done():
                    waiting.answer.set_exception(error)
        else:
            for waiting, result in zip(batch, results, strict=True):
                if result.WhichOneof("result") == "submitted":
                    _answer(waiting, result.submitted)
                elif not waiting.answer.done():
                    waiting.answer.set_exception(_error(result.error))
        finally:
            for waiting in batch:
                waiting.answer.cancel()  # of those that have no answer: the client is being closed
            self._ended()


class Waits:
    """The waits of one client. one: sends a call of WaitRun; several: opens a stream of WaitRuns."""

    def __init__(self, one: Send, several: Callable[[Any, float], Any]) -> None:
        self._one = one
        self._several = several
        self._waiting: list[_Waiting] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._shared = True  # until a server does not know WaitRuns

    async def send(self, request: Any, timeout_s: float) -> Any:
        """Returns the answer to a wait. Raises grpc.RpcError."""
        if not self._shared:
            return await self._one(request, timeout_s)
        loop = asyncio.get_running_loop()
        waiting = _Waiting(request, time.monotonic() + timeout_s, loop.create_future())
        if not self._waiting:
            loop.call_soon(self._send)
        self._waiting.append(waiting)
        answer = await _answer_of(waiting, timeout_s)
        return await self._one(request, waiting.left_s) if answer is None else answer

    def _send(self) -> None:
        came, self._waiting = [waiting for waiting in self._waiting if not waiting.answer.done()], []
        for start in range(0, len(came), WAITS_MAX):
            batch = came[start : start + WAITS_MAX]
            if len(batch) == 1:
                _answer(batch[0], None)
                continue
            task = asyncio.create_task(self._together(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            for waiting in batch:  # the stream ends when nobody waits any more
                waiting.answer.add_done_callback(functools.partial(_end_if_idle, task, batch))

    async def _together(self, batch: list[_Waiting]) -> None:
        request = pb.WaitRunsRequest(waits=[waiting.request for waiting in batch])
        stream = self._several(request, max(waiting.left_s for waiting in batch))
        try:
            async for response in stream:
                for result in response.results:
                    waiting = batch[result.number]
                    if result.WhichOneof("result") == "waited":
                        _answer(waiting, result.waited)
                    elif not waiting.answer.done():
                        waiting.answer.set_exception(_error(result.error))
        except grpc.RpcError as error:
            self._shared = self._shared and error.code() is not grpc.StatusCode.UNIMPLEMENTED
            for waiting in batch:
                if not self._shared:
                    _answer(waiting, None)
                elif not waiting.answer.done():
                    waiting.answer.set_exception(error)
        finally:
            stream.cancel()
            for waiting in batch:
                waiting.answer.cancel()  # of those that have no answer: the client is being closed


def _end_if_idle(task: asyncio.Task[None], batch: list[_Waiting], _: Any) -> None:
    if all(waiting.answer.done() for waiting in batch):
        task.cancel()


async def _answer_of(waiting: _Waiting, timeout_s: float) -> Any:
    """Returns what the shared call brought, None if the request is to be sent alone. Raises grpc.RpcError."""
    try:
        return await asyncio.wait_for(waiting.answer, timeout_s)
    except TimeoutError:
        raise ResultError(grpc.StatusCode.DEADLINE_EXCEEDED) from None


def _answer(waiting: _Waiting, answer: Any) -> None:
    if not waiting.answer.done():
        waiting.answer.set_result(answer)


def _error(details: bytes) -> ResultError:
    from google.rpc import status_pb2

    status = status_pb2.Status.FromString(details)
    code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
    return ResultError(code, status.message, details)
