"""What a full disk leaves behind.

A nats-server whose write to a file has failed for want of room refuses every later write to it, and one that has
reached its bound (three quarters of what was free when it started) does not look again (2.15, both measured). What was
acknowledged is safe. Once there is room, NATS has to be started again: the stack does.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

# with less, NATS may have failed to write without a word: its log is a file as well
LOW_BYTES: Final = 16 * 1024 * 1024
ROOM_BYTES: Final = 64 * 1024 * 1024  # more than at the worst: else it would be full again at once
TOLD: Final = "no room on the disk of the event log: free some; what was accepted is safe, and goes on by itself"
_WORDS: Final = (b"no space left on device", b"resource limits exceeded for server")


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


class FullDisk:
    """Reads what NATS says in its log, and looks at its disk. `full`: it refuses writes."""

    def __init__(self, folder: Path, log_file: Path, free: Callable[[Path], int] = _free) -> None:
        self._folder = folder
        self._log_file = log_file
        self._free = free
        self._read_to = self._size()
        self._free_least = 0
        self.full = False

    def _size(self) -> int:
        return self._log_file.stat().st_size if self._log_file.exists() else 0

    def look(self) -> bool:
        """Whether NATS is to be started again: it refused writes, and there is room since."""
        free = self._free(self._folder)
        if self._says_so() or free < LOW_BYTES:
            self._free_least = min(self._free_least, free) if self.full else free
            self.full = True
        if self.full and free >= self._free_least + ROOM_BYTES:
            self.full = False
            return True
        return False

    def _says_so(self) -> bool:
        size = self._size()
        if size <= self._read_to:
            self._read_to = size  # it was rotated
            return False
        with self._log_file.open("rb") as file:
            file.seek(self._read_to)
            found = file.read(size - self._read_to)
        self._read_to = size
        return any(words in found for words in _WORDS)
