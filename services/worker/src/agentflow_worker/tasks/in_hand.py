"""All attempts that a worker has in hand: announced when they take longer, interrupted when they
take too long.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from agentflow_worker.tasks.attempt import Attempt
from agentflow_worker.tasks.task_chain import TaskChain

log = logging.getLogger(__name__)

STARTED_AFTER_S: Final = 0.25  # shorter steps are not announced: a step costs two durable messages
AGAIN_S: Final = 1.0  # after an announcement that failed
SWEEP_S: Final = 0.05  # how late a step may be announced or interrupted: one timer serves all attempts


class AttemptsInHand:
    """The attempts of one worker.

    The same attempt can be in hand twice for a moment: a step that a worker began in memory, and that the scheduler
    has offered since, because the log has refused its begin.
    """

    def __init__(self, announce: Callable[[Attempt], Awaitable[None]]) -> None:
        self._announce = announce
        self._attempts: dict[Attempt, None] = {}
        self._announcing: dict[Attempt, asyncio.Task[None]] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._attempts)

    def __iter__(self) -> Iterator[Attempt]:
        return iter(list(self._attempts))

    def __contains__(self, attempt: Attempt) -> bool:
        return attempt in self._attempts

    def add(self, attempt: Attempt) -> None:
        self._attempts[attempt] = None

    def remove(self, attempt: Attempt) -> None:
        del self._attempts[attempt]

    def watch(self, attempt: Attempt) -> None:
        """Announces the attempt if it takes longer. From now on its `late_at` is heeded too."""
        loop = asyncio.get_running_loop()
        attempt.announce_at = loop.time() + STARTED_AFTER_S
        if self._sweeper is None:
            self._sweeper = loop.call_later(SWEEP_S, self._sweep, loop)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for attempt in self._attempts:
            if attempt.announce_at <= now and attempt not in self._announcing:
                self._announcing[attempt] = loop.create_task(self._try_to_announce(attempt))
            if attempt.late_at <= now:
                attempt.expire()
        self._sweeper = loop.call_later(SWEEP_S, self._sweep, loop) if self._attempts else None

    async def _try_to_announce(self, attempt: Attempt) -> None:
        """Announces the attempt, or sets when that is tried again: a long step must not stay scheduled for watchers."""
        try:
            await self._announce(attempt)
            attempt.announce_at = math.inf
        except Exception as error:
            log.warning("the start of a step is not written yet: %s", type(error).__name__)
            if attempt.announce_at < math.inf:  # it still runs; its report says the same
                attempt.announce_at = asyncio.get_running_loop().time() + AGAIN_S
        finally:
            del self._announcing[attempt]

    def leave(self, chain: TaskChain) -> None:
        """Stops the step that a task is at: it was begun in memory, and the log has refused that."""
        for one in self:
            if one.chain is chain:
                one.stop(forced=True)

    def cancel(self, run: str, step: str = "", attempt: int = 0, *, forced: bool = True) -> int:
        """Stops the attempts of a run, of one step or of one attempt, and returns how many.

        Unless it is forced the scheduler still waits for their reports.
        """
        stopped = 0
        for one in self:
            if one.task.run == run and one.concerns(step, attempt):
                one.stop(forced)
                stopped += 1
        return stopped
