"""Ending background tasks for sure, and trying work again for a while.

On Python 3.11 `asyncio.wait_for` returns its result, and forgets the cancellation, when both come in one turn of the
loop (python/cpython#86296, fixed in 3.12). nats-py waits with it. So a task that was cancelled once may go on: cancel
until it has ended.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Container, Iterable, Iterator
from typing import Any, Final, TypeVar

from agentflow_common.errors import RetryableError

log = logging.getLogger(__name__)
AGAIN_S: Final = 0.5
PAUSE_S: Final = 0.1  # before the second try; it doubles
Result = TypeVar("Result")


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


def heed_cancellation() -> None:
    """Raises CancelledError if the running task slept through its cancellation, for loops that nobody stops twice."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def pauses(first_s: float, longest_s: float) -> Iterator[float]:
    """Yields the pauses of a poll without end: they double from `first_s` to `longest_s`."""
    pause_s = first_s
    while True:
        yield pause_s
        pause_s = min(longest_s, pause_s * 2)


async def patiently(
    work: Callable[[], Awaitable[Result]], patience_s: float, pause_s_max: float, *, kinds: Container[str] | None = None
) -> Result:
    """Returns what the work returns. After a RetryableError it is tried again, as long as there is patience.

    patience_s: for how long it is tried again, counted from the first error. A question that a killed process took
        along fails only after its own time limit, which may be longer; it is asked a second time all the same.
    pause_s_max: the longest pause between two tries.
    kinds: only errors of these kinds are tried again; None: all.
    Raises the last RetryableError, and every other error at once.
    """
    loop = asyncio.get_running_loop()
    deadline: float | None = None
    pause_s = PAUSE_S
    while True:
        try:
            return await work()
        except RetryableError as error:
            deadline = deadline or loop.time() + patience_s
            if loop.time() + pause_s > deadline or (kinds is not None and error.kind not in kinds):
                raise
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, pause_s_max)
