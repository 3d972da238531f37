"""Bounds how many calls of a kind are served at once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from agentflow_common.errors import OverloadedError


class Gate:
    """Admits up to a limit, and refuses the next one."""

    def __init__(self, refusal: Callable[[str], OverloadedError]) -> None:
        self._refusal = refusal  # makes the error, given `the gateway already serves N`
        self._active = 0

    @contextlib.contextmanager
    def entered(self, limit: int) -> Iterator[None]:
        """Counts one as served until the block ends."""
        if self._active >= limit:
            raise self._refusal(f"the gateway already serves {limit}")
        self._active += 1
        try:
            yield
        finally:
            self._active -= 1
