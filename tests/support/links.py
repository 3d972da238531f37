"""TCP links that a test can cut, slow down and heal: a proxy between services and servers, and between servers.

    with Links() as links:
        link = links.add(lambda: server.port)      # connect to link.address instead
        link.cut(); link.heal(); link.reset(); link.delay_s = 0.05

`cut` is a broken network: nothing passes, nobody is told, and what was sent arrives after `heal`. `reset` breaks the
connections and refuses new ones until `heal`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

HOST: Final = "127.0.0.1"
CHUNK_BYTES: Final = 256 * 1024


class Link:
    """One address that leads to another. Its methods may be called from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, target: Callable[[], int]) -> None:
        self._loop = loop
        self._target = target
        self._open = asyncio.Event()
        self._open.set()
        self._refusing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.delay_s = 0.0
        self.port = 0

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, HOST, 0, limit=CHUNK_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        self._do(self._open.clear)

    def reset(self) -> None:
        def do() -> None:
            self._refusing = True
            for task in self._tasks:
                task.cancel()

        self._do(do)

    def heal(self) -> None:
        def do() -> None:
            self._refusing = False
            self.delay_s = 0.0
            self._open.set()

        self._do(do)

    def _do(self, change: Callable[[], None]) -> None:
        """In the links' thread; it is done when this returns."""

        async def work() -> None:
            change()

        asyncio.run_coroutine_threadsafe(work(), self._loop).result(10)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._connect(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other: asyncio.StreamWriter | None = None
        try:
            if self._refusing:
                return
            await self._open.wait()
            far_reader, other = await asyncio.open_connection(HOST, self._target(), limit=CHUNK_BYTES)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, other))
                group.create_task(self._pump(far_reader, writer))
        except (OSError, asyncio.CancelledError, _EndedError, BaseExceptionGroup):
            pass  # a connection that broke, on either side, breaks on the other
        finally:
            for end in (writer, other):
                if end is not None:
                    end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK_BYTES):
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            await self._open.wait()
            writer.write(data)
            await writer.drain()
        raise _EndedError


class _EndedError(Exception):
    pass


class Links:
    """Runs the links of a test in a thread with a loop of its own."""

    def __init__(self) -> None:
        self._loop = _new_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="links", daemon=True)
        self.all: list[Link] = []

    def add(self, target: Callable[[], int]) -> Link:
        """target: the port behind the link, asked for at every connection."""
        link = Link(self._loop, target)
        asyncio.run_coroutine_threadsafe(link.listen(), self._loop).result(10)
        self.all.append(link)
        return link

    def heal(self) -> None:
        for link in self.all:
            link.heal()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        async def end() -> None:
            await asyncio.gather(*(link.close() for link in self.all))

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: Any = uvloop.new_event_loop()
    return loop  # type: ignore[no-any-return]
