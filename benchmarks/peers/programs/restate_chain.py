"""Restate: the client, which calls the handler through the server's ingress.

Arguments: the folder of the server's sockets, the port of the service.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import aiohttp

from benchmarks.peers.programs import protocol

START_S_MAX = 60.0


async def register(socket: Path, service_port: str) -> None:
    """Registers the service with the server, once it listens."""
    async with asyncio.timeout(START_S_MAX):
        while not socket.exists():
            await asyncio.sleep(0.1)
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as session:
            body = {"uri": f"http://127.0.0.1:{service_port}"}
            while True:
                try:
                    async with session.post("http://admin/deployments", json=body) as response:
                        if response.ok:
                            return
                        failure = await response.text()
                except aiohttp.ClientConnectionError as error:
                    failure = str(error)
                print(f"restate: not registered yet: {failure}", file=sys.stderr)
                await asyncio.sleep(0.5)


async def main() -> None:
    folder, service_port = Path(sys.argv[1]), sys.argv[2]
    await register(folder / "admin.sock", service_port)
    connector = aiohttp.UnixConnector(str(folder / "ingress.sock"), limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def chain(length: int) -> int:
            async with session.post("http://ingress/bench/chain", json=length) as response:
                response.raise_for_status()
                return int(await response.json())

        await protocol.serve(chain, versions=protocol.versions(["restate-sdk", "granian"]))


if __name__ == "__main__":
    protocol.run(main())
