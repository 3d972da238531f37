"""Bounds how many calls of a kind are served at once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from agentflow_common.errors import OverloadedError


class Gate:
    """Admits up to a limit. The next one is refused with OverloadedError."""

    def __init__(self, what: str, *, kind: str, retry_after_ms: int, advice: str = "try again") -> None:
        self._what = what  # in the plural, for the message
        self._kind = kind
        self._retry_after_ms = retry_after_ms
        self._advice = advice
        self._active = 0

    @contextlib.contextmanager
    def entered(self, limit: int) -> Iterator[None]:
        """Counts one as served until the block ends."""
        if self._active >= limit:
            raise OverloadedError(
                f"the gateway already serves {limit} {self._what}; {self._advice}",
                kind=self._kind,
                retry_after_ms=self._retry_after_ms,
            )
        self._active += 1
        try:
            yield
        finally:
            self._active -= 1
