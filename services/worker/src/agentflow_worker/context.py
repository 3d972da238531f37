"""What a running step may know and do: handed to every tool or function that asks for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from agentflow_common.errors import InvalidError
from agentflow_common.events import LlmUsage
from agentflow_worker.settings import WorkerSettings

log = logging.getLogger("agentflow_worker.step")


def no_heartbeat(_progress: float | None, _detail: str) -> None:
    """For steps that nobody watches."""


@dataclass(slots=True)
class StepContext:
    """One attempt of one step.

    attempt: 1 for the first. cancelled: set when the run is cancelled or the step timed out; a synchronous callable
    polls `context.cancelled.is_set()`, an asynchronous one is also cancelled the asyncio way.
    llm_usage: set by an LLM step that was cancelled, with what its calls had cost by then.
    returned: the callable has returned, so what it does is done, whatever becomes of its result.
    """

    org: str
    run: str
    step: str
    attempt: int
    settings: WorkerSettings
    trace: str = ""
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    logger: logging.Logger | logging.LoggerAdapter[logging.Logger] = log
    on_heartbeat: Callable[[float | None, str], None] = no_heartbeat
    loop: asyncio.AbstractEventLoop | None = None
    llm_usage: LlmUsage | None = None
    returned: bool = False

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of the step: pass it to whatever must happen once."""
        return f"{self.run}/{self.step}"

    def heartbeat(self, progress: float | None = None, detail: str = "") -> None:
        """Says that the step is alive. progress: 0..1 if known. detail: where it is (`page 3`), for people; screened
        before it enters the log. May be called as often as one likes, also from the thread of a synchronous callable:
        the newest word is written, about once a second. InvalidError for a progress outside 0..1."""
        if progress is not None and not (isinstance(progress, int | float) and 0 <= progress <= 1):
            raise InvalidError(
                f"heartbeat: progress is a number from 0 to 1, not {progress!r}", kind="invalid_heartbeat"
            )
        if self.loop is None:
            self.on_heartbeat(progress, str(detail))
        else:
            self.loop.call_soon_threadsafe(self.on_heartbeat, progress, str(detail))
