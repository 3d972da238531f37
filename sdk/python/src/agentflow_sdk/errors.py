"""The errors of the SDK as types. Catch the one that you can handle, or `AgentFlowError` for all.

`code` is the gRPC status in lower case. `RunFailedError` stands beside `Run`, in `models.workflows`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Self

from agentflow_sdk.problems import Problem, error_lines

STATUS_DETAILS_KEY: Final = "grpc-status-details-bin"


class AgentFlowError(Exception):
    """Base of every error that the SDK raises on purpose.

    Args:
        message: What happened.
        code: The gRPC status in lower case; empty for that of the class.
        kind: The server's stable name for the reason, such as `budget_exceeded_error`; empty if it gave none.
        problems: Everything that is wrong, each with its place and its fix.
        retry_after_s: Seconds that the server asks to wait before the same call; None if it did not ask for that.

    Attributes:
        message: What happened.
        code: The gRPC status in lower case: `not_found`.
        kind: The server's stable name for the reason; empty if it gave none.
        problems: Everything that is wrong, each with its place and its fix.
        retry_after_s: Seconds that the server asks to wait before the same call; None if it did not ask for that.
    """

    code: str = "unknown"

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        kind: str = "",
        problems: Iterable[Problem] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.kind = kind
        self.problems: tuple[Problem, ...] = tuple(problems)
        self.retry_after_s = retry_after_s

    @classmethod
    def at(cls, place: str, message: str, fix: str, headline: str = "") -> Self:
        """Returns the error for one problem.

        Args:
            place: Where it stands.
            message: What is wrong.
            fix: How to fix it.
            headline: The message of the error; empty for the place and the problem.

        Returns:
            The error.
        """
        return cls(headline or f"{place}: {message}", problems=(Problem(place, message, fix),))

    def __str__(self) -> str:
        return "\n".join(error_lines(self.message, self.problems))


class InvalidArgumentError(AgentFlowError):
    """The request is wrong, and stays wrong if it is sent again. `problems` lists each place and its fix."""

    code = "invalid_argument"


class NotFoundError(AgentFlowError):
    """The org has nothing of this name or id."""

    code = "not_found"


class AlreadyExistsError(AgentFlowError):
    """The name, the version or the key is taken by something else."""

    code = "already_exists"


class PermissionDeniedError(AgentFlowError):
    """The API key is known but lacks the permission."""

    code = "permission_denied"


class UnauthenticatedError(AgentFlowError):
    """The API key is missing, or the server does not know it."""

    code = "unauthenticated"


class ResourceExhaustedError(AgentFlowError):
    """A budget is spent or a limit is reached. The same call may succeed later only if `retry_after_s` is set."""

    code = "resource_exhausted"


class FailedPreconditionError(AgentFlowError):
    """The request is valid, but does not fit the present state of what it is about."""

    code = "failed_precondition"


class AbortedError(AgentFlowError):
    """Another writer changed the same thing first. Read it again, then retry."""

    code = "aborted"


class UnavailableError(AgentFlowError):
    """The server can't be reached, or can't answer now."""

    code = "unavailable"


class DeadlineExceededError(AgentFlowError):
    """There was no answer in time. The call may still have taken effect."""

    code = "deadline_exceeded"


class CancelledError(AgentFlowError):
    """The call was cancelled, here or by the server."""

    code = "cancelled"


class ConfigurationError(AgentFlowError):
    """No server or no key was found, or the configuration file can't be read. Nothing was sent."""

    code = "invalid_argument"


class InternalError(AgentFlowError):
    """The server has a fault."""

    code = "internal"


_OF_THE_SERVER: Final[tuple[type[AgentFlowError], ...]] = (
    InvalidArgumentError,
    NotFoundError,
    AlreadyExistsError,
    PermissionDeniedError,
    UnauthenticatedError,
    ResourceExhaustedError,
    FailedPreconditionError,
    AbortedError,
    UnavailableError,
    DeadlineExceededError,
    CancelledError,
    InternalError,
)
_BY_CODE: Final = {cls.code: cls for cls in _OF_THE_SERVER}


def from_status(code: str, message: str, details: bytes | None = None) -> AgentFlowError:
    """Returns the error for a gRPC status. code: `invalid_argument`. details: a serialised `google.rpc.Status`.

    A code that this SDK does not know gives a plain AgentFlowError with that code.
    """
    cls = _BY_CODE.get(code, AgentFlowError)
    kind, problems, retry_after_s = _read_details(details) if details else ("", (), None)
    return cls(message or code, code=code, kind=kind, problems=problems, retry_after_s=retry_after_s)


def from_rpc_error(error: Any, endpoint: str) -> AgentFlowError:
    """Returns the error for a `grpc.RpcError`, sync or async. endpoint: the address, for messages."""
    code = error.code().name.lower()
    message = error.details() or ""
    details = None
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_DETAILS_KEY:
            details = value
    if code == "unknown" and message.lower().startswith("stream removed"):  # the connection broke
        code = "unavailable"
    if code == "deadline_exceeded" and _is_own_deadline(message):
        message = f"AgentFlow at {endpoint} did not answer in time; try again, or give the call a longer `timeout`"
    if code == "unavailable" and _is_transport_noise(message):
        message = f"can't reach AgentFlow at {endpoint} ({_brief(message)}); is it running?"
    return from_status(code, message, details)


def _is_transport_noise(message: str) -> bool:
    lowered = message.lower()
    words = ("failed to connect", "connection", "dns", "socket", "handshake", "goaway", "stream removed")
    return any(word in lowered for word in words)


def _is_own_deadline(message: str) -> bool:
    """True if gRPC itself stopped waiting, and no server said what did not answer."""
    return not message or message.lower().startswith(("deadline exceeded", "stream removed"))


def _brief(message: str) -> str:
    """Returns the last part of a connection error, which is the system's message: gRPC repeats itself before it."""
    return message.rsplit(": ", 1)[-1].strip() or "connection failed"


def _read_details(data: bytes) -> tuple[str, tuple[Problem, ...], float | None]:
    """Returns (kind, problems, seconds to wait) from BadRequest, ErrorInfo and RetryInfo. Other details are ignored."""
    from google.protobuf.message import DecodeError
    from google.rpc import error_details_pb2, status_pb2

    try:
        status = status_pb2.Status.FromString(data)
    except DecodeError:
        return "", (), None
    kind, retry_after_s = "", None
    problems: list[Problem] = []
    for any_detail in status.details:
        bad, info, retry = error_details_pb2.BadRequest(), error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        if any_detail.Unpack(bad):
            problems.extend(
                Problem(item.field, item.description, item.localized_message.message) for item in bad.field_violations
            )
        elif any_detail.Unpack(info):
            kind = info.reason
        elif any_detail.Unpack(retry):
            retry_after_s = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    return kind, tuple(problems), retry_after_s
