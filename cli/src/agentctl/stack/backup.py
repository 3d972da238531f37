"""Writes one archive of everything that a stack stores, with a checksum of every file, and restores it.

The three stores are copied while nothing writes, so that the copy is of one moment: a running stack is stopped for the
copy and started again. The vault's key goes into a file of its own, unless it is wanted in the archive. Everyone who
has both can read every original.
"""

from __future__ import annotations

import contextlib
import datetime
import glob
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from agentctl.stack import control
from agentctl.stack import layout as files
from agentctl.stack.archive import Key, Manifest, Say, check, fingerprint, unpack, write
from agentctl.stack.layout import Layout, Lock, options_of
from agentflow_common import __version__
from agentflow_common.embedded import processes
from agentflow_common.embedded.servers import StackError

# not data, or made again at the next start: a copied dev key would open the stack that goes on here
_LEFT_OUT: Final = frozenset(
    {"run", "logs", "prometheus", "grafana", "stack.lock", "stack.json", "dev.key", "nats.token", "vault.key"}
)
_KEY_SUFFIX: Final = ".vault.key"


class Backup(msgspec.Struct, frozen=True):
    """A backup that was written."""

    archive: Path
    key: Key
    key_file: Path | None  # the copy of the vault's key; None if it is in the archive, or if there is no key
    size: int
    files: int


def create(
    data_dir: Path,
    target: Path | None = None,
    *,
    key_file: Path | None = None,
    with_key: bool = False,
    force: bool = False,
    say: Say = lambda _: None,
) -> Backup:
    """Writes `target`, by default `<data_dir>-<UTC time>.tar.gz` beside the data dir.

    The vault's key goes to `key_file`, by default beside the archive. Both files are 0600. Raises StackError if
    something is in the way.
    """
    layout = Layout(data_dir)
    if not (layout.nats / "jetstream").is_dir():
        raise StackError(
            f"{layout.root} is not the data dir of a stack; name the folder that `agentctl up --data-dir` used"
        )
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    archive = (target or layout.root.with_name(f"{layout.root.name.lstrip('.')}-{stamp}.tar.gz")).absolute()
    keep = None if with_key else (key_file or archive.with_name(archive.name + _KEY_SUFFIX)).absolute()
    for path in filter(None, (archive, keep)):
        _check_place(layout, path, force)
    with _standing_still(layout, say):
        key = layout.vault_key.read_bytes() if layout.vault_key.exists() else b""
        where: Key = "none" if not key else "inside" if with_key else "separate"
        with _whole(archive) as output:
            left_out = _LEFT_OUT - {layout.vault_key.name} if where == "inside" else _LEFT_OUT
            count = write(layout.root, left_out, output, where, key, say)
        if where == "separate" and keep is not None:
            with _whole(keep) as output:
                output.write(key)
    return Backup(archive, where, keep if where == "separate" else None, archive.stat().st_size, count)


def verify(archive: Path, key_file: Path | None = None) -> Manifest:
    """Reads an archive to its end. Raises StackError if it is not whole, or if the key does not belong to it."""
    manifest = check(archive)
    if key_file is not None:
        _check_key(archive, manifest, key_file)
    return manifest


def restore(
    archive: Path,
    data_dir: Path,
    *,
    key_file: Path | None = None,
    force: bool = False,
    say: Say = lambda _: None,
) -> Path | None:
    """Unpacks an archive as a data dir, and checks every file. Returns where `force` has put an older data dir.

    Nothing is put in the data dir's place before everything is checked. Raises StackError if something is in the way.
    """
    layout = Layout(data_dir.resolve())
    there = layout.root.exists() and (not layout.root.is_dir() or any(layout.root.iterdir()))
    if there and not force:
        raise StackError(f"{layout.root} is not empty: choose another --data-dir, or move it aside with --force")
    lock = Lock(layout.lock)
    if (
        layout.root.is_dir() and there and not lock.take()
    ):  # until the folder is aside, so that nothing starts meanwhile
        raise StackError(f"a stack runs in {layout.root}: stop it first with `agentctl down`")
    building = layout.root.with_name(f".{layout.root.name}.restoring-{os.getpid()}")
    try:
        _clear(layout, say)
        building.mkdir(parents=True, mode=0o700)
        manifest = unpack(archive, building, say)
        if manifest.version != __version__:
            say(f"the archive is of version {manifest.version}, this is {__version__}; a version reads older data only")
        _place_key(archive, manifest, building, key_file)
        _point(building, layout)
        older = _aside(layout) if there else None
        if layout.root.is_dir():
            layout.root.rmdir()  # an empty one
        building.rename(layout.root)
    except OSError as error:
        raise StackError(f"{archive} could not be restored to {layout.root}: {error}") from error
    finally:
        lock.release()
        shutil.rmtree(building, ignore_errors=True)
    return older


# --- on the way ---


def _check_place(layout: Layout, path: Path, force: bool) -> None:
    if path == layout.root or layout.root in path.parents:
        raise StackError(f"{path} is inside the data dir; write the backup somewhere else")
    if not path.parent.is_dir():
        raise StackError(f"there is no folder {path.parent}; make it first")
    if path.exists() and not force:
        raise StackError(f"{path} exists already; choose another name, or replace it with --force")


@contextlib.contextmanager
def _standing_still(layout: Layout, say: Say) -> Iterator[None]:
    """Stops a running stack, keeps others from starting it, and starts it again as it was."""
    running = control.find(layout.root)
    if running is not None:
        say("stopping the stack for the copy")
        control.down(layout.root)
    lock = Lock(layout.lock)
    if not lock.take():
        raise StackError(f"a stack is starting in {layout.root}; try again when it is ready")
    try:
        yield
    finally:
        lock.release()
        if running is not None:
            say("starting the stack again")
            control.start(options_of(layout.options_json.read_bytes()))


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[IO[bytes]]:
    """Opens a new file, readable by its owner alone, that takes its name when it is on the disk."""
    partial = path.with_name(path.name + ".part")
    partial.unlink(missing_ok=True)
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise StackError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


def _check_key(archive: Path, manifest: Manifest, key_file: Path) -> bytes:
    try:
        key = key_file.read_bytes()
    except OSError as error:
        raise StackError(f"the vault's key cannot be read from {key_file}: {error.strerror}") from error
    if manifest.key != "none" and fingerprint(key) != manifest.key_sha256:
        raise StackError(f"{key_file} is not the key of the vault in {archive}; pass the one that belongs to it")
    return key


def _place_key(archive: Path, manifest: Manifest, building: Path, key_file: Path | None) -> None:
    """Puts the vault's key in place. Without it the security service would make another one and refuse the vault."""
    if manifest.key == "inside" and key_file is None:
        _check_key(archive, manifest, building / "vault.key")
        return
    if manifest.key == "none" and key_file is None:
        return
    beside = archive.with_name(archive.name + _KEY_SUFFIX)
    source = key_file or beside
    if key_file is None and not beside.exists():
        raise StackError(
            f"the vault's key is not in {archive} and not in {beside}: pass the key file of this backup with --key-file"
        )
    key = _check_key(archive, manifest, source)
    with _whole(building / "vault.key") as output:
        output.write(key)


def _point(building: Path, layout: Layout) -> None:
    """Makes the stored options name the new place."""
    path = building / layout.options_json.name
    with contextlib.suppress(FileNotFoundError):
        options = options_of(path.read_bytes())
        made: dict[str, Any] = files.plain(msgspec.structs.replace(options, data_dir=layout.root))
        files.write(path, made)


def _clear(layout: Layout, say: Say) -> None:
    """Removes what killed restores have left, which may contain the vault's key."""
    for left in layout.root.parent.glob(f".{glob.escape(layout.root.name)}.restoring-*"):
        pid = left.name.rpartition("-")[2]
        if pid.isdecimal() and not processes.is_running(int(pid)):
            say(f"removing {left}, left by a restore that was killed")
            shutil.rmtree(left, ignore_errors=True)


def _aside(layout: Layout) -> Path:
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    older = layout.root.with_name(f"{layout.root.name}.before-restore-{stamp}")
    layout.root.rename(older)
    return older
