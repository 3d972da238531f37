"""Remembers rows of definitions and labels until they change. Pure: the time is an argument.

A version of a workflow never changes, but it can be deleted, a label can move, and another version can become the
latest. The memory is used only while a listener (changes.py) hears of every change, also of other gateways'.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, Final

NAMES_MAX: Final = 4_096  # workflows
CHARS_MAX: Final = 64 * 1024 * 1024  # of all definitions together
NOTHING: Final = object()  # nothing is remembered; None is remembered as "there is no such row"

Name = tuple[str, str]  # org, workflow


class Memory:
    """The rows that are remembered, by workflow."""

    def __init__(self) -> None:
        self.changes = 0  # heard or made so far: a row that was read before the last one is not remembered
        self._live_until = float("-inf")
        self._names: OrderedDict[Name, dict[Hashable, tuple[Any, int]]] = OrderedDict()
        self._chars = 0

    def live(self, until: float) -> None:
        """Uses the memory until that time, in seconds of a steady clock: until then a listener hears every change."""
        self._live_until = until

    def stop(self) -> None:
        """Forgets everything, and uses the memory no more until it is live again."""
        self.changes += 1
        self._live_until = float("-inf")
        self._names.clear()
        self._chars = 0

    def find(self, name: Name, row: Hashable, now: float) -> Any:
        """Returns what is remembered of a row, or NOTHING."""
        if now >= self._live_until or (rows := self._names.get(name)) is None:
            return NOTHING
        self._names.move_to_end(name)
        return rows.get(row, (NOTHING, 0))[0]

    def keep(self, name: Name, row: Hashable, value: Any, chars: int, before: int) -> None:
        """Remembers a row that was read. before: `changes` when the reading began."""
        if before != self.changes:
            return
        rows = self._names.setdefault(name, {})
        self._chars += chars - rows.get(row, (None, 0))[1]
        rows[row] = (value, chars)
        while len(self._names) > NAMES_MAX or self._chars > CHARS_MAX:
            self._drop(next(iter(self._names)))

    def forget(self, org: str, workflow: str) -> None:
        """Forgets a workflow that has changed."""
        self.changes += 1
        self._drop((org, workflow))

    def _drop(self, name: Name) -> None:
        self._chars -= sum(chars for _, chars in self._names.pop(name, {}).values())
