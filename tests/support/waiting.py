"""Waiting in tests for what another task or process does: an acknowledgement, a projection, a metric, a state."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar, overload

PATIENCE_S: Final = 60.0  # machines of CI are slow and busy; who waits for what comes pays nothing for it
PAUSE_S: Final = 0.005  # and longer each time: who waits long must not keep the machine busy with his questions
PAUSE_S_MAX: Final = 0.2
_T = TypeVar("_T")


@overload
async def until(check: Callable[[], Awaitable[_T]], timeout_s: float = ..., what: str = ...) -> _T: ...
@overload
async def until(check: Callable[[], _T], timeout_s: float = ..., what: str = ...) -> _T: ...
async def until(check: Callable[[], Any], timeout_s: float = PATIENCE_S, what: str = "") -> Any:
    """What `check` gives, once it is true; AssertionError if that takes too long."""
    deadline, pause_s = time.monotonic() + timeout_s, PAUSE_S
    while True:
        found = check()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        _still(deadline, timeout_s, what)
        await asyncio.sleep(pause_s)
        pause_s = min(1.5 * pause_s, PAUSE_S_MAX)


def until_now(check: Callable[[], _T], timeout_s: float = PATIENCE_S, what: str = "") -> _T:
    """As `until`, where no loop runs."""
    deadline, pause_s = time.monotonic() + timeout_s, PAUSE_S
    while not (found := check()):
        _still(deadline, timeout_s, what)
        time.sleep(pause_s)
        pause_s = min(1.5 * pause_s, PAUSE_S_MAX)
    return found


def _still(deadline: float, timeout_s: float, what: str) -> None:
    if time.monotonic() > deadline:
        raise AssertionError(f"{what or 'what is waited for did not come'} within {timeout_s:g} s")
