"""`file.list`, confined to AGENTFLOW_FILE_ROOTS like `file.read`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from agentflow_common.errors import InvalidError, Problem, TerminalError
from agentflow_common.schedules import patterns
from agentflow_worker.context import StepContext
from agentflow_worker.registry import tool
from agentflow_worker.tools.confine import is_allowed, resolve

FILES_MAX: Final = 1000
LOOKED_AT_MAX: Final = 100_000
PATH_DEPTH_MAX: Final = 64


@tool("file.list", idempotent=True, reveal=("path",))
def file_list(path: str, context: StepContext, pattern: str = "*", max_files: int = FILES_MAX) -> dict[str, Any]:
    """Lists the files of a folder whose path below it matches a pattern, sorted by path.

    path: a folder, absolute or relative, inside the allowed folders; `.` is the first of them.
    pattern: `*.md` in the folder itself, `**/*.md` at any depth below it, `reports/*.md` in one
    folder of it. Returns {"files": [{"path", "name", "bytes"}], "count", "truncated",
    "unreadable"}; `file.read` takes each `path`.
    """
    parts = pattern_parts(pattern)
    if not 1 <= max_files <= FILES_MAX:
        raise InvalidError(f"max_files is {max_files}: give a number from 1 to {FILES_MAX}", kind="invalid_argument")
    roots = [root.expanduser().resolve() for root in context.settings.file_roots]
    denied = context.settings.data_dir
    folder = resolve(path, context.settings.file_roots, folder=True, denied=denied)
    walk = Walk(folder, parts, roots, denied)
    files: list[dict[str, Any]] = []
    truncated = False
    for below, found in walk.files():
        if context.cancelled.is_set():
            raise TerminalError("the step was stopped", kind="cancelled")
        if len(files) == max_files:
            truncated = True
            break
        given = below if path in ("", ".") else f"{path.rstrip('/') or ''}/{below}"
        files.append({"path": given, "name": below.rpartition("/")[2], "bytes": found.st_size})
    return {"files": files, "count": len(files), "truncated": truncated, "unreadable": walk.unreadable}


def pattern_parts(pattern: str) -> list[str]:
    """Returns the parts of a pattern. Raises InvalidError if it is not valid."""
    try:
        return patterns.parts_of(pattern)
    except ValueError as error:
        fix = "write for example *.md or **/*.md"
        problem = Problem("pattern", str(error), fix)
        raise InvalidError(
            f"the pattern {pattern!r} is not valid: {error}; {fix}", kind="invalid_pattern", problems=(problem,)
        ) from None


class Walk:
    """The files below a folder, in the order of their paths."""

    def __init__(self, folder: Path, parts: list[str], roots: Sequence[Path], denied: Path | None) -> None:
        self._folder = folder
        self._parts = parts
        self._roots = roots
        self._denied = denied
        self._looked_at = 0
        self.unreadable = 0  # folders that could not be read

    def files(self) -> Iterator[tuple[str, os.stat_result]]:
        """Yields each matching file's path below the folder, and what the system knows of the file."""
        yield from self._below(self._folder, [])

    def _below(self, folder: Path, names: list[str]) -> Iterator[tuple[str, os.stat_result]]:
        if len(names) > PATH_DEPTH_MAX:
            self.unreadable += 1
            return
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError:
            self.unreadable += 1
            return
        for entry in entries:
            self._looked_at += 1
            if self._looked_at > LOOKED_AT_MAX:
                raise InvalidError(
                    f"over {LOOKED_AT_MAX:,} files and folders to look at: name a folder further down",
                    kind="folder_too_large",
                )
            below = [*names, entry.name]
            if entry.is_dir(follow_symlinks=False):
                if patterns.leads_on(below, self._parts):
                    yield from self._below(Path(entry.path), below)
            elif patterns.matches(below, self._parts) and (stat := self._stat(entry)) is not None:
                yield "/".join(below), stat

    def _stat(self, entry: os.DirEntry[str]) -> os.stat_result | None:
        """Returns what is known of a file inside the allowed folders; None for a link that leads out, a
        device, a lost file.
        """
        try:
            real = Path(entry.path).resolve()
            if not real.is_file() or not is_allowed(real, self._roots, self._denied):
                return None
            return real.stat()
        except (OSError, RuntimeError):
            return None
