"""Keeps the atomic batches that nats-server is still receiving in memory.

With replicas the server stages batches in memory. Alone it stages each in files of its own (two synced files, two
synced folders, a dozen removals), which costs ten times what the batch's one sync in the log costs. Here the folder of
these files is a link to a RAM disk. What is acknowledged is in the log, synced as before.

A server that was killed may leave a part of a batch in the log. It completes the batch from its files when it starts.
After a loss of power the files are gone. Then `repair` removes the part before a client can connect. The part was not
acknowledged, and reads wait for whole batches.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, Protocol

from nats.js.errors import NotFoundError

from agentflow_common import subjects
from agentflow_common.connections.nats_client import connect
from agentflow_common.log.consumers import Delivery
from agentflow_common.log.event_log import ATOMIC_BATCH_MAX, EventLog

log = logging.getLogger(__name__)
RAM: Final = Path("/dev/shm")  # noqa: S108  (a folder of our own is made in it)
RAM_BYTES_MIN: Final = 32 * 1024 * 1024  # free; batches hold 4 MB, and few are on their way at once
LINK_S_MAX: Final = 2.0  # for a moment without a batch, when clients were back before the link was
_PREFIX: Final = "agentflow-batches-"
_LOG: Final = Path("jetstream", "$G", "streams", subjects.EVENTS_STREAM)


class _Running(Protocol):
    @property
    def url(self) -> str: ...


Private = Callable[[], AbstractContextManager[_Running]]


class Staging:
    """The staged batches of the server in `folder`. Its file `staging` says where they are, for as long as one that was
    not finished may need them. Without a RAM disk nothing is done, and the server stages on disk."""

    def __init__(self, folder: Path, enabled: bool = True) -> None:
        self._enabled = enabled
        self._marker = folder / "staging"
        self._link = folder / _LOG / "batches"

    def prepare(self, private: Private) -> None:
        """Prepares the folder before the server starts. private: starts it where no client finds it."""
        if not self._enabled:
            return
        home = self._home()
        if home is not None and not home.is_dir():
            since_ms = int(time.time() * 1000)
            with private() as server, ThreadPoolExecutor(1) as thread:  # the caller's own thread may run a loop
                removed = thread.submit(asyncio.run, repair(server.url, since_ms)).result()
            if removed:
                log.warning("a batch of %d messages that was cut off was taken out of the log", removed)
            os.sync()  # under the default flush, too: the file that asked for it goes now
            self._marker.unlink()
            home = None
        if home is None and _has_ram():
            _sweep()
            home = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=RAM))
            (home / "of").symlink_to(self._marker.parent)
            _write_synced(self._marker, str(home))

    def use(self) -> None:
        """Follows the server's start: completes what is left of a batch and removes the link."""
        home = self._home()
        if home is None:
            return
        stale = [entry for entry in home.iterdir() if entry.name != "of"]
        fresh = tempfile.mkdtemp(dir=home)
        self._link.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        deadline = time.monotonic() + LINK_S_MAX
        while True:
            with contextlib.suppress(OSError):
                self._link.unlink() if self._link.is_symlink() else self._link.rmdir()
            try:
                self._link.symlink_to(fresh)
                break
            except FileExistsError:
                if time.monotonic() > deadline:
                    log.warning("batches are staged on disk, which is slower, until the server's next start")
                    return
                time.sleep(0.001)
        for entry in stale:
            shutil.rmtree(entry, ignore_errors=True)

    def leave(self) -> None:
        """Follows a clean stop. Keeps what a batch still needs."""
        home = self._home()
        if home is None or not home.is_dir():
            return
        if any(any(entry.iterdir()) for entry in home.iterdir() if entry.name != "of"):
            return
        if self._link.is_symlink():
            self._link.unlink()
        self._marker.unlink()
        shutil.rmtree(home, ignore_errors=True)

    def _home(self) -> Path | None:
        if not self._enabled:
            return None
        try:
            return Path(self._marker.read_text())
        except FileNotFoundError:
            return None


def _has_ram() -> bool:
    try:
        found = os.statvfs(RAM)
    except OSError:
        return False
    return os.access(RAM, os.W_OK) and found.f_bavail * found.f_frsize >= RAM_BYTES_MIN


def _sweep() -> None:
    """Removes what belonged to data folders that are gone."""
    for entry in RAM.glob(_PREFIX + "*"):
        with contextlib.suppress(OSError):
            if entry.stat().st_uid == os.geteuid() and not (entry / "of").exists() and (entry / "of").is_symlink():
                shutil.rmtree(entry)


def _write_synced(path: Path, text: str) -> None:
    """Writes a file whole or not at all, and syncs it to disk."""
    partial = path.with_name(path.name + ".part")
    with partial.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


# --- what a loss of power leaves ---


async def repair(url: str, since_ms: int) -> int:
    """Takes a batch that is not whole out of the end of the log; how many messages. Only while nobody else connects.

    since_ms: when the server started.
    """
    nc = await connect(url, "agentflow-staging")
    try:
        jsm = nc.jsm()
        try:
            state = (await jsm.stream_info(subjects.EVENTS_STREAM)).state
        except NotFoundError:
            return 0
        width = 2 * ATOMIC_BATCH_MAX
        while True:
            start = max(state.first_seq, state.last_seq - width + 1, 1)
            found = torn(await _headers(EventLog(nc), start, state.last_seq), state.last_seq, since_ms)
            if found is not None or start <= max(state.first_seq, 1):
                break
            width *= 4
        for seq in found or ():  # the oldest first: what is left of it would be found again
            await jsm.delete_msg(subjects.EVENTS_STREAM, seq)
        return len(found or ())
    finally:
        await nc.close()


async def _headers(event_log: EventLog, start: int, last: int) -> list[Delivery]:
    tail = event_log.tail(list(subjects.EVENTS_SUBJECTS), start, headers_only=True)
    found: list[Delivery] = []
    try:
        while not tail.caught_up.is_set() or tail.buffered:
            found.extend(await tail.batch(1.0))
    finally:
        await tail.stop()
    return [delivery for delivery in found if delivery.seq <= last]


def torn(found: Sequence[Delivery], last: int, since_ms: int) -> list[int] | None:
    """Returns the sequences of a batch that lacks its end, in order. None: more of the log must be read to decide.

    found: the log's newest messages. last: its newest sequence, of a message that may be gone. since_ms: what is not of
    a batch and younger came from the server itself (timers), after it had come back. A batch whose last message was
    trimmed looks like one that lacks its end, but for the hole behind it.
    """
    expected = last
    for index in range(len(found) - 1, -1, -1):
        if found[index].seq != expected or _header(found[index], "Nats-Batch-Commit"):
            return []
        batch = _header(found[index], "Nats-Batch-Id")
        if batch:
            mine = [delivery for delivery in found[: index + 1] if _header(delivery, "Nats-Batch-Id") == batch]
            whole = _header(mine[0], "Nats-Batch-Sequence") == "1"
            return [delivery.seq for delivery in mine] if whole or mine[0] is not found[0] else None
        if found[index].ts < since_ms:
            return []
        expected -= 1
    return None if found else []


def _header(delivery: Delivery, name: str) -> str:
    return (delivery.headers or {}).get(name, "")
