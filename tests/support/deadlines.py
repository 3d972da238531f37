"""For tests: gRPC channels whose calls end. An answer that is lost fails the test and does not hang it."""

from __future__ import annotations

from typing import Any, Final

import grpc

from tests.support.waiting import PATIENCE_S

DEADLINE_S: Final = 2 * PATIENCE_S  # of a call that names none: longer than what a test waits for within it


class _Call:
    """A method of a channel, with a deadline by itself."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __call__(self, request: Any, timeout: float | None = None, **more: Any) -> Any:
        return self._call(request, timeout=DEADLINE_S if timeout is None else timeout, **more)


class Channel:
    """A channel, sync or async: stubs are made with it as with its own kind."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    def _method(self, kind: str, *args: Any, **more: Any) -> _Call:
        return _Call(getattr(self._channel, kind)(*args, **more))

    def unary_unary(self, *args: Any, **more: Any) -> _Call:
        return self._method("unary_unary", *args, **more)

    def unary_stream(self, *args: Any, **more: Any) -> _Call:
        return self._method("unary_stream", *args, **more)

    def stream_unary(self, *args: Any, **more: Any) -> _Call:
        return self._method("stream_unary", *args, **more)

    def stream_stream(self, *args: Any, **more: Any) -> _Call:
        return self._method("stream_stream", *args, **more)

    def close(self) -> Any:
        return self._channel.close()

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    async def __aenter__(self) -> Channel:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()


def channel(address: str, options: Any = None) -> Channel:
    """Returns a channel for asyncio to the address, as `grpc.aio.insecure_channel` does."""
    return Channel(grpc.aio.insecure_channel(address, options))


def blocking_channel(address: str) -> Channel:
    """Returns a channel for threads to the address, as `grpc.insecure_channel` does."""
    return Channel(grpc.insecure_channel(address))
