"""A call of the API as data: the method, the request, and how the answer is read. Nothing here does I/O.

The sync and the async transport execute the same calls, streams and programs.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, ParamSpec, Protocol, TypeVar

from agentflow_sdk.convert.requests import unfit
from agentflow_sdk.errors import AgentFlowError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Method:
    """A method of the API."""

    path: str
    """The path on the wire: `/agentflow.v1.WorkflowService/GetRun`."""
    reply: Any
    """The class of the answer, or of each message of a stream."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A call with one answer."""

    method: Method
    request: Any
    read: Callable[[Any], T]
    """Makes the result of the answer."""
    timeout_s: float | None = None
    """The deadline, retries included; None for the client's default."""
    repeatable: bool = True
    """True if sending the request twice has the effect of sending it once, so that a lost answer may be asked for
    again."""


class Reading(Protocol[T_co]):
    """The state of a stream that is being read. It is pure: times are arguments, in seconds of any steady clock."""

    finished: bool

    def request(self) -> Any:
        """Returns the request to send now."""
        ...

    def remaining_s(self, now_s: float) -> float | None:
        """Returns the seconds that are left; None for no end. Raises DeadlineExceededError when the time is over."""

    def accept(self, response: Any, now_s: float) -> Sequence[T_co]:
        """Returns the items of a message that are to be handed on."""

    def pause_s(self, error: AgentFlowError, now_s: float, fraction: float) -> float:
        """Returns the seconds to wait before the next request. Raises the error if there should be none."""


@dataclass(frozen=True, slots=True)
class Stream(Generic[T]):
    """A call with a stream of answers."""

    method: Method
    open: Callable[[float], Reading[T]]
    """Begins to read, at a time in seconds."""

    @classmethod
    def once(cls, method: Method, request: Any, read: Callable[[Any], T], timeout_s: float | None) -> Stream[T]:
        """Returns a stream that is not resumed after a failure."""
        return cls(method, lambda _: _Once(request, read, timeout_s))


class _Once(Generic[T]):
    def __init__(self, request: Any, read: Callable[[Any], T], timeout_s: float | None) -> None:
        self.finished = False
        self._request = request
        self._read = read
        self._timeout_s = timeout_s

    def request(self) -> Any:
        return self._request

    def remaining_s(self, now_s: float) -> float | None:  # noqa: ARG002
        return self._timeout_s

    def accept(self, response: Any, now_s: float) -> Sequence[T]:  # noqa: ARG002
        return (self._read(response),)

    def pause_s(self, error: AgentFlowError, now_s: float, fraction: float) -> float:  # noqa: ARG002
        raise error


# Yields calls, streams and pauses in seconds. It is sent the answer, the last item or None; errors are raised in it.
Program = Generator[Any, Any, T]


def service(name: str, messages: Any) -> Callable[[str], Method]:
    """Returns a function from the name of a method to the method. messages: the module with the service's messages."""
    return lambda method: Method(f"/agentflow.v1.{name}/{method}", getattr(messages, f"{method}Response"))


_signature: Final = functools.cache(inspect.signature)


def built(build: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Returns the call of these arguments.

    Raises InvalidArgumentError for an argument that no field of the request can hold.
    """
    given = _signature(build).bind(*args, **kwargs)  # a TypeError here is about the call itself
    try:
        return build(*args, **kwargs)
    except (TypeError, ValueError, OverflowError) as error:
        raise unfit(build.__name__, given.arguments, error) from error
