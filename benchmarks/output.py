"""Output of all benchmark commands: one JSON line on stdout for each figure, and clean-up after an
interrupt.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import traceback
from collections.abc import Callable, Coroutine
from typing import Any

Emit = Callable[..., None]
INTERRUPTED = 130  # the exit code that a shell gives for Ctrl-C


def emit(name: str, value: float, unit: str, n: int, durability: str, replicas: int = 1, **more: Any) -> None:
    """Prints one figure at once. n: the number of rounds (or samples) of the median."""
    line = {
        "name": name,
        "value": round(value, 4),
        "unit": unit,
        "n": n,
        "durability": durability,
        "replicas": replicas,
        **more,
    }
    print(json.dumps(line), flush=True)


def attempt(label: str, part: Coroutine[Any, Any, None]) -> bool:
    """Runs a part to its end. Returns False if it failed, with the reason on stderr."""
    try:
        asyncio.run(part)
    except Exception:
        traceback.print_exc()
        print(f"{label} failed: its reason is above", file=sys.stderr)
        return False
    return True


def interruptible(command: Callable[[], int]) -> int:
    """Returns the command's exit code.

    Ctrl-C and a termination first stop the servers and remove their folders.
    """
    # as in a terminal: a shell may have set it to be ignored for a background job
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        return command()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
