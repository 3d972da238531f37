"""Submissions that come while others are on their way share the next call. Each keeps its own deadline and error.

A call costs the gateway and the client more than a submission in it. A submission that comes alone is sent at once, by
itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import grpc

from agentflow.v1 import workflow_pb2 as pb
from agentflow_sdk.errors import STATUS_DETAILS_KEY

SUBMIT: Final = "/agentflow.v1.WorkflowService/SubmitWorkflow"
SUBMIT_SEVERAL: Final = "/agentflow.v1.WorkflowService/SubmitWorkflows"
UNDER_WAY_MAX: Final = 2  # calls: the server works on one while this program reads and makes the other
SUBMISSIONS_MAX: Final = 50  # of one call; the server takes 100
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


class Submissions:
    """The submissions of one client. one, several: send a call of SubmitWorkflow and of SubmitWorkflows."""

    def __init__(self, one: Send, several: Send) -> None:
        self._one = one
        self._several = several
        self._waiting: list[_Waiting] = []
        self._under_way = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._shared = True  # until a server does not know SubmitWorkflows

    async def send(self, request: Any, timeout_s: float) -> Any:
        """Returns the answer to a submission. Raises grpc.RpcError."""
        if self._under_way < UNDER_WAY_MAX or not self._shared or request.ByteSize() > SHARED_BYTES_MAX:
            return await self._alone(request, timeout_s)
        waiting = _Waiting(request, time.monotonic() + timeout_s, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        try:
            answer = await asyncio.wait_for(waiting.answer, timeout_s)
        except TimeoutError:
            raise ResultError(grpc.StatusCode.DEADLINE_EXCEEDED) from None
        if answer is None:
            return await self._alone(request, max(0.001, waiting.end_s - time.monotonic()))
        return answer

    async def _alone(self, request: Any, timeout_s: float) -> Any:
        self._under_way += 1
        try:
            return await self._one(request, timeout_s)
        finally:
            self._ended()

    def _ended(self) -> None:
        """Counts a call as ended, and sends what has come meanwhile."""
        self._under_way -= 1
        while self._waiting and self._under_way < UNDER_WAY_MAX:
            batch, self._waiting = self._waiting[:SUBMISSIONS_MAX], self._waiting[SUBMISSIONS_MAX:]
            batch = [waiting for waiting in batch if not waiting.answer.done()]
            if batch:
                self._under_way += 1
                task = asyncio.create_task(self._together(batch))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _together(self, batch: list[_Waiting]) -> None:
        request = pb.SubmitWorkflowsRequest(submissions=[waiting.request for waiting in batch])
        try:
            timeout_s = max(0.001, max(waiting.end_s for waiting in batch) - time.monotonic())
            results = (await self._several(request, timeout_s)).results
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


def _answer(waiting: _Waiting, answer: Any) -> None:
    if not waiting.answer.done():
        waiting.answer.set_result(answer)


def _error(details: bytes) -> ResultError:
    from google.rpc import status_pb2

    status = status_pb2.Status.FromString(details)
    code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
    return ResultError(code, status.message, details)
