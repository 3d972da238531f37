"""Restate: the service that the server calls, on hypercorn (HTTP/2). Argument: the file to write its port to."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import restate
from hypercorn.asyncio import serve
from hypercorn.config import Config

from benchmarks.peers.programs import protocol

service = restate.Service("bench")


async def step(n: int) -> int:
    return n + 1


@service.handler()
async def chain(ctx: restate.Context, length: int) -> int:
    n = 0
    for index in range(length):
        n = await ctx.run_typed(f"s{index}", step, n=n)
    return n


async def main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = Config()
        config.bind = [f"fd://{listening.fileno()}"]
        said = Path(sys.argv[1])
        written = said.with_suffix(".new")
        written.write_text(str(listening.getsockname()[1]))
        written.rename(said)
        await serve(restate.app([service]), config)


if __name__ == "__main__":
    protocol.run(main())
