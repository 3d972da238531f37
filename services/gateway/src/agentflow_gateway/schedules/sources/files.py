"""The files of a folder or of a bucket: a worker lists them, and each version that is not known starts a run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from agentflow_common import rpc
from agentflow_common.schedules import sources
from agentflow_common.schedules.sources import Files
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.schedules.sources.taking import Item, Taking
from agentflow_gateway.store.sources import SourceRow

PAGE: Final = 1_000
KEEP_EVERY_MS: Final = 24 * 3_600_000
GONE_MS: Final = 30 * KEEP_EVERY_MS  # a file that is gone for this long and comes back is new


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_YEAR_1_MS: Final = -62_135_596_800_000
_YEAR_9999_MS: Final = 253_402_300_799_999


class Position(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a folder was read. digest: of the list in which everything is known."""

    digest: str = ""
    kept_at: int = 0  # when the files that are there were noted last


def read_position(text: str) -> Position:
    return msgspec.json.decode(text, type=Position) if text else Position()


async def look(deps: Deps, files: Files, source: SourceRow, taking: Taking) -> str:
    """Takes what is new, and returns the position after it."""
    before, now_ms = read_position(source.position), deps.clock.now_ms()
    keeps = now_ms - before.kept_at >= KEEP_EVERY_MS
    digests: set[str] = set()
    after, more = "", True
    while more:
        request = rpc.ListFilesRequest(
            folder=files.folder,
            bucket=files.bucket,
            pattern=files.pattern,
            settle_ms=files.settle_ms,
            after=after,
            limit=PAGE,
            known="" if keeps or after else before.digest,
        )
        reply = await taking.call().ask(rpc.LIST_FILES, request)
        digests.add(reply.digest)
        await _take(deps, files, source, taking, reply.files)
        if keeps:
            await deps.store.sources.keep(source.id, [sources.item_id(file.name) for file in reply.files], now_ms)
        more = reply.more
        after = reply.files[-1].name if reply.files else after
    if keeps:
        await deps.store.sources.forget(source.id, now_ms - GONE_MS)
    # a folder that changed between two pages is read again
    position = Position(digests.pop() if len(digests) == 1 else "", now_ms if keeps else before.kept_at)
    return msgspec.json.encode(position).decode()


async def _take(deps: Deps, files: Files, source: SourceRow, taking: Taking, listed: Sequence[rpc.ListedFile]) -> None:
    ids = {file.name: sources.item_id(file.name) for file in listed}
    known = await deps.store.sources.known(source.id, list(ids.values()))
    new = [file for file in listed if known.get(ids[file.name]) != file.etag]
    if files.existing == "skip":
        old = [(ids[file.name], file.etag) for file in new if file.changed_ms < source.since]
        if old:
            await deps.store.sources.add(source.id, old, deps.clock.now_ms())
        new = [file for file in new if file.changed_ms >= source.since]
    items = [item_of(files, file) for file in new]
    while items:
        items = items[await taking.take(items) :]


def item_of(files: Files, file: rpc.ListedFile) -> Item:
    """Returns a version of a file as an item. Pure.

    Its payload names the file as `file.read` or `s3.fetch` takes it.
    """
    payload: dict[str, Any] = {
        "name": file.name.rpartition("/")[2],
        "size": file.size,
        "modified": _iso(file.modified_ms),
        "etag": file.etag,
    }
    if files.bucket:
        payload |= {"bucket": files.bucket, "key": file.name}
    else:
        below = files.folder in {"", "."}
        payload["path"] = file.name if below else f"{files.folder.rstrip('/')}/{file.name}"
    return Item(sources.item_id(file.name), file.etag, sources.trigger_id(file.name, file.etag), payload)


def _iso(ms: int) -> str:
    """Returns a time as ISO 8601. File systems hold years that no calendar has: they become the last or first one."""
    moment = _EPOCH + timedelta(milliseconds=max(_YEAR_1_MS, min(ms, _YEAR_9999_MS)))
    return moment.isoformat(timespec="milliseconds")
