"""The files of a folder, inside the same roots as the file tools."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from agentflow_common import rpc
from agentflow_worker.settings import WorkerSettings
from agentflow_worker.sources.listing import Listing
from agentflow_worker.tools.confine import resolve
from agentflow_worker.tools.folders import Walk, pattern_parts


def files(request: rpc.ListFilesRequest, settings: WorkerSettings, now_ms: int) -> Listing:
    """Returns the files that match the pattern and have settled."""
    folder = resolve(request.folder, settings.file_roots, folder=True, denied=settings.data_dir)
    return walked(request, folder, settings.file_roots, settings.data_dir, now_ms)


def walked(
    request: rpc.ListFilesRequest, folder: Path, roots: Sequence[Path], denied: Path | None, now_ms: int
) -> Listing:
    """Returns the files below a folder that match the pattern and have settled.

    A file counts as changed when its content or its entry was: nobody can set the latter time, so a file that is
    copied with an older time is not taken half written. A time of the content that lies in the future says nothing.
    """
    real_roots = [root.expanduser().resolve() for root in roots]
    walk = Walk(folder, pattern_parts(request.pattern), real_roots, denied)
    listing = Listing(now_ms, request.settle_ms)
    for name, found in walk.files():
        listing.add(
            rpc.ListedFile(
                name=name,
                size=found.st_size,
                modified_ms=found.st_mtime_ns // 1_000_000,
                changed_ms=_changed_ns(found, now_ms) // 1_000_000,
                etag=f"{found.st_size:x}-{found.st_mtime_ns:x}",
            )
        )
    listing.unreadable += walk.unreadable
    return listing


def _changed_ns(found: os.stat_result, now_ms: int) -> int:
    is_set = found.st_mtime_ns > now_ms * 1_000_000  # by a program, or by a clock that is wrong
    return found.st_ctime_ns if is_set else max(found.st_mtime_ns, found.st_ctime_ns)
