"""The whole logs of runs that have begun a short while ago, as a tail of the log has brought them.

A run is kept from its first event on, so what is kept is all that the log had when the newest message was read. The
runs that began first leave first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from agentflow_common import subjects
from agentflow_common.events import RunSubmitted, event_type
from agentflow_common.log.consumers import Delivery

BYTES_MAX: Final = 64 * 1024 * 1024  # of all that is kept
MESSAGE_BYTES: Final = 600  # that a message takes beside its data
_FIRST: Final = f'{{"type":"{event_type(RunSubmitted)}"'.encode()


class RecentRuns:
    """Use `begin` before the tail's first message. While nothing reads, nothing is kept."""

    def __init__(self, bytes_max: int = BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._runs: OrderedDict[subjects.EntityKey, list[Delivery]] = OrderedDict()
        self._read_to: int | None = None  # the newest sequence that has come; None while nothing reads

    def begin(self, seq: int) -> None:
        """Begins with the message after the sequence."""
        self.end()
        self._read_to = seq

    def end(self) -> None:
        self._read_to = None
        self._runs.clear()
        self._bytes = 0

    def expect(self, key: subjects.EntityKey, seq: int) -> None:
        """Notes that a run has begun with the message of that sequence, which may have come or not."""
        if self._read_to is not None and seq > self._read_to and key not in self._runs:
            self._begun(key)
            self._shrink()

    def add(self, key: subjects.EntityKey, message: Delivery) -> None:
        """Keeps a message if its run is kept from the first event on."""
        if self._read_to is None:
            return
        self._read_to = message.seq
        kept = self._runs.get(key)
        if kept is None:
            if not message.data.startswith(_FIRST):
                return
            kept = self._begun(key)
        kept.append(message)
        self._bytes += len(message.data) + MESSAGE_BYTES
        self._shrink()

    def of(self, key: subjects.EntityKey) -> Sequence[Delivery] | None:
        """Returns what has come for a run, from its first event on, or None if that is not kept."""
        return self._runs.get(key)

    def _begun(self, key: subjects.EntityKey) -> list[Delivery]:
        kept = self._runs[key] = []
        self._bytes += MESSAGE_BYTES
        return kept

    def _shrink(self) -> None:
        while self._bytes > self._bytes_max and self._runs:
            _, gone = self._runs.popitem(last=False)
            self._bytes -= MESSAGE_BYTES + sum(len(message.data) + MESSAGE_BYTES for message in gone)
