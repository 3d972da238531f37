"""Archives that somebody has prepared, folders that are links, and backups that are ended in the middle."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from agentctl import stack as agentstack
from agentctl.stack import archive as form
from agentctl.stack import backup
from agentctl.stack.layout import Layout, Lock
from agentflow_common.embedded.servers import StackError
from tests.support.stack import running_stack
from tests.support.waiting import until_now

pytestmark = pytest.mark.integration

Member = tuple[str, bytes, str]  # name, type, content or target


def made(path: Path, *members: Member, uid: int = 0, version: str = "1") -> Path:
    """An archive whose manifest fits what it holds."""
    items = {}
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, text in members:
            member = tarfile.TarInfo(f"data/{name}")
            member.type, member.mode, member.uid = kind, 0o600, uid
            digest = hashlib.sha256(text.encode()).hexdigest()
            if kind == tarfile.SYMTYPE:
                member.linkname = text
                items[name] = {"kind": "link", "sha256": digest}
                tar.addfile(member)
            else:
                member.size = len(text)
                items[name] = {"kind": "file", "sha256": digest, "size": len(text)}
                tar.addfile(member, io.BytesIO(text.encode()))
        body = json.dumps({"version": version, "created_at": "", "key": "none", "items": items}).encode()
        last = tarfile.TarInfo(f"data/{form.MANIFEST}")
        last.size = len(body)
        tar.addfile(last, io.BytesIO(body))
    return path


@pytest.mark.parametrize("kind", ["twice", "link of the data dir", "behind a link", "owner"])
def test_a_prepared_archive_writes_nothing_outside_of_the_data_dir(kind: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    members: dict[str, tuple[Member, ...]] = {
        "twice": (("files/x", tarfile.SYMTYPE, str(outside)), ("files/x", tarfile.REGTYPE, "text")),
        "link of the data dir": (("nats", tarfile.SYMTYPE, str(tmp_path)),),
        "behind a link": (("files/x", tarfile.SYMTYPE, str(tmp_path)), ("files/x/outside", tarfile.REGTYPE, "text")),
        "owner": (("files/x", tarfile.REGTYPE, "text"),),
    }
    archive = made(tmp_path / "a.tar.gz", *members[kind], uid=2**40 if kind == "owner" else 0)
    if kind == "owner" and os.geteuid() != 0:
        pytest.skip("owners are set by root alone")
    with pytest.raises(StackError):
        backup.restore(archive, tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar.gz"]


def test_whatever_an_archive_holds_is_an_error_that_is_told(tmp_path: Path) -> None:
    archive = made(
        tmp_path / "a.tar.gz", ("files/x", tarfile.REGTYPE, "text " * 900), ("files/y", tarfile.SYMTYPE, "x")
    )
    packed = archive.read_bytes()
    unpacked = gzip.decompress(packed)
    chance = random.Random(8)
    for number in range(600):
        data = bytearray(unpacked if number % 2 else packed)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        if chance.random() < 0.1:
            data = data[: chance.randrange(len(data))]
        archive.write_bytes(gzip.compress(data, 1) if number % 2 else data)
        try:
            backup.verify(archive)
        except StackError:
            continue


def _data_dir(root: Path) -> Path:
    (root / "nats" / "jetstream").mkdir(parents=True)
    (root / "nats" / "jetstream" / "1.blk").write_text("messages")
    return root


def test_a_folder_that_is_a_link_to_another_disk_is_copied(tmp_path: Path) -> None:
    root = _data_dir(tmp_path / "data")
    elsewhere = tmp_path / "disk"
    (root / "nats").rename(elsewhere)
    (root / "nats").symlink_to(elsewhere)
    archive = backup.create(root).archive
    backup.restore(archive, tmp_path / "new")
    assert not (tmp_path / "new" / "nats").is_symlink()
    assert (tmp_path / "new" / "nats" / "jetstream" / "1.blk").read_text() == "messages"


@pytest.mark.parametrize("there", [True, False])
def test_a_data_dir_that_is_a_link_is_restored_where_it_leads(there: bool, tmp_path: Path) -> None:
    archive = backup.create(_data_dir(tmp_path / "data")).archive
    place, link = tmp_path / "place", tmp_path / "link"
    link.symlink_to(place)
    if there:
        place.mkdir()
    backup.restore(archive, link)
    assert link.is_symlink()
    assert (place / "nats" / "jetstream" / "1.blk").read_text() == "messages"


def test_what_a_killed_restore_has_left_goes_with_the_next(tmp_path: Path) -> None:
    archive = backup.create(_data_dir(tmp_path / "data")).archive
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left, lives = (tmp_path / f".new.restoring-{pid}" for pid in (dead.pid, os.getppid()))
    left.mkdir()
    (left / "vault.key").write_text("a key")
    lives.mkdir()
    said: list[str] = []
    backup.restore(archive, tmp_path / "new", say=said.append)
    assert not left.exists()
    assert lives.exists()
    assert any(str(left) in line for line in said)


def test_nothing_starts_where_a_restore_moves_the_data_dir_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = _data_dir(tmp_path / "data")
    archive = backup.create(root).archive
    unpack: Callable[..., form.Manifest] = backup.unpack
    held: list[bool] = []

    def looked(*words: object) -> form.Manifest:
        held.append(Lock(Layout(root).lock).held())
        return unpack(*words)

    monkeypatch.setattr(backup, "unpack", looked)
    backup.restore(archive, root, force=True)
    assert held == [True]
    assert not Lock(Layout(root).lock).held()


def test_an_archive_of_another_version_is_named(tmp_path: Path) -> None:
    archive = made(tmp_path / "a.tar.gz", ("files/x", tarfile.REGTYPE, "text"), version="99.0")
    said: list[str] = []
    backup.restore(archive, tmp_path / "new", say=said.append)
    assert any("99.0" in line for line in said)


def test_a_backup_that_is_asked_to_end_starts_the_stack_again(tmp_path: Path) -> None:
    with running_stack(tmp_path / "data", services=["scheduler"]) as stack:
        (stack.data_dir / "files").mkdir(exist_ok=True)
        with (stack.data_dir / "files" / "big").open("wb") as file:
            for _ in range(64):
                file.write(os.urandom(1024 * 1024))
        target = tmp_path / "copy.tar.gz"
        command = [sys.executable, "-m", "agentctl", "backup", "create", str(target), "--data-dir", str(stack.data_dir)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            part = target.with_name(target.name + ".part")
            until_now(lambda: part.exists() and part.stat().st_size > 0)
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=120)
        finally:
            process.kill()
            process.wait()
        assert process.returncode == 130, errors
        assert "Traceback" not in errors
        assert not target.exists()
        assert not part.exists()
        assert agentstack.find(stack.data_dir) is not None, "the stack runs again"
