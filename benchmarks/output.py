"""What all benchmark commands share: a figure is one JSON line on stdout, and an interrupt leaves nothing behind."""

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
    """One figure, at once. n: rounds (or samples) that the median is of."""
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
    """Runs a part to its end; False if it failed, with the reason on stderr, so that the next one runs all the same."""
    try:
        asyncio.run(part)
    except Exception:
        traceback.print_exc()
        print(f"{label} failed: its reason is above", file=sys.stderr)
        return False
    return True


def interruptible(command: Callable[[], int]) -> int:
    """The command's exit code. Ctrl-C and a termination both stop the servers and remove their folders first."""
    # as in a terminal, where a shell had it ignored for a job in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        return command()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
