"""`agentctl backup`: a whole copy of the embedded stack, and the way back."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

from agentctl.commands.local.stack import guarded
from agentctl.display.output import Format, Output, done, emit, note
from agentctl.failures import CliError
from agentctl.groups import LocalGroup
from agentctl.options import DataDir, argument, flag, option
from agentflow_sdk.transport.connection import data_dir as folder_of

if TYPE_CHECKING:
    from agentctl.stack.backup import Backup

app = LocalGroup("backup", "Copy the embedded stack's data, check a copy, restore it.")

Archive = Annotated[Path, argument("The archive that `backup create` has written.")]
KeyFile = Annotated[Path | None, option("The vault's key; ARCHIVE.vault.key if not given.")]
T = TypeVar("T")


@app.command()
def create(
    archive: Annotated[Path | None, argument("File to write; DATA_DIR-TIME.tar.gz if not given.")] = None,
    data_dir: DataDir = None,
    key_file: KeyFile = None,
    with_key: Annotated[bool, flag("Put the vault's key into the archive.", "--with-key")] = False,
    force: Annotated[bool, flag("Replace existing files.", "--force")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Copy everything into one archive. A running stack is stopped for the copy and started again.

    The vault's key goes into a file of its own. Keep it apart from the archive: both together show every original.
    """
    from agentctl.stack import backup

    if with_key and key_file is not None:
        raise CliError("--with-key and --key-file exclude each other", fix="leave one of them out")
    folder, target, key = folder_of(data_dir), _path(archive), _path(key_file)
    made = _ended_cleanly(lambda: backup.create(folder, target, key_file=key, with_key=with_key, force=force, say=note))
    plain = {
        "archive": str(made.archive),
        "bytes": made.size,
        "files": made.files,
        "key": made.key,
        "key_file": str(made.key_file or ""),
    }
    emit(plain, output, lambda: f"{made.archive} ({made.size / 1e6:.1f} MB, {made.files:,} files)")
    note(_warning(made))


@app.command()
def verify(archive: Archive, key_file: KeyFile = None, output: Output = Format.TABLE) -> None:
    """Read an archive to its end and compare every file with its checksum. Exit code 1 if it is not whole."""
    from agentctl.stack import backup

    path = archive.expanduser().absolute()
    beside = path.with_name(path.name + ".vault.key")
    key = _path(key_file) or (beside if beside.exists() else None)
    manifest = _ended_cleanly(lambda: backup.verify(path, key))
    size = sum(item.size for item in manifest.items.values())
    plain = {
        "archive": str(path),
        "whole": True,
        "created_at": manifest.created_at,
        "version": manifest.version,
        "files": len(manifest.items),
        "bytes": size,
        "key": manifest.key,
        "key_file": str(key or ""),
    }
    emit(plain, output, lambda: f"{path} is whole: {len(manifest.items):,} files, {size / 1e6:.1f} MB unpacked, "
         f"made {manifest.created_at} by version {manifest.version}")  # fmt: skip
    if key is not None:
        note(f"{key} is the key of its vault")
    elif manifest.key == "separate":
        note("the vault's key was not checked: pass it with --key-file")


@app.command()
def restore(
    archive: Archive,
    data_dir: DataDir = None,
    key_file: KeyFile = None,
    force: Annotated[bool, flag("Move an existing data dir aside.", "--force")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Unpack an archive as a data dir, checked file by file. No stack may run there."""
    from agentctl.stack import backup

    folder = folder_of(data_dir)
    path = archive.expanduser().absolute()
    older = _ended_cleanly(lambda: backup.restore(path, folder, key_file=_path(key_file), force=force, say=note))
    done({"data_dir": str(folder), "older": str(older or "")}, output)
    if older is not None:
        note(f"the old data dir is now {older}")
    note(f"restored to {folder}; start it with `agentctl up --detach --data-dir {folder}`")


def _warning(made: Backup) -> str:
    if made.key == "inside":
        return (
            "warning: the archive contains the vault's key. Everyone who has the archive can read every original: "
            "encrypt it, or leave out --with-key"
        )
    if made.key == "none":
        return (
            "warning: the data dir contains no vault key. If it comes from AGENTFLOW_VAULT_KEY, keep a copy of that: "
            "without the key no original can be read after a restore"
        )
    return (
        f"warning: the vault's key is in {made.key_file}. Move it to another place than the archive: without it "
        "nothing can be restored, and with both together every original can be read"
    )


def _path(path: Path | None) -> Path | None:
    return path.expanduser().absolute() if path is not None else None


def _ended_cleanly(action: Callable[[], T]) -> T:
    """Does the work. SIGTERM and SIGHUP end it as Ctrl-C does.

    So a stack that was stopped for the copy is started again, and no half-written file stays.
    """
    if threading.current_thread() is not threading.main_thread():
        return guarded(action)
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        return guarded(action)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
