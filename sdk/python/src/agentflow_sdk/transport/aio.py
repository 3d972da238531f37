"""The async transport: executes calls over an asyncio channel."""

from __future__ import annotations

import asyncio
import functools
import random
import time
from collections.abc import AsyncIterator
from typing import Any, TypeVar

import grpc
import grpc.aio

from agentflow.v1 import workflow_pb2
from agentflow_sdk.errors import AgentFlowError
from agentflow_sdk.transport import together
from agentflow_sdk.transport.call import Call, Method, Program, Stream
from agentflow_sdk.transport.core import Core

T = TypeVar("T")


class AsyncTransport(Core):
    """Executes calls. It belongs to the event loop of its first call."""

    @functools.cached_property
    def _channel(self) -> Any:
        """The channel. The first call opens it, because it must be made inside the loop that uses it."""
        return self._open(grpc.aio)

    async def run(self, work: Call[T] | Program[T]) -> T:
        """Returns the result of a call, or of a program after all of its steps. Raises AgentFlowError."""
        if isinstance(work, Call):
            return await self._answer(work)
        answer: Any = None
        failure: AgentFlowError | None = None
        while True:
            try:
                step = work.send(answer) if failure is None else work.throw(failure)
            except StopIteration as end:
                result: T = end.value
                return result
            answer = failure = None
            try:
                if isinstance(step, Call):
                    answer = await self._answer(step)
                elif isinstance(step, Stream):
                    async for item in self.follow(step):
                        answer = item
                else:
                    await asyncio.sleep(step)
            except AgentFlowError as error:
                failure = error

    async def follow(self, stream: Stream[T]) -> AsyncIterator[T]:
        """Yields the items of a stream, over several connections if need be. Closing the iterator ends the call."""
        now = time.monotonic
        state = stream.open(now())
        while True:
            try:
                async for response in self._responses(stream.method, state.request(), state.remaining_s(now())):
                    for item in state.accept(response, now()):
                        yield item
                    if state.finished:
                        return
            except AgentFlowError as error:
                pause_s = state.pause_s(error, now(), random.random())
            else:
                return  # the server closes in good order only when there is nothing more
            await asyncio.sleep(pause_s)

    @functools.cached_property
    def _submissions(self) -> together.Submissions:
        one = Method(together.SUBMIT, workflow_pb2.SubmitWorkflowResponse)
        several = Method(together.SUBMIT_SEVERAL, workflow_pb2.SubmitWorkflowsResponse)
        kind = self._channel.unary_unary
        return together.Submissions(self._sender(kind, one), self._sender(kind, several))

    @functools.cached_property
    def _waits(self) -> together.Waits:
        one = Method(together.WAIT, workflow_pb2.WaitRunResponse)
        several = Method(together.WAIT_SEVERAL, workflow_pb2.WaitRunsResponse)
        channel = self._channel
        return together.Waits(self._sender(channel.unary_unary, one), self._sender(channel.unary_stream, several))

    async def _answer(self, call: Call[T]) -> T:
        if call.method.path == together.SUBMIT:
            send = self._submissions.send
        elif call.method.path == together.WAIT:
            send = self._waits.send
        else:
            send = self._sender(self._channel.unary_unary, call.method)
        attempts = self._attempts(call)
        while True:
            try:
                return call.read(await send(call.request, attempts.remaining_s()))
            except grpc.RpcError as error:
                pause_s = attempts.pause_s(error)
            await asyncio.sleep(pause_s)

    async def _responses(self, method: Method, request: Any, timeout_s: float | None) -> AsyncIterator[Any]:
        answer = self._sender(self._channel.unary_stream, method)(request, timeout_s)
        try:
            async for response in answer:
                yield response
        except grpc.RpcError as error:
            raise self._error(error) from error
        finally:
            answer.cancel()

    async def close(self) -> None:
        """Closes the channel."""
        if "_channel" in self.__dict__:
            await self._channel.close()
