"""The error tree: an error is retryable or terminal, names a code, a place and what to do next.

The codes are those of gRPC in lower case, so that every door (gRPC, HTTP, CLI, request/reply) maps them one to one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Self

import msgspec

from agentflow_common.json_values import escaped

UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)  # what decoding foreign JSON may raise


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is wrong: its place, what is wrong with it, and how to fix it."""

    place: str
    message: str
    fix: str = ""

    def __str__(self) -> str:
        text = f"{self.place}: {self.message}" if self.place else self.message
        return f"{text} ({self.fix})" if self.fix else text


class AgentFlowError(Exception):
    """Base of every error that AgentFlow raises on purpose."""

    # one of CODES. kind: stable machine-readable name (`budget_exceeded`). problems: the places that are wrong.
    code: str = "internal"
    retryable: bool = False
    groups: tuple[str, ...] = ()  # wider kinds that a retry policy may name: `http_5xx` of `http_503`

    def __init__(
        self,
        message: str,
        *,
        kind: str = "",
        problems: tuple[Problem, ...] = (),
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind or _snake(type(self).__name__)
        self.problems = problems
        self.retry_after_ms = retry_after_ms

    @classmethod
    def at(cls, place: str, message: str, fix: str = "", *, kind: str = "") -> Self:
        """Returns the error of a single problem; its message ends with the fix."""
        return cls(f"{message}: {fix}" if fix else message, kind=kind, problems=(Problem(place, message, fix),))

    @classmethod
    def of(cls, problems: Sequence[Problem], about: str = "", *, kind: str = "") -> Self:
        """Returns the error of at least one problem. Its message names the first one and counts the others."""
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        head = f"{about}: " if about else ""
        return cls(f"{head}{problems[0]}{more}", kind=kind, problems=tuple(problems))


class RetryableError(AgentFlowError):
    """The same call may succeed later: nothing about the request is wrong."""

    code = "unavailable"
    retryable = True


class TerminalError(AgentFlowError):
    """The same call fails again: the request, the definition or the policy must change."""

    code = "failed_precondition"


class ConflictError(AgentFlowError):
    """An append was refused because another writer was there first: reload and decide again."""

    code = "aborted"
    retryable = True


class InvalidError(TerminalError):
    code = "invalid_argument"


class NotFoundError(TerminalError):
    code = "not_found"


class AlreadyExistsError(TerminalError):
    code = "already_exists"


class PermissionDeniedError(TerminalError):
    code = "permission_denied"


class UnauthenticatedError(TerminalError):
    code = "unauthenticated"


class BudgetExceededError(TerminalError):
    """The call does not fit in what is left of a budget; nothing was spent."""

    code = "resource_exhausted"


class UnknownPriceError(TerminalError):
    """No price is known for the model: the call is refused, it never counts as free."""

    code = "failed_precondition"


class BlockedError(TerminalError):
    """The security service refused the text, or could not examine it (fail closed)."""

    code = "permission_denied"


class OverloadedError(RetryableError):
    """A bound was reached; nothing was accepted."""

    code = "resource_exhausted"


class DeadlineError(RetryableError):
    code = "deadline_exceeded"


_BY_CODE: Final[dict[str, type[AgentFlowError]]] = {
    "invalid_argument": InvalidError,
    "not_found": NotFoundError,
    "already_exists": AlreadyExistsError,
    "permission_denied": PermissionDeniedError,
    "unauthenticated": UnauthenticatedError,
    "aborted": ConflictError,
    "unavailable": RetryableError,
    "deadline_exceeded": DeadlineError,
    "failed_precondition": TerminalError,
}
CODES: Final = frozenset({*_BY_CODE, "resource_exhausted", "internal"})


class ErrorBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """An AgentFlowError on the wire (request/reply and events)."""

    code: str
    kind: str
    message: str
    retryable: bool = False
    problems: tuple[Problem, ...] = ()
    retry_after_ms: int | None = None


def to_body(error: BaseException) -> ErrorBody:
    """Returns the wire form of any exception. An unforeseen one is `internal`, with its type as the kind."""
    if isinstance(error, AgentFlowError):
        problems = tuple(Problem(escaped(p.place), escaped(p.message), escaped(p.fix)) for p in error.problems)
        kind, message = escaped(error.kind), escaped(error.message)
        return ErrorBody(error.code, kind, message, error.retryable, problems, error.retry_after_ms)
    return ErrorBody("internal", type(error).__name__, escaped(str(error)) or type(error).__name__)


def from_body(body: ErrorBody) -> AgentFlowError:
    """Returns the exception that a wire form stands for, with the same `code` and `retryable`."""
    if body.kind == "budget_exceeded_error":
        cls: type[AgentFlowError] = BudgetExceededError
    elif body.kind == "blocked_error":
        cls = BlockedError
    else:
        cls = _BY_CODE.get(body.code, AgentFlowError)
    error = cls(body.message, kind=body.kind, problems=body.problems, retry_after_ms=body.retry_after_ms)
    error.code = body.code
    error.retryable = body.retryable
    return error


def _snake(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in name.rstrip("_")).lstrip("_")
