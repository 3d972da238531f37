"""How the methods of both clients are declared once.

A namespace is generic over its transport. `method(build)` makes a method of a function that builds a call. The method
has the same parameters and the same docstring. Over the sync transport it returns the result, and over the async
transport a coroutine of it. `stream_method(build)` does the same for a function that builds a stream.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from types import MethodType
from typing import Any, Concatenate, Final, Generic, ParamSpec, TypeVar, overload

from agentflow_sdk.transport.aio import AsyncTransport
from agentflow_sdk.transport.call import Call, Program, Stream, built
from agentflow_sdk.transport.sync import Transport

T = TypeVar("T")
Result_co = TypeVar("Result_co", covariant=True)
AsyncResult_co = TypeVar("AsyncResult_co", covariant=True)
P = ParamSpec("P")
TransportT = TypeVar("TransportT", bound=Transport | AsyncTransport)
_RESULT: Final = re.compile(r"(?:[\w.]*\.)?(?:Call|Program|Stream)\[(.*)\]\Z", re.S)


class Namespace(Generic[TransportT]):
    """A group of methods of a client."""

    def __init__(self, transport: TransportT) -> None:
        self._transport = transport


class Method(Generic[P, Result_co, AsyncResult_co]):
    """A function of `calls` as a method of a namespace. `method` and `stream_method` make one."""

    def __init__(self, build: Callable[P, Any], *, streams: bool) -> None:
        self._build = build
        self._streams = streams
        self._made: dict[bool, Any] = {}

    def __set_name__(self, owner: type, name: str) -> None:
        self._owner = owner
        self._name = name

    @overload
    def __get__(self, space: None, owner: type) -> Callable[Concatenate[Any, P], Any]: ...

    @overload
    def __get__(self, space: Namespace[Transport], owner: type) -> Callable[P, Result_co]: ...

    @overload
    def __get__(self, space: Namespace[AsyncTransport], owner: type) -> Callable[P, AsyncResult_co]: ...

    def __get__(self, space: Namespace[Any] | None, owner: type) -> Any:
        is_async = space is not None and isinstance(space._transport, AsyncTransport)
        if is_async not in self._made:
            self._made[is_async] = self._dress(self._function(is_async), is_async)
        return self._made[is_async] if space is None else MethodType(self._made[is_async], space)

    def _function(self, is_async: bool) -> Any:
        build = self._build

        def method(space: Namespace[Any], /, *args: P.args, **kwargs: P.kwargs) -> Any:
            send = space._transport.follow if self._streams else space._transport.run
            return send(built(build, *args, **kwargs))

        async def async_method(space: Namespace[Any], /, *args: P.args, **kwargs: P.kwargs) -> Any:
            return await space._transport.run(built(build, *args, **kwargs))

        return async_method if is_async and not self._streams else method

    def _dress(self, function: Any, is_async: bool) -> Any:
        """Gives a function the name, the signature and the docstring that `help()` and editors show."""
        function.__name__ = self._name
        function.__qualname__ = f"{self._owner.__qualname__}.{self._name}"
        function.__module__ = self._owner.__module__
        function.__doc__ = self._build.__doc__
        shown = signature(self._build)
        if self._streams:
            items = AsyncIterator if is_async else Iterator
            shown = shown.replace(return_annotation=items[shown.return_annotation])
        function.__signature__ = shown
        return function


def method(build: Callable[P, Call[T] | Program[T]]) -> Method[P, T, Coroutine[Any, Any, T]]:
    """Makes a method that returns the result of a call, or of a program of several calls."""
    return Method(build, streams=False)


def stream_method(build: Callable[P, Stream[T]]) -> Method[P, Iterator[T], AsyncIterator[T]]:
    """Makes a method that returns an iterator over the items of a stream."""
    return Method(build, streams=True)


def signature(build: Callable[..., Any]) -> inspect.Signature:
    """Returns the signature of the method that executes what `build` builds, with `self` first."""
    plain = inspect.signature(build)
    try:
        hints = typing.get_type_hints(build)
    except NameError:  # a name that only type checkers see
        hints = {}
    parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)]
    parameters += [
        parameter.replace(annotation=hints.get(parameter.name, parameter.annotation))
        for parameter in plain.parameters.values()
    ]
    result = hints.get("return", plain.return_annotation)
    if isinstance(result, str):
        match = _RESULT.match(result)
        result = match[1] if match else result
    else:
        result = typing.get_args(result)[-1]
    return plain.replace(parameters=parameters, return_annotation=result)
