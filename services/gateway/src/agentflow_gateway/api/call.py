"""A call that is being served: who asks, in which trace, until when, and what the gateway serves it with."""

from __future__ import annotations

import time
from typing import Any, Final, TypeVar

from agentflow_common import events as ev
from agentflow_common import rpc, subjects
from agentflow_common.errors import DeadlineError, InvalidError, RetryableError
from agentflow_common.log.event_log import Ack, Entry, Fence
from agentflow_common.rpc import Verb, bus
from agentflow_gateway import auth_rules, limits
from agentflow_gateway.auth_rules import Identity
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.store.tables import Store

Reply = TypeVar("Reply")
APPEND_S_MAX: Final = 10.0
NO_RUN: Final = "controls"  # owns the tokens of texts that concern no run
_MARGIN_S: Final = 0.05  # left for our own answer when a backend uses up the client's deadline


class Call:
    __slots__ = ("deadline_at", "deps", "identity", "trace")

    def __init__(self, deps: Deps, identity: Identity, trace: str, deadline_at: float | None = None) -> None:
        self.deps = deps
        self.identity = identity
        self.trace = trace  # the W3C traceparent of the call's span
        self.deadline_at = deadline_at  # in seconds of time.monotonic()

    @property
    def org(self) -> str:
        return self.identity.org

    @property
    def store(self) -> Store:
        return self.deps.store

    def now_ms(self) -> int:
        return self.deps.clock.now_ms()

    def timeout_s(self, longest_s: float) -> float:
        """Returns the seconds that a backend may take. DeadlineError if the client's deadline is already used up."""
        if self.deadline_at is None:
            return longest_s
        left = self.deadline_at - time.monotonic() - _MARGIN_S
        if left <= 0:
            raise DeadlineError("the call's deadline passed before it was done; allow more time", kind="deadline")
        return min(longest_s, left)

    async def ask(self, verb: Verb[Reply], request: Any) -> Reply:
        """Asks a service within the call's deadline and trace.

        DeadlineError if the client's deadline came first; RetryableError if the service is away or did not answer.
        """
        timeout_s = self.timeout_s(verb.timeout_s)
        try:
            return await bus.call(self.deps.nc, verb, request, trace=self.trace, timeout_s=timeout_s)
        except DeadlineError as error:
            if error.kind != "rpc_timeout" or timeout_s < verb.timeout_s:
                raise
            raise RetryableError(error.message, kind=error.kind, retry_after_ms=error.retry_after_ms) from error

    async def protect(self, run: str, value: Any, purpose: str = "input") -> Any:
        """Returns the value with tokens of the run's vault in place of what is sensitive."""
        request = rpc.ProtectRequest(org=self.org, run=run, value=value, purpose=purpose)
        return (await rpc.protected(request, lambda: self.ask(rpc.PROTECT, request))).value

    async def safe_reason(self, reason: str, run: str = NO_RUN, purpose: str = "reason") -> str:
        """Returns the reason of a change with what is sensitive protected. InvalidError if it is too long."""
        limits.check_text(reason, "reason", limits.REASON_CHARS_MAX)
        return str(await self.protect(run, reason, purpose))

    def check_reveal(self, reason: str, what: str) -> None:
        """Raises if the caller may not see original values, or gives no reason for it."""
        auth_rules.require(self.identity, "reveal", what)
        limits.check_text(reason, "reveal_reason", limits.REASON_CHARS_MAX)
        if not reason.strip():
            text = "a reveal needs a reason, which is kept in the audit log"
            raise InvalidError.at("reveal_reason", text, "give one, for example a ticket number")

    def header(self, run: str) -> dict[str, Any]:
        """Returns the fields that every event of this call about the run has."""
        return {"org": self.org, "run": run, "ts": self.now_ms(), "trace": self.trace}

    async def append(
        self, event: ev.Event, msg_id: str = "", fence: Fence | None = None, encoded: bytes | None = None
    ) -> Ack:
        """Appends a fact to the `in` of the run, lane or schedule that it names. Durable on return.

        encoded: the event as the log stores it, if the caller has it.
        """
        subject = subjects.run_in(subjects.key_of(event.org, event.run))
        entry = Entry(subject, ev.encode(event) if encoded is None else encoded, msg_id=msg_id, fence=fence)
        return await self.deps.log.append(entry, self.timeout_s(APPEND_S_MAX))

    async def audit(self, action: str, reason: str) -> None:
        """Appends an entry of the audit log that concerns no run. Durable on return."""
        record = ev.AuditRecorded(**self.header(""), action=action, actor=self.identity.actor, reason=reason)
        entry = Entry(subjects.audit(self.org, ""), ev.encode(record))
        await self.deps.log.append(entry, self.timeout_s(APPEND_S_MAX))
