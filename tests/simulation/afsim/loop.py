"""An event loop whose time is virtual and whose order is the seed's: no I/O, no thread, no sleep.

Every callback belongs to a process (by its context). The callbacks of a process that crashed never run again, those of
a paused one wait: a crash can thus fall between any two of its steps, and no `finally` of it runs, as after kill -9.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections.abc import Callable
from contextvars import Context, ContextVar
from typing import Any

STEPS_MAX = 400_000  # callbacks of one seed: more means that something spins


class Process:
    """Something that can crash on its own. clock_ms: how far its wall clock is off.

    fuse: after so many more of its callbacks `blow` is called, so that a fault hits any point of what it does.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.paused = False
        self.clock_ms = 0
        self.held: list[asyncio.Handle] = []
        self.fuse = 0
        self.blow: Callable[[], None] = lambda: None

    def __repr__(self) -> str:
        return self.name


PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)


class Stuck(Exception):
    """Nothing is left to happen, or things happen without end."""


class SimTask(asyncio.Task):  # type: ignore[type-arg]
    """Hashes by its number: sets of tasks then iterate alike in every process."""

    def __init__(self, coro: Any, *, loop: SimLoop, context: Context | None = None) -> None:
        self.number = loop.next_number()
        super().__init__(coro, loop=loop, name=f"t{self.number}", context=context)
        loop.tasks.append(self)

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return self is other


class SimLoop(asyncio.BaseEventLoop):
    """Runs one ready callback at a time, chosen by the seed; when none is ready, time jumps to the next timer."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self.rng = rng
        self.now = 0.0
        self.steps = 0
        self.tasks: list[SimTask] = []
        self.draining = False
        self._numbers = itertools.count(1)
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._pile: list[asyncio.Handle] = []
        self._dropped: list[asyncio.Handle] = []
        self.set_task_factory(lambda loop, coro, **kw: SimTask(coro, loop=self, **kw))
        self.set_exception_handler(lambda _loop, context: self.errors.append(context))
        self.errors: list[dict[str, Any]] = []

    def next_number(self) -> int:
        return next(self._numbers)

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._pile.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._numbers), handle))
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.now + delay, callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are passed over when they come due."""

    def _write_to_self(self) -> None:
        """Nobody sleeps in a selector here."""

    def _process_events(self, event_list: Any) -> None:
        """There is no I/O."""

    def resume(self, process: Process) -> None:
        process.paused = False
        self._pile.extend(process.held)
        process.held.clear()

    def revive(self) -> None:
        """For the clean-up after a seed: what crashed processes had left undone runs, with their tasks cancelled."""
        self._pile.extend(self._dropped)
        self._dropped.clear()

    def _run_once(self) -> None:
        pile, timers = self._pile, self._timers
        rng_random = self.rng.random
        while not self._stopping:
            if not pile:
                if not timers:
                    raise Stuck("nothing is left to happen")
                self.now = max(self.now, timers[0][0])
            while timers and timers[0][0] <= self.now:
                pile.append(heapq.heappop(timers)[2])
            index = int(rng_random() * len(pile))
            handle = pile[index]
            pile[index] = pile[-1]
            pile.pop()
            if handle._cancelled:  # type: ignore[attr-defined]
                continue
            process = handle._context.get(PROCESS)  # type: ignore[attr-defined]
            if process is not None and not self.draining:
                if not process.alive:
                    self._dropped.append(handle)
                    continue
                if process.paused:
                    process.held.append(handle)
                    continue
            self.steps += 1
            if self.steps > STEPS_MAX:
                raise Stuck("callbacks without end")
            handle._run()
            if process is not None and process.fuse:
                process.fuse -= 1
                if not process.fuse:
                    process.blow()
