"""Paths that stay where they belong: inside the configured roots, symlinks followed before judging."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from agentflow_common.errors import NotFoundError, PermissionDeniedError, TerminalError


def resolve(
    path: str,
    roots: Sequence[Path],
    *,
    writing: bool = False,
    folder: bool = False,
    setting: str = "AGENTFLOW_FILE_ROOTS",
) -> Path:
    """The real path of `path`: absolute, or relative to the first root that has it (writing: to the first root).

    folder: it has to be a folder. PermissionDeniedError outside the roots, NotFoundError if there is no such file (or
    folder) to read.
    """
    if not roots:
        raise TerminalError(
            f"file access is off: set {setting} to the folders that it may use", kind="files_not_configured"
        )
    if not path or "\x00" in path:
        raise PermissionDeniedError("the path is empty or holds a null character", kind="path_invalid")
    real_roots = [root.expanduser().resolve() for root in roots]
    asked = Path(path)
    if ".." in asked.parts:
        raise _outside(path, roots, setting)
    candidates = [asked] if asked.is_absolute() else [root / asked for root in real_roots]
    try:
        inside = [real for real in (c.resolve() for c in candidates) if any(real.is_relative_to(r) for r in real_roots)]
    except (OSError, RuntimeError) as error:
        raise PermissionDeniedError(
            f"{path!r} can't be resolved ({type(error).__name__})", kind="path_invalid"
        ) from error
    if not inside:
        raise _outside(path, roots, setting)
    if writing:
        return inside[0]
    for real in inside:
        if real.is_dir() if folder else real.is_file():
            return real
    what = "folder" if folder else "file"
    raise NotFoundError(
        f"there is no {what} {path!r} under {_listed(roots)}: check the name, or add its folder to {setting}",
        kind="file_not_found",
    )


def _outside(path: str, roots: Sequence[Path], setting: str) -> PermissionDeniedError:
    return PermissionDeniedError(
        f"{path!r} is outside the allowed folders ({_listed(roots)}): move the file there or extend {setting}",
        kind="path_outside_roots",
    )


def _listed(roots: Sequence[Path]) -> str:
    return ", ".join(str(root) for root in roots)
