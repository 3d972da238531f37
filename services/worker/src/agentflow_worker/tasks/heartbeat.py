"""The heartbeats of one step, on their way to the log."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final

log = logging.getLogger(__name__)
BEAT_S_MIN: Final = 1.0  # a step writes at most one heartbeat in this time


class Heartbeat:
    """Sends the newest beat of a step, at most one in an interval. The last beat is not lost."""

    def __init__(self, send: Callable[[float, str], Awaitable[None]], heartbeat_ms: int | None) -> None:
        self._send = send
        self._interval_s = min(BEAT_S_MIN, heartbeat_ms / 3000) if heartbeat_ms else BEAT_S_MIN
        self._pending: tuple[float, str] | None = None
        self._progress = 0.0
        self._next_at = 0.0
        self._closing = asyncio.Event()
        self._sending: asyncio.Task[None] | None = None

    def beat(self, progress: float | None, detail: str) -> None:
        """Takes a beat. progress: 0..1; None: as before."""
        if self._closing.is_set():
            return  # from a thread that was left behind
        self._progress = self._progress if progress is None else progress
        self._pending = (self._progress, detail)
        if self._sending is None:
            self._sending = asyncio.create_task(self._pump())

    async def _pump(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._pending is not None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(self._next_at):
                        await self._closing.wait()
                self._next_at = loop.time() + self._interval_s
                beat, self._pending = self._pending, None
                try:
                    await self._send(*beat)
                except Exception as error:
                    log.warning("a heartbeat waits: %s", type(error).__name__)
                    if self._pending is None and not self._closing.is_set():
                        self._pending = beat
        finally:
            self._sending = None

    async def close(self) -> None:
        """Sends the pending beat, once. Later beats are ignored."""
        self._closing.set()
        if self._sending is not None:
            await asyncio.wait([self._sending])

    def abandon(self) -> None:
        """Drops the pending beat: the step has ended, or its worker stops."""
        self._closing.set()
        if self._sending is not None:
            self._sending.cancel()
