"""A step that writes down when it begins and ends, in the file of its lane's key."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from agentflow_worker.context import StepContext
from agentflow_worker.registry import function

FOLDER = Path(os.environ["LANES_FOLDER"])


def _note(key: str, run: str, what: str) -> None:
    line = f"{time.monotonic_ns()} {os.getpid()} {run} {what}\n"
    with (FOLDER / key).open("ab", buffering=0) as file:  # one write: whole lines, whoever else writes
        file.write(line.encode())


@function(name="lanes.hold")
async def hold(context: StepContext, key: str, seconds: float) -> str:
    """Holds its slot for a while."""
    _note(key, context.run, "begin")
    await asyncio.sleep(seconds)
    _note(key, context.run, "end")
    return key
