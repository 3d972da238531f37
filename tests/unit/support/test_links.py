"""The links that fault tests cut: what is sent into a cut arrives after it; a reset breaks what there is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.support.links import HOST, Link, Links


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    """Leads to a server that sends back what it gets."""

    ended: list[asyncio.Event] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.append(asyncio.Event())
        mine = ended[-1]
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1000):
                writer.write(data)
        writer.transport.abort()
        mine.set()

    server = await asyncio.start_server(echo, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    with Links() as links:
        yield links.add(lambda: port)
    server.close()
    for one in ended:
        await one.wait()
    await asyncio.sleep(0)  # the transports' last callbacks


async def test_a_cut_holds_back_and_loses_nothing(link: Link) -> None:
    reader, writer = await asyncio.open_connection(HOST, link.port)
    writer.write(b"one")
    assert await reader.readexactly(3) == b"one"
    link.cut()
    writer.write(b"two")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(3), 0.2)
    link.heal()
    assert await reader.readexactly(3) == b"two"
    writer.close()


async def test_a_reset_breaks_connections_and_refuses_new_ones(link: Link) -> None:
    reader, writer = await asyncio.open_connection(HOST, link.port)
    writer.write(b"one")
    assert await reader.readexactly(3) == b"one"
    link.reset()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    again, other = await asyncio.open_connection(HOST, link.port)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await again.readexactly(1)
    link.heal()
    once_more, third = await asyncio.open_connection(HOST, link.port)
    third.write(b"two")
    assert await once_more.readexactly(3) == b"two"
    for end in (writer, other, third):
        end.close()
