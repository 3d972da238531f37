"""The offers of the running workers: entries of the bucket AF_WORKERS, which age out if they are not renewed.

The bucket AF_REGISTRY has the descriptions: `version.<digest>` by content, and `tool.<name>` and `function.<name>` as
they were published last.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from agentflow_common import subjects

VERSION_PREFIX: Final = "version."
_STREAM: Final = f"KV_{subjects.WORKERS_BUCKET}"
_PREFIX: Final = f"$KV.{subjects.WORKERS_BUCKET}."
_TOGETHER_MAX: Final = 64  # requests for entries that are on their way at a time


class WorkerOffers(msgspec.Struct, frozen=True):
    """The offers of one worker process."""

    worker: str
    started_at: int  # ms since the epoch
    offers: dict[str, str]  # the version's digest by `tool.<name>` or `function.<name>`
    renewed_at: int = 0  # ms since the epoch; only where it was read


async def read(nc: Client) -> list[WorkerOffers]:
    """Returns what the running workers offer, the worker that started last first."""
    try:
        info = await nc.jsm().stream_info(_STREAM, subjects_filter=f"{_PREFIX}>")
    except NotFoundError:
        return []
    slots = asyncio.Semaphore(_TOGETHER_MAX)

    async def one(subject: str) -> WorkerOffers | None:
        async with slots:
            try:
                message = await nc.jsm().get_last_msg(_STREAM, subject)
            except NotFoundError:  # it aged out just now
                return None
        if not message.data:  # the worker stopped
            return None
        at = int(message.time.timestamp() * 1000) if message.time is not None else 0
        return msgspec.structs.replace(msgspec.json.decode(message.data, type=WorkerOffers), renewed_at=at)

    found = await asyncio.gather(*(one(subject) for subject in info.state.subjects or {}))
    known = [item for item in found if item is not None]
    return sorted(known, key=lambda item: (-item.started_at, item.worker))
