"""Recovery from a full disk: the stack starts NATS again when there is room.

A nats-server 2.15 does not recover by itself. After a write to a file has failed for lack of room, it refuses every
later write to that file. After it has reached its bound (three quarters of the space that was free when it started),
it does not check again. Both were measured. Every acknowledged message is safe.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

# with less, NATS may fail silently: its log is a file as well
LOW_BYTES: Final = 16 * 1024 * 1024
ROOM_BYTES: Final = 64 * 1024 * 1024  # more than at the worst: else it would be full again at once
ADVICE: Final = "no room on the disk of the event log: free some; accepted runs are safe, and go on by themselves"
_SIGNS: Final = (b"no space left on device", b"resource limits exceeded for server")


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


class FullDisk:
    """Watches the disk of NATS and the log that it writes. `full` is true while NATS refuses writes."""

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
        """Returns True if NATS should be started again: it refused writes, and there is room now."""
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
        return any(words in found for words in _SIGNS)
