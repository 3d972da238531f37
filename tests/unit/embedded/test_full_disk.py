"""When an embedded stack starts NATS again after its disk was full."""

from __future__ import annotations

from pathlib import Path

from agentctl.stack.fulldisk import LOW_BYTES, ROOM_BYTES, FullDisk

MB = 1024 * 1024
NO_SPACE = "[ERR] JetStream failed to store a msg on stream '$G > AF_EVENTS': write 4.blk: no space left on device\n"
BOUND = "[ERR] JetStream file resource limits exceeded for server\n"


class Disk:
    def __init__(self, tmp_path: Path) -> None:
        self.log = tmp_path / "nats.log"
        self.log.write_text(NO_SPACE)  # of a life before
        self.free = 900 * MB
        self._watched = FullDisk(tmp_path, self.log, lambda _folder: self.free)

    def full(self) -> bool:
        return self._watched.full

    def look(self, said: str = "") -> bool:
        with self.log.open("a") as file:
            file.write(said)
        return self._watched.look()


def test_it_is_started_again_once_there_is_room(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    assert not disk.look("[INF] Server is ready\n")
    disk.free = 20 * MB
    assert not disk.look(NO_SPACE) and disk.full()
    disk.free = 18 * MB
    assert not disk.look(NO_SPACE)
    disk.free = 30 * MB
    assert not disk.look() and disk.full(), "too little: it would be full again at once"
    disk.free = 18 * MB + ROOM_BYTES
    assert disk.look() and not disk.full()
    assert not disk.look(), "once"


def test_the_bound_of_the_server_counts_as_the_disks_end(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    assert not disk.look(BOUND) and disk.full()
    disk.free += ROOM_BYTES
    assert disk.look()


def test_what_could_not_even_be_logged_is_seen_by_the_room(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    disk.free = LOW_BYTES - 1
    assert not disk.look() and disk.full()
    disk.free = 900 * MB
    assert disk.look()


def test_a_log_that_was_cut_is_read_on(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    disk.log.write_text("")
    assert not disk.look()
    assert not disk.look(NO_SPACE) and disk.full()
