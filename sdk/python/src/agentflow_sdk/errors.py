"""What can go wrong with a call, as types: catch the one you can handle, or `AgentFlowError` for all.

Every error says what is wrong; `problems` names each place and how to mend it. `code` is the gRPC status in lower case.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Final, Self

from agentflow_sdk.problems import Problem

STATUS_DETAILS_KEY: Final = "grpc-status-details-bin"


class AgentFlowError(Exception):
    """Base of every error that the SDK raises on purpose.

    kind: the server's stable name for the reason (`budget_exceeded_error`), empty if it gave none.
    retry_after_s: how long the server asks to wait before the same call; None if it did not ask for one.
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
        """Returns the error for one problem. headline: the message; by default the place and the problem."""
        return cls(headline or f"{place}: {message}", problems=(Problem(place, message, fix),))

    def __str__(self) -> str:
        # a server repeats its first problem in the message, for clients that read nothing else
        told = next((self.message.removesuffix(f": {p}") for p in self.problems if self.message.endswith(f": {p}")), "")
        return "\n".join([told or self.message, *(f"  {problem}" for problem in self.problems)])


class InvalidArgumentError(AgentFlowError):
    """The request is wrong, and stays wrong if it is sent again. `problems` lists each place and its fix."""

    code = "invalid_argument"


class NotFoundError(AgentFlowError):
    code = "not_found"


class AlreadyExistsError(AgentFlowError):
    code = "already_exists"


class PermissionDeniedError(AgentFlowError):
    """The API key is known but does not carry the permission."""

    code = "permission_denied"


class UnauthenticatedError(AgentFlowError):
    """No API key, or one that the server does not know."""

    code = "unauthenticated"


class ResourceExhaustedError(AgentFlowError):
    """A budget or a bound is reached. With `retry_after_s` the same call may succeed later; without, it will not."""

    code = "resource_exhausted"


class FailedPreconditionError(AgentFlowError):
    """The request is well-formed, but not in this state of the system (no price for the model, say)."""

    code = "failed_precondition"


class AbortedError(AgentFlowError):
    """Another writer was there first."""

    code = "aborted"


class UnavailableError(AgentFlowError):
    """The server can't be reached, or not now."""

    code = "unavailable"


class DeadlineExceededError(AgentFlowError):
    """No answer in time. The call may still have taken effect."""

    code = "deadline_exceeded"


class CancelledError(AgentFlowError):
    """The call was cancelled, here or by the server."""

    code = "cancelled"


class ConfigurationError(AgentFlowError):
    """No server or no key was found, or the configuration file can't be read; nothing was sent."""

    code = "invalid_argument"


class InternalError(AgentFlowError):
    """A fault of the server."""

    code = "internal"


_TYPES: Final[tuple[type[AgentFlowError], ...]] = (
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


class _Types:
    """Lookup by code; anything unforeseen keeps its code in a plain AgentFlowError."""

    by_code: ClassVar[dict[str, type[AgentFlowError]]] = {cls.code: cls for cls in _TYPES}


def from_status(code: str, message: str, details: bytes | None = None) -> AgentFlowError:
    """The error for a gRPC status. code: `invalid_argument`. details: a serialised `google.rpc.Status`."""
    cls = _Types.by_code.get(code, AgentFlowError)
    kind, problems, retry_after_s = _read_details(details) if details else ("", (), None)
    return cls(message or code, code=code, kind=kind, problems=problems, retry_after_s=retry_after_s)


def from_rpc_error(error: Any, endpoint: str) -> AgentFlowError:
    """The error for a `grpc.RpcError`, sync or aio. endpoint: named in the message when it can't be reached."""
    code = error.code().name.lower()
    message = error.details() or ""
    details = None
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_DETAILS_KEY:
            details = value
    if code == "unknown" and message.lower().startswith("stream removed"):  # gRPC's word for a connection that broke
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
    """Whether gRPC itself gave up waiting, and no server said what did not answer."""
    return not message or message.lower().startswith(("deadline exceeded", "stream removed"))


def _brief(message: str) -> str:
    """gRPC's connection errors repeat themselves; the last part is what the system said."""
    return message.rsplit(": ", 1)[-1].strip() or "connection failed"


def _read_details(data: bytes) -> tuple[str, tuple[Problem, ...], float | None]:
    """Reads BadRequest, ErrorInfo and RetryInfo; other details are left alone, they belong to a newer server."""
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
