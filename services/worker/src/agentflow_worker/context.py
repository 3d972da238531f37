"""The context of a running step, for every tool or function that asks for it."""

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
    """Ignores the heartbeat: the step has ended, or runs by itself."""


@dataclass(slots=True)
class StepContext:
    """One attempt of one step."""

    org: str
    run: str
    step: str
    attempt: int  # 1 for the first
    settings: WorkerSettings
    trace: str = ""  # W3C traceparent
    # Set when the run is cancelled or the step timed out. A synchronous callable polls `context.cancelled.is_set()`,
    # an asynchronous one is also cancelled the asyncio way.
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    logger: logging.Logger | logging.LoggerAdapter[logging.Logger] = log
    on_heartbeat: Callable[[float | None, str], None] = no_heartbeat
    loop: asyncio.AbstractEventLoop | None = None  # of a callable that runs in a thread
    llm_usage: LlmUsage | None = None  # of an LLM step that was cancelled: what its calls had cost by then
    returned: bool = False  # the callable has returned, so it took effect, whatever becomes of its result

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of the step: pass it to a service that must act only once."""
        return f"{self.run}/{self.step}"

    def heartbeat(self, progress: float | None = None, detail: str = "") -> None:
        """Reports that the step is alive.

        It may be called often, also from the thread of a synchronous callable. The newest call is
        written, about once a second. progress: 0..1 if known; InvalidError outside of it. detail:
        where the step is (`page 3`), for people; screened before it enters the log.
        """
        if progress is not None and not (isinstance(progress, int | float) and 0 <= progress <= 1):
            raise InvalidError(
                f"heartbeat: progress is a number from 0 to 1, not {progress!r}", kind="invalid_heartbeat"
            )
        if self.loop is None:
            self.on_heartbeat(progress, str(detail))
        else:
            self.loop.call_soon_threadsafe(self.on_heartbeat, progress, str(detail))
