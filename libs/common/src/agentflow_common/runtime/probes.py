"""Readiness that follows what answers: each part that a service needs is asked a real question, again and again.

A part counts as lost once every question of GRACE_S has failed, so that one slow answer or a connection that moves to
another server is not a loss. It counts as recovered with its first answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from agentflow_common import tasks
from agentflow_common.metrics import process
from agentflow_common.runtime.health_server import Health

log = logging.getLogger(__name__)

EVERY_S: Final = 0.75  # with ANSWER_S_MAX and GRACE_S: a loss shows within about 3 s
AGAIN_S: Final = 0.25  # after a question that failed
FIRST_AGAIN_S: Final = 0.02  # and until the first answer: a start takes no longer than it must
ANSWER_S_MAX: Final = 1.0
GRACE_S: Final = 1.5
BEAT_S: Final = 0.5
FIRST_S_MAX: Final = 10.0  # a service that starts waits so long for its parts before it says that it is there

Question = Callable[[], Awaitable[object]]


class Probes:
    """The questions of one service. fail: called with the reason when a part is lost for good."""

    def __init__(self, health: Health, fail: Callable[[str], None]) -> None:
        self._health = health
        self._fail = fail
        self._tasks: list[asyncio.Task[None]] = []
        self._asked: list[asyncio.Event] = []

    def start(self) -> None:
        """Makes readiness depend on whether the loop turns."""
        self._tasks.append(asyncio.create_task(self._beat(), name="probe-loop"))

    def add(self, part: str, ask: Question, advice: Callable[[], str] | str, *, fatal_s: float | None = None) -> None:
        """Asks from now on. ask: any exception, or no answer in time, is a failure. advice: what readiness says then.
        fatal_s: after so many seconds without an answer the service ends, and its supervisor starts it again."""
        self._health.set_part(part, "starting")
        answered = asyncio.Event()
        self._asked.append(answered)
        work = self._follow(part, ask, advice, fatal_s, answered)
        self._tasks.append(asyncio.create_task(work, name=f"probe-{part}"))

    async def first(self, timeout_s: float = FIRST_S_MAX) -> None:
        """Returns when every part has answered once, or after `timeout_s`: then readiness says what is missing."""
        try:
            async with asyncio.timeout(timeout_s):
                for answered in self._asked:
                    await answered.wait()
        except TimeoutError:
            log.warning("not every part answers yet", extra={"parts": dict(self._health.parts)})

    async def stop(self) -> None:
        await tasks.stop(self._tasks)

    async def _follow(
        self, part: str, ask: Question, advice: Callable[[], str] | str, fatal_s: float | None, answered: asyncio.Event
    ) -> None:
        failing_since = 0.0
        while True:
            began = time.monotonic()
            try:
                async with asyncio.timeout(ANSWER_S_MAX):
                    await ask()
            except Exception as error:
                failing_since = failing_since or began
                failed_s = time.monotonic() - failing_since
                why = f"{advice() if callable(advice) else advice} ({type(error).__name__})"
                if failed_s >= GRACE_S:
                    self._lost(part, why)
                if fatal_s is not None and failed_s >= fatal_s:
                    self._fail(f"{part}: {why} for {failed_s:.0f} s")
                await asyncio.sleep(AGAIN_S if answered.is_set() else FIRST_AGAIN_S)
            else:
                failing_since = 0.0
                if self._health.parts.get(part) != "ok":
                    log.info("a part answers", extra={"part": part})
                self._health.set_part(part, "ok")
                answered.set()
                await asyncio.sleep(EVERY_S)

    def _lost(self, part: str, why: str) -> None:
        if self._health.parts.get(part) in {"ok", "starting"}:
            log.warning("a part does not answer", extra={"part": part, "why": why})
        self._health.set_part(part, why)

    async def _beat(self) -> None:
        """Notes the time again and again. Readiness looks at its age: a loop that stands still notes nothing."""
        while True:
            self._health.beat()
            began = time.monotonic()
            await asyncio.sleep(BEAT_S)
            process.LOOP_LAG_SECONDS.observe(max(0.0, time.monotonic() - began - BEAT_S))
