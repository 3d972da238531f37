"""A task in hand, and its heartbeats on their way to the log."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from agentflow_common import events as ev
from agentflow_common.log.consumers import Delivery
from agentflow_common.subjects import EntityKey
from agentflow_worker import machine
from agentflow_worker.context import StepContext

log = logging.getLogger(__name__)
COURSE_S_MAX: Final = 0.1  # a task begins no further step after this time
OLD_S: Final = 60.0  # half of what the log remembers message ids for
BEAT_S_MIN: Final = 1.0  # a step writes at most one heartbeat in this time


class Elsewhere(Exception):
    """Another worker has the task."""


class Course:
    """A task and the steps that follow in it. outputs: of those that later ones read, as they stand in the log."""

    __slots__ = ("_began", "_read", "delivery", "key", "outputs", "task")

    def __init__(self, key: EntityKey, task: ev.StepScheduled, delivery: Delivery) -> None:
        self.key = key
        self.task = task
        self.delivery = delivery
        self.outputs: dict[str, Any] = {}
        self._read = {ref.step for step in task.then for ref in step.refs.values()}
        self._began = time.monotonic()

    def keep(self, step: str, output: Any) -> None:
        if step in self._read:
            self.outputs[step] = machine.plain(output)

    def passed(self, now: ev.StepScheduled) -> list[tuple[str, int]]:
        """(step, attempt) of those before the task's present step."""
        row = [(self.task.step, self.task.attempt), *((step.step, 1) for step in self.task.then)]
        return row[: len(self.task.then) - len(now.then)]

    @property
    def is_long(self) -> bool:
        """Whether others may take their turn now."""
        return time.monotonic() - self._began > COURSE_S_MAX

    @property
    def is_old(self) -> bool:
        """Whether the log may have forgotten a message id of another worker that had the task."""
        return time.monotonic() - self._began > OLD_S


class Flight:
    """work: the task while the callable runs in it, and only then. blocking: the callable runs in a thread, which
    can't be interrupted. forced: the engine has closed the attempt and waits for no word of it. announce_at, late_at:
    when the step is announced, and when it is interrupted for taking too long, by the loop's clock; late: it was."""

    __slots__ = (
        "announce_at",
        "blocking",
        "context",
        "course",
        "delivery",
        "forced",
        "interrupts",
        "key",
        "late",
        "late_at",
        "pulse",
        "started",
        "task",
        "work",
    )

    def __init__(self, course: Course, task: ev.StepScheduled, context: StepContext) -> None:
        self.course = course
        self.key = course.key
        self.task = task
        self.delivery = course.delivery
        self.context = context
        self.started = time.time()
        self.work: asyncio.Task[None] | None = None
        self.blocking = False
        self.forced = False
        self.interrupts = 0
        self.pulse: Pulse | None = None
        self.announce_at = self.late_at = math.inf
        self.late = False

    def is_meant(self, step: str, attempt: int) -> bool:
        """Whether a word about this step (empty: any), this attempt (0: any) is about the flight: about its own step,
        or about one before it in the task, closed by who had not seen yet that it was done."""
        its = self.task
        return (step in {"", its.step} and attempt in {0, its.attempt}) or (step, attempt) in self.course.passed(its)

    def expire(self) -> None:
        """Interrupts the callable: it has taken too long."""
        self.late_at = math.inf
        if self.work is not None:
            self.late = True
            self.interrupts += 1
            self.work.cancel()

    def stop(self, forced: bool) -> None:
        """Asks the callable to end: an asynchronous one is interrupted once, and again when it is forced; one in a
        thread sees `context.cancelled` and is left behind when it is forced."""
        self.context.cancelled.set()
        self.forced = self.forced or forced
        if self.work is not None and (forced or not (self.blocking or self.interrupts)):
            self.interrupts += 1
            self.work.cancel()


class Pulse:
    """Heartbeats of one step: the newest wins, the last is not lost. interval_s: seconds between two."""

    def __init__(self, send: Callable[[float, str], Awaitable[None]], heartbeat_ms: int | None) -> None:
        self._send = send
        self._interval_s = min(BEAT_S_MIN, heartbeat_ms / 3000) if heartbeat_ms else BEAT_S_MIN
        self._held: tuple[float, str] | None = None
        self._progress = 0.0
        self._next_at = 0.0
        self._closing = asyncio.Event()
        self._sending: asyncio.Task[None] | None = None

    def beat(self, progress: float | None, detail: str) -> None:
        """progress: 0..1, None: as before."""
        if self._closing.is_set():
            return  # from a thread that was left behind
        self._progress = self._progress if progress is None else progress
        self._held = (self._progress, detail)
        if self._sending is None:
            self._sending = asyncio.create_task(self._pump())

    async def _pump(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._held is not None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(self._next_at):
                        await self._closing.wait()
                self._next_at = loop.time() + self._interval_s
                beat, self._held = self._held, None
                try:
                    await self._send(*beat)
                except Exception as error:
                    log.warning("a heartbeat waits: %s", type(error).__name__)
                    if self._held is None and not self._closing.is_set():
                        self._held = beat
        finally:
            self._sending = None

    async def close(self) -> None:
        """Sends what is held, once; what comes later is ignored."""
        self._closing.set()
        if self._sending is not None:
            await asyncio.wait([self._sending])

    def abandon(self) -> None:
        """For a step whose worker stops."""
        self._closing.set()
        if self._sending is not None:
            self._sending.cancel()
