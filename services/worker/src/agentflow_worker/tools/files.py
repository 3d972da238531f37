"""`file.read` and `file.write`, confined to AGENTFLOW_FILE_ROOTS."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from agentflow_common.errors import InvalidError, RetryableError, TerminalError
from agentflow_worker.context import StepContext
from agentflow_worker.registry import tool
from agentflow_worker.tools import documents
from agentflow_worker.tools.confine import resolve


@tool("file.read", idempotent=True, reveal=("path",))
def file_read(
    path: str, context: StepContext, encoding: str | None = None, max_chars: int | None = None
) -> dict[str, Any]:
    """Reads a text, Markdown, HTML or PDF file as readable text.

    path: absolute or relative, inside the allowed folders. max_chars: cuts the text there instead
    of refusing it. Returns {"text", "pages": n, "content_type", "bytes", "name", "title",
    "encoding", "sha256", "truncated"}.
    """
    settings = context.settings
    real = resolve(path, settings.file_roots, denied=settings.data_dir)
    data = read_bytes(real, settings.file_bytes_max)
    return describe(documents.parse(data, real.name, encoding), data, real.name, settings.text_chars_max, max_chars)


def read_bytes(real: Path, bytes_max: int) -> bytes:
    """Returns the bytes of a file. Raises InvalidError above the bound.

    It reads one byte more than allowed, so a growing file can't slip past.
    """
    try:
        with real.open("rb") as file:
            data = file.read(bytes_max + 1)
    except PermissionError as error:
        raise TerminalError(
            f"{real.name} may not be read by the worker: change its mode", kind="file_denied"
        ) from error
    except OSError as error:
        raise RetryableError(f"{real.name} can't be read ({error.strerror})", kind="file_io") from error
    if len(data) > bytes_max:
        raise InvalidError(
            f"{real.name} is over {bytes_max:,} bytes: split it, or raise AGENTFLOW_FILE_BYTES_MAX",
            kind="file_too_large",
        )
    return data


def check_size(size: int, bytes_max: int, name: str = "") -> None:
    """Raises InvalidError for a file or an object that is too large."""
    if size > bytes_max:
        head = f"{name} is " if name else ""
        raise InvalidError(
            f"{head}{size:,} bytes, the limit is {bytes_max:,} (AGENTFLOW_FILE_BYTES_MAX)", kind="file_too_large"
        )


def describe(
    document: documents.Document, data: bytes, name: str, chars_max: int, asked_max: int | None
) -> dict[str, Any]:
    """Returns the output of a reading tool.

    Raises InvalidError if the text is too long and may not be cut.
    """
    text = document.text
    limit = min(asked_max or chars_max, chars_max)
    if len(text) > limit and asked_max is None:
        raise InvalidError(
            f"{name} holds {len(text):,} characters, the limit is {limit:,}: split it, or pass max_chars to cut it",
            kind="text_too_large",
        )
    return {
        "text": text[:limit],
        "pages": len(document.pages),
        "content_type": document.content_type,
        "bytes": len(data),
        "name": name,
        "title": document.title,
        "encoding": document.encoding,
        "sha256": hashlib.sha256(data).hexdigest(),
        "truncated": len(text) > limit,
    }


@tool("file.write", idempotent=True, reveal=("path",))
def file_write(path: str, content: Any, context: StepContext, overwrite: bool = True) -> dict[str, Any]:
    """Writes a text (or any other JSON value as JSON) to a file in the allowed folders, all of it
    or nothing.

    Writing the same again leaves the same file. overwrite=false refuses to replace a file with
    other content. Returns {"name", "bytes", "sha256", "written": false if the file had this content
    already}.
    """
    settings = context.settings
    real = resolve(path, settings.file_roots, writing=True, denied=settings.data_dir)
    data = content.encode() if isinstance(content, str) else msgspec.json.format(msgspec.json.encode(content), indent=2)
    check_size(len(data), settings.file_bytes_max)
    if real.is_dir():
        raise InvalidError(f"{path!r} is a folder: name a file in it", kind="path_is_folder")
    result = {"name": real.name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    if real.exists():
        if real.stat().st_size == len(data) and real.read_bytes() == data:
            return {**result, "written": False}
        if not overwrite:
            raise InvalidError(f"{path!r} exists with other content: choose another name", kind="file_exists")
    try:
        _write_atomically(real, data)
    except OSError as error:
        raise RetryableError(f"{real.name} can't be written ({error.strerror})", kind="file_io") from error
    return {**result, "written": True}


def _write_atomically(real: Path, data: bytes) -> None:
    real.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=real.parent, prefix=f".{real.name[:100]}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        Path(temporary).chmod(0o666 & ~mask)
        Path(temporary).replace(real)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
