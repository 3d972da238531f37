"""The part that both transports share: the server, how a channel is opened, and when a call is repeated."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, Final

from agentflow_sdk.errors import AgentFlowError, from_rpc_error
from agentflow_sdk.transport import channel
from agentflow_sdk.transport.call import Call, Method
from agentflow_sdk.transport.connection import Target
from agentflow_sdk.transport.retry import RetryPolicy

REMAINING_S_MIN: Final = 0.001  # gRPC refuses a deadline that has passed


class Core:
    """Base of the transports.

    Args:
        target: The server, the API key and the org.
        timeout_s: Seconds for a call that names no deadline, retries included.
        retry: When a failed call is repeated.
        root_certificates: Certificates in PEM that the server's is checked against; None for those of the system.
    """

    def __init__(
        self, target: Target, timeout_s: float, retry: RetryPolicy | None, root_certificates: bytes | None
    ) -> None:
        self.endpoint = channel.parse_endpoint(target.endpoint)
        self._metadata = channel.metadata(target.token, target.org_id)
        self._timeout_s = timeout_s
        self._retry = retry or RetryPolicy()
        self._root_certificates = root_certificates
        self._senders: dict[Method, Callable[..., Any]] = {}

    def _open(self, library: Any) -> Any:
        """Returns a new channel. library: `grpc` or `grpc.aio`."""
        return channel.open_channel(library, self.endpoint, self._root_certificates)

    def _sender(self, kind: Any, method: Method) -> Callable[..., Any]:
        """Returns the function that sends a request. kind: `unary_unary` or `unary_stream` of a channel."""
        if method not in self._senders:
            send = kind(method.path, channel.serialise, method.reply.FromString)
            self._senders[method] = lambda request, timeout_s: send(request, timeout=timeout_s, metadata=self._metadata)
        return self._senders[method]

    def _error(self, rpc_error: Exception) -> AgentFlowError:
        return from_rpc_error(rpc_error, str(self.endpoint))

    def _attempts(self, call: Call[Any]) -> Attempts:
        timeout_s = self._timeout_s if call.timeout_s is None else call.timeout_s
        return Attempts(self._retry, time.monotonic() + timeout_s, call.repeatable, self._error)


class Attempts:
    """The attempts of one call: the time that each one may take, and the pause before the next one."""

    def __init__(
        self, policy: RetryPolicy, end_s: float, repeatable: bool, convert: Callable[[Exception], AgentFlowError]
    ) -> None:
        self._policy = policy
        self._end_s = end_s
        self._repeatable = repeatable
        self._convert = convert
        self._failed = 0

    def remaining_s(self) -> float:
        """Returns the seconds that the next attempt may take."""
        return max(REMAINING_S_MIN, self._end_s - time.monotonic())

    def pause_s(self, rpc_error: Exception) -> float:
        """Returns the seconds to wait before the next attempt. Raises AgentFlowError if there is none."""
        self._failed += 1
        error = self._convert(rpc_error)
        remaining_s = self._end_s - time.monotonic()
        pause_s = self._policy.delay(error, self._failed, remaining_s, random.random(), repeatable=self._repeatable)
        if pause_s is None:
            raise error from rpc_error
        return pause_s
