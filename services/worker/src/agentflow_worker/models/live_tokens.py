"""Token streams for viewers: fire and forget, coalesced to at most 20 messages a second."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from agentflow_common.events import StepScheduled
from agentflow_worker.providers.surrogates import repaired

INTERVAL_S: Final = 0.05
_encoder: Final = msgspec.json.Encoder()
_sending: Final[set[asyncio.Task[None]]] = set()  # the loop keeps only weak references to tasks


class LiveStream:
    """Sends one model call's text as messages `{"step", "attempt", "offset", "text"}` on the step's
    live subject.

    offset: characters before this message. A fallback to another model starts again at 0, and
    viewers replace their text.
    """

    def __init__(self, publish: Callable[[str, bytes], Awaitable[None]], subject: str, task: StepScheduled) -> None:
        self._publish = publish
        self._subject = subject
        self._task = task
        self._pending: list[str] = []
        self._sent = 0
        self._timer: asyncio.TimerHandle | None = None
        self.chars = 0

    def push(self, text: str) -> None:
        if not text:
            return
        self._pending.append(repaired(text))
        self.chars += len(text)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(INTERVAL_S, self._flush)

    def close(self) -> None:
        """Sends the rest of the text."""
        if self._timer is not None:
            self._timer.cancel()
        self._flush()

    def _flush(self) -> None:
        self._timer = None
        if not self._pending:
            return
        text = "".join(self._pending)
        self._pending.clear()
        body = {"step": self._task.step, "attempt": self._task.attempt, "offset": self._sent, "text": text}
        self._sent += len(text)
        sending = asyncio.get_running_loop().create_task(self._send(_encoder.encode(body)))
        _sending.add(sending)
        sending.add_done_callback(_sending.discard)

    async def _send(self, data: bytes) -> None:
        with contextlib.suppress(Exception):  # viewers miss a piece; the step's output is not affected
            await self._publish(self._subject, data)
