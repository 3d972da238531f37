"""`file.list`, confined to AGENTFLOW_FILE_ROOTS like `file.read`."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from agentflow_common.errors import InvalidError, Problem, TerminalError
from agentflow_worker.context import StepContext
from agentflow_worker.registry import tool
from agentflow_worker.tools.confine import is_allowed, resolve

FILES_MAX: Final = 1000
LOOKED_AT_MAX: Final = 100_000
PATH_DEPTH_MAX: Final = 64
PATTERN_CHARS_MAX: Final = 256
ANY_DEPTH: Final = "**"
ANY_DEPTH_MAX: Final = 2  # each makes matching a path slower by the path's depth


@tool("file.list", idempotent=True, reveal=("path",))
def file_list(path: str, context: StepContext, pattern: str = "*", max_files: int = FILES_MAX) -> dict[str, Any]:
    """Lists the files of a folder whose path below it matches a pattern, sorted by path.

    path: a folder, absolute or relative, inside the allowed folders; `.` is the first of them.
    pattern: `*.md` in the folder itself, `**/*.md` at any depth below it, `reports/*.md` in one
    folder of it. Returns {"files": [{"path", "name", "bytes"}], "count", "truncated",
    "unreadable"}; `file.read` takes each `path`.
    """
    parts = _parts(pattern)
    if not 1 <= max_files <= FILES_MAX:
        raise InvalidError(f"max_files is {max_files}: give a number from 1 to {FILES_MAX}", kind="invalid_argument")
    roots = [root.expanduser().resolve() for root in context.settings.file_roots]
    denied = context.settings.data_dir
    folder = resolve(path, context.settings.file_roots, folder=True, denied=denied)
    walk = _Walk(folder, parts, roots, denied)
    files: list[dict[str, Any]] = []
    truncated = False
    for below, size in walk.files():
        if context.cancelled.is_set():
            raise TerminalError("the step was stopped", kind="cancelled")
        if len(files) == max_files:
            truncated = True
            break
        given = below if path in ("", ".") else f"{path.rstrip('/') or ''}/{below}"
        files.append({"path": given, "name": below.rpartition("/")[2], "bytes": size})
    return {"files": files, "count": len(files), "truncated": truncated, "unreadable": walk.unreadable}


def _parts(pattern: str) -> list[str]:
    parts = pattern.split("/")
    why = ""
    if not pattern or len(pattern) > PATTERN_CHARS_MAX or "\x00" in pattern:
        why = f"it is empty, too long (over {PATTERN_CHARS_MAX} characters) or holds a null character"
    elif pattern.startswith("/") or ".." in parts or "" in parts:
        why = "it has to stay below the folder: no leading `/`, no `..`"
    elif parts.count(ANY_DEPTH) > ANY_DEPTH_MAX:
        why = f"`{ANY_DEPTH}` may stand in it {ANY_DEPTH_MAX} times"
    if why:
        fix = "write for example *.md or **/*.md"
        problem = Problem("pattern", why, fix)
        raise InvalidError(
            f"the pattern {pattern!r} is not valid: {why}; {fix}", kind="invalid_pattern", problems=(problem,)
        )
    return [*parts, "*"] if parts[-1] == ANY_DEPTH else parts


def matches(names: Sequence[str], parts: Sequence[str]) -> bool:
    """True if a path's names match a pattern's parts.

    A name that begins with a dot needs a part that does.
    """
    if not parts:
        return not names
    if parts[0] == ANY_DEPTH:
        return matches(names, parts[1:]) or (len(names) > 1 and names[0][0] != "." and matches(names[1:], parts))
    if not names or (names[0].startswith(".") and not parts[0].startswith(".")):
        return False
    return fnmatch.fnmatchcase(names[0], parts[0]) and matches(names[1:], parts[1:])


class _Walk:
    """The files below a folder, in the order of their paths."""

    def __init__(self, folder: Path, parts: list[str], roots: Sequence[Path], denied: Path | None) -> None:
        self._folder = folder
        self._parts = parts
        self._roots = roots
        self._denied = denied
        self._looked_at = 0
        self.unreadable = 0  # folders that could not be read

    def files(self) -> Iterator[tuple[str, int]]:
        """Yields each matching file's path below the folder, and its size in bytes."""
        yield from self._below(self._folder, [])

    def _below(self, folder: Path, names: list[str]) -> Iterator[tuple[str, int]]:
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
                if self._leads_on(below):
                    yield from self._below(Path(entry.path), below)
            elif matches(below, self._parts) and (size := self._size(entry)) is not None:
                yield "/".join(below), size

    def _leads_on(self, names: list[str]) -> bool:
        """True if a file below this folder may match: the pattern is deeper, or has `**`."""
        if ANY_DEPTH in self._parts:
            return not names[-1].startswith(".") or any(part.startswith(".") for part in self._parts)
        return len(names) < len(self._parts) and matches(names, self._parts[: len(names)])

    def _size(self, entry: os.DirEntry[str]) -> int | None:
        """Returns the size of a file inside the allowed folders; None for a link that leads out, a
        device, a lost file.
        """
        try:
            real = Path(entry.path).resolve()
            if not real.is_file() or not is_allowed(real, self._roots, self._denied):
                return None
            return real.stat().st_size
        except (OSError, RuntimeError):
            return None
