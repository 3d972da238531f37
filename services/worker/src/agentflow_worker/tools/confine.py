"""Paths that stay inside the configured roots. Symlinks are followed before a path is judged."""

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
    denied: Path | None = None,
    setting: str = "AGENTFLOW_FILE_ROOTS",
) -> Path:
    """Returns the real path of `path`: absolute, or relative to the first root that has it.

    writing: relative to the first root, and the file need not exist. folder: it has to be a folder.
    denied: a folder that no root above it opens; see `is_allowed`. Raises PermissionDeniedError
    outside the roots, NotFoundError if there is no such file (or folder) to read.
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
    bases = real_roots[:1] if writing else real_roots
    candidates = [asked] if asked.is_absolute() else [root / asked for root in bases]
    try:
        inside = [real for real in (c.resolve() for c in candidates) if is_allowed(real, real_roots, denied)]
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
    how = " (`agentctl up --file-root`)" if setting == "AGENTFLOW_FILE_ROOTS" else ""
    raise NotFoundError(
        f"there is no {what} {path!r} under {_listed(roots)}: check the name, or add its folder to {setting}{how}",
        kind="file_not_found",
    )


def is_allowed(real: Path, real_roots: Sequence[Path], denied: Path | None = None) -> bool:
    """True if a real path lies in a root, and that root does not open it by merely standing above
    `denied`.

    The folder where a stack was started is a root, and its data dir with keys and databases often
    lies in it. A root inside of the data dir (`files/`) is named on purpose and stays open.
    """
    barred = None if denied is None else denied.expanduser().resolve()
    return any(
        real.is_relative_to(root)
        and not (barred is not None and barred.is_relative_to(root) and real.is_relative_to(barred))
        for root in real_roots
    )


def _outside(path: str, roots: Sequence[Path], setting: str) -> PermissionDeniedError:
    return PermissionDeniedError(
        f"{path!r} is outside the allowed folders ({_listed(roots)}): move the file there or extend {setting}",
        kind="path_outside_roots",
    )


def _listed(roots: Sequence[Path]) -> str:
    return ", ".join(str(root) for root in roots)
