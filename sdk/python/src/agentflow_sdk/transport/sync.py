"""The sync transport: executes calls over a blocking channel."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any, TypeVar

import grpc

from agentflow_sdk.errors import AgentFlowError
from agentflow_sdk.transport.call import Call, Method, Program, Stream
from agentflow_sdk.transport.connection import Target
from agentflow_sdk.transport.core import Core
from agentflow_sdk.transport.retry import RetryPolicy

T = TypeVar("T")


class Transport(Core):
    """Executes calls. It may be shared between threads."""

    def __init__(
        self, target: Target, timeout_s: float, retry: RetryPolicy | None, root_certificates: bytes | None
    ) -> None:
        super().__init__(target, timeout_s, retry, root_certificates)
        self._channel = self._open(grpc)

    def run(self, work: Call[T] | Program[T]) -> T:
        """Returns the result of a call, or of a program after all of its steps. Raises AgentFlowError."""
        if isinstance(work, Call):
            return self._answer(work)
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
                    answer = self._answer(step)
                elif isinstance(step, Stream):
                    for item in self.follow(step):
                        answer = item
                else:
                    time.sleep(step)
            except AgentFlowError as error:
                failure = error

    def follow(self, stream: Stream[T]) -> Iterator[T]:
        """Yields the items of a stream, over several connections if need be. Closing the iterator ends the call."""
        now = time.monotonic
        state = stream.open(now())
        while True:
            try:
                for response in self._responses(stream.method, state.request(), state.remaining_s(now())):
                    yield from state.accept(response, now())
                    if state.finished:
                        return
            except AgentFlowError as error:
                pause_s = state.pause_s(error, now(), random.random())
            else:
                return  # the server closes in good order only when there is nothing more
            time.sleep(pause_s)

    def _answer(self, call: Call[T]) -> T:
        send = self._sender(self._channel.unary_unary, call.method)
        attempts = self._attempts(call)
        while True:
            try:
                return call.read(send(call.request, attempts.remaining_s()))
            except grpc.RpcError as error:
                pause_s = attempts.pause_s(error)
            time.sleep(pause_s)

    def _responses(self, method: Method, request: Any, timeout_s: float | None) -> Iterator[Any]:
        answer = self._sender(self._channel.unary_stream, method)(request, timeout_s)
        try:
            yield from answer
        except grpc.RpcError as error:
            raise self._error(error) from error
        finally:
            answer.cancel()

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()
