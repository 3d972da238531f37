"""The objects of a bucket, through the same client as `s3.fetch`."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from agentflow_common import rpc
from agentflow_common.errors import InvalidError
from agentflow_common.schedules import patterns
from agentflow_worker.invoke import offload
from agentflow_worker.settings import WorkerSettings
from agentflow_worker.sources.folders import walked
from agentflow_worker.sources.listing import Listing
from agentflow_worker.tools.buckets import open_bucket, translated
from agentflow_worker.tools.confine import resolve
from agentflow_worker.tools.folders import LOOKED_AT_MAX, pattern_parts

FOLDER_SCHEME: Final = "file://"
_WILD: Final = frozenset("*?[")


async def objects(request: rpc.ListFilesRequest, settings: WorkerSettings, now_ms: int) -> Listing:
    """Returns the objects whose key matches the pattern and which have settled."""
    if request.bucket.startswith(FOLDER_SCHEME):
        found: Listing = await offload(lambda: _folder(request, settings, now_ms), settings.threads_max)
        return found
    parts = pattern_parts(request.pattern)
    prefix = fixed_prefix(parts)
    listing = Listing(now_ms, request.settle_ms)
    looked_at = 0
    store = open_bucket(request.bucket, settings, prefix or "*")
    try:
        async for batch in store.list(prefix or None):
            looked_at += len(batch)
            if looked_at > LOOKED_AT_MAX:
                raise InvalidError(
                    f"over {LOOKED_AT_MAX:,} objects to look at: begin the pattern with a folder",
                    kind="folder_too_large",
                )
            for item in batch:
                if patterns.matches(item["path"].split("/"), parts):
                    listing.add(_listed(item["path"], item["size"], item["last_modified"], item["e_tag"]))
    except Exception as error:
        raise translated(error, prefix, request.bucket) from error
    return listing


def _folder(request: rpc.ListFilesRequest, settings: WorkerSettings, now_ms: int) -> Listing:
    """Returns the files of a bucket that is a folder. A link can't lead out of the root of buckets."""
    open_bucket(request.bucket, settings, "*")  # raises if there is no such bucket
    roots = (settings.bucket_root,) if settings.bucket_root is not None else ()
    folder = resolve(
        request.bucket.removeprefix(FOLDER_SCHEME).strip("/"), roots, folder=True, setting="AGENTFLOW_BUCKET_ROOT"
    )
    return walked(request, folder, roots, None, now_ms)


def _listed(name: str, size: int, modified: datetime, etag: str | None) -> rpc.ListedFile:
    at = round(modified.timestamp() * 1000)
    return rpc.ListedFile(name=name, size=size, modified_ms=at, changed_ms=at, etag=etag or f"{size:x}-{at:x}")


def fixed_prefix(parts: list[str]) -> str:
    """Returns the folder that all keys of a pattern begin with. Only this part of the bucket is read."""
    fixed: list[str] = []
    for part in parts[:-1]:
        if _WILD & set(part):
            break
        fixed.append(part)
    return "/".join(fixed)
