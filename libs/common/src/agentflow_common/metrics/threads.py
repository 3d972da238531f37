"""A pool of threads whose use is measured."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from agentflow_common.metrics import process


class MeasuredThreads(ThreadPoolExecutor):
    """A ThreadPoolExecutor that counts the calls that run and those that wait."""

    def __init__(self, name: str, threads_max: int) -> None:
        super().__init__(threads_max, f"agentflow-{name}")
        self._threads_max = threads_max
        self._open = 0
        self._counting = threading.Lock()
        self._busy = process.THREADS.labels(name, "busy")
        self._waiting = process.THREADS.labels(name, "waiting")
        process.THREADS_MAX.labels(name).set(threads_max)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = super().submit(fn, *args, **kwargs)
        self._count(1)
        future.add_done_callback(self._ended)
        return future

    def _ended(self, _future: Future[Any]) -> None:
        self._count(-1)

    def _count(self, change: int) -> None:
        with self._counting:
            self._open += change
            self._busy.set(min(self._open, self._threads_max))
            self._waiting.set(max(0, self._open - self._threads_max))
