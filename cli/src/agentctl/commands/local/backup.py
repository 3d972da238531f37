"""`agentctl backup`: a whole copy of the embedded stack, and the way back."""

from __future__ import annotations

import contextlib
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentctl import session
from agentctl.display.output import Format, Output, done, emit, note
from agentctl.failures import FAILED, CliError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

app = typer.Typer(no_args_is_help=True, help="Copy the embedded stack's data, check a copy, restore it.")

DataDir = Annotated[
    Path | None, typer.Option(help="The stack's data dir; AGENTFLOW_DATA_DIR or ./.agentflow.", show_default=False)
]
Archive = Annotated[Path, typer.Argument(help="What `backup create` has written.", show_default=False)]
KeyFile = Annotated[
    Path | None, typer.Option(help="The vault's key; ARCHIVE.vault.key if not given.", show_default=False)
]


@app.command()
def create(
    archive: Annotated[
        Path | None, typer.Argument(help="File to write; DATA_DIR-TIME.tar.gz if not given.", show_default=False)
    ] = None,
    data_dir: DataDir = None,
    key_file: KeyFile = None,
    with_key: Annotated[bool, typer.Option("--with-key", help="Put the vault's key into the archive.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Copy everything into one archive. A running stack is stopped for the copy and started again.

    The vault's key goes into a file of its own. Keep it apart from the archive: both together show every original.
    """
    from agentctl.stack import backup

    if with_key and key_file is not None:
        raise CliError("--with-key and --key-file exclude each other", fix="leave one of them out")
    folder, target, key = session.data_dir(data_dir), _path(archive), _path(key_file)
    made = _guarded(lambda: backup.create(folder, target, key_file=key, with_key=with_key, force=force, say=note))
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
    manifest = _guarded(lambda: backup.verify(path, key))
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
    force: Annotated[bool, typer.Option("--force", help="Move a data dir that is there aside.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Unpack an archive as a data dir, checked file by file. No stack may run there."""
    from agentctl.stack import backup

    folder = session.data_dir(data_dir)
    path = archive.expanduser().absolute()
    older = _guarded(lambda: backup.restore(path, folder, key_file=_path(key_file), force=force, say=note))
    done({"data_dir": str(folder), "older": str(older or "")}, output)
    if older is not None:
        note(f"what was there is in {older}")
    note(f"restored to {folder}; start it with `agentctl up --detach --data-dir {folder}`")


def _warning(made: Any) -> str:
    if made.key == "inside":
        return (
            "warning: the archive holds the vault's key: who has the archive can read every original. "
            "Encrypt it, or leave out --with-key"
        )
    if made.key == "none":
        return (
            "warning: the data dir holds no vault key. If it comes from AGENTFLOW_VAULT_KEY, keep a copy of that: "
            "without it no original can be read after a restore"
        )
    return (
        f"warning: the vault's key is in {made.key_file}. Move it to another place than the archive: without it "
        "nothing can be restored, and who has both can read every original"
    )


def _path(path: Path | None) -> Path | None:
    return path.expanduser().absolute() if path is not None else None


def _guarded(action: Callable[[], Any]) -> Any:
    """Does the work; the stack's errors in the CLI's form."""
    from agentctl.stack import StackError

    try:
        with _ended_cleanly():
            return action()
    except StackError as error:
        raise CliError(str(error), exit_code=FAILED) from error


@contextlib.contextmanager
def _ended_cleanly() -> Iterator[None]:
    """Lets SIGTERM and SIGHUP end the work as Ctrl-C does: a stack that was stopped for the copy is started again, and
    nothing half-written stays."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
