"""Group `engine-long`: a wide fan-out, an aged log, recovery, memory: what takes longer to prepare than to measure."""

from __future__ import annotations

import argparse

from benchmarks.aged import slowdown
from benchmarks.drive import Emit
from benchmarks.engine import fan
from benchmarks.stack import engine
from benchmarks.waiting import waiting

FANOUT = 10_000
ROUNDS = 3


async def run(emit: Emit, options: argparse.Namespace) -> None:
    async with engine() as stack:
        await fan(stack, emit, FANOUT, ROUNDS)
    await waiting(emit)
    await slowdown(emit, options.runs)
