"""Restate: the service that the server calls, on granian (HTTP/2).

Argument: the port to listen at.
"""

from __future__ import annotations

import sys

import restate
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

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
    app = restate.app([service])
    await Server(app, port=int(sys.argv[1]), interface=Interfaces.ASGI, http=HTTPModes.http2).serve()


if __name__ == "__main__":
    protocol.run(main())
