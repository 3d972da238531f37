"""Ending background tasks for sure.

On Python 3.11 `asyncio.wait_for` returns its result, and forgets the cancellation, when both come in one turn of the
loop (python/cpython#86296, mended in 3.12), and nats-py waits by it. A task that was cancelled once may therefore go
on; so cancel until it has ended.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, Final

log = logging.getLogger(__name__)
AGAIN_S: Final = 0.5


async def stop(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels the tasks, again where one slept through it, and waits for their end; their errors are not raised."""
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        done, pending = await asyncio.wait(pending, timeout=AGAIN_S)
        for task in done:
            if not task.cancelled() and task.exception() is not None:
                log.debug("a task ended while it was stopped", exc_info=task.exception())
