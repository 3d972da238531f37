"""The call being served: who asks, in which trace, until when. One context variable, set by the door."""

from __future__ import annotations

import contextvars
import time
from typing import Any, TypeVar

from nats.aio.client import Client

from agentflow_common import rpc, screening
from agentflow_common.errors import DeadlineError, RetryableError
from agentflow_common.rpc import Verb, bus
from agentflow_gateway import limits
from agentflow_gateway.auth_rules import Identity

Reply = TypeVar("Reply")
NO_RUN = "controls"  # owns the tokens of texts that concern no run
_MARGIN_S = 0.05  # left for our own answer when a backend uses up the client's deadline


class Call:
    """identity: the caller. trace: W3C traceparent of this call's span. deadline_at: time.monotonic() seconds."""

    __slots__ = ("deadline_at", "identity", "trace")

    def __init__(self, identity: Identity, trace: str, deadline_at: float | None) -> None:
        self.identity = identity
        self.trace = trace
        self.deadline_at = deadline_at

    @property
    def org(self) -> str:
        return self.identity.org

    def timeout_s(self, longest_s: float) -> float:
        """Seconds that a backend may take. DeadlineError if the client's deadline is already used up."""
        if self.deadline_at is None:
            return longest_s
        left = self.deadline_at - time.monotonic() - _MARGIN_S
        if left <= 0:
            raise DeadlineError("the call's deadline passed before it was done; allow more time", kind="deadline")
        return min(longest_s, left)

    async def ask(self, nc: Client, verb: Verb[Reply], request: Any) -> Reply:
        """Asks a service within the call's deadline and trace. RetryableError if it is away, or did not answer although
        the client's deadline left it the time; DeadlineError if it did not."""
        timeout_s = self.timeout_s(verb.timeout_s)
        try:
            return await bus.call(nc, verb, request, trace=self.trace, timeout_s=timeout_s)
        except DeadlineError as error:
            if error.kind != "rpc_timeout" or timeout_s < verb.timeout_s:
                raise
            raise RetryableError(error.message, kind=error.kind, retry_after_ms=error.retry_after_ms) from error

    async def protect(self, nc: Client, run: str, value: Any, purpose: str = "input") -> Any:
        """Returns the value with tokens of the run's vault in place of what is sensitive."""
        if not screening.needs_screening(value):
            return value
        request = rpc.ProtectRequest(org=self.org, run=run, value=value, purpose=purpose)
        return (await self.ask(nc, rpc.PROTECT, request)).value

    async def safe_reason(self, nc: Client, reason: str, run: str = NO_RUN) -> str:
        """Returns the reason of a change with what is sensitive protected. InvalidError if it is too long."""
        limits.check_text(reason, "reason", limits.REASON_CHARS_MAX)
        return str(await self.protect(nc, run, reason, "reason"))


_current: contextvars.ContextVar[Call] = contextvars.ContextVar("agentflow_gateway_call")


def current() -> Call:
    return _current.get()


def enter(call: Call) -> None:
    """For the task that serves the call; the task ends with it, so nothing is put back."""
    _current.set(call)
