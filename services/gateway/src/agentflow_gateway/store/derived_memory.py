"""Knows which runs have no forks and retries, without asking. Pure: the time is an argument.

Nearly every run has none. A fork comes after its run, and every fork that is listed is notified (changes.py). So a run
that was submitted after the listening began has none, unless one was heard of.
"""

from __future__ import annotations

from typing import Final

KEPT_MAX: Final = 100_000  # runs that were heard of

Run = tuple[str, str]  # org, run id


class DerivedMemory:
    """The runs that other runs were heard to come from, since the listening began."""

    def __init__(self) -> None:
        self._live_until = float("-inf")
        self._since: int | None = None  # the log's newest sequence when the listening began; None while nobody listens
        self._heard: set[Run] = set()

    def begin(self, seq: int) -> None:
        """Begins to listen. seq: the log's newest sequence, read after the listening had begun."""
        self._heard.clear()
        self._since = seq

    def live(self, until: float) -> None:
        """Uses the memory until that time, in seconds of a steady clock: until then a listener hears every fork."""
        self._live_until = until

    def stop(self) -> None:
        """Knows nothing until it begins again."""
        self._since = None
        self._heard.clear()
        self._live_until = float("-inf")

    def add(self, org: str, run: str) -> None:
        """Notes that a run comes from this one."""
        if len(self._heard) >= KEPT_MAX:
            self.stop()
        self._heard.add((org, run))

    def surely_none(self, org: str, run: str, first_seq: int, now: float) -> bool:
        """True if no run comes from this one. first_seq: of its first event; 0 if that is not known."""
        since = self._since
        return since is not None and first_seq > since and now < self._live_until and (org, run) not in self._heard
