"""Reads of object stores, by direct gets.

nats-py reads an object by a consumer, and waits forever for parts of an object that was replaced meanwhile. Each
consumer stays on the server for five seconds, and a bucket takes at most 1,000 of them. That limits it to 200 reads/s.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from typing import Any, Final

from nats.js.object_store import ObjectStore

from agentflow_common.log.event_log import EventLog

READ_S_MAX: Final = 10.0  # how long an object may differ from its digest: it is being replaced, or a replica lags
AGAIN_S: Final = 0.1


async def read(store: ObjectStore, name: str) -> bytes:
    """Returns the object's bytes. Raises NotFoundError or ObjectNotFoundError if it does not exist, TimeoutError."""
    inside: Any = store  # it does not tell its connection and its bucket
    log, bucket = EventLog(inside._js._nc), inside._name
    deadline = asyncio.get_running_loop().time() + READ_S_MAX
    while True:
        info = await store.get_info(name)
        parts = await log.read(f"$O.{bucket}.C.{info.nuid}", stream=f"OBJ_{bucket}")
        data = b"".join(part.data for part in parts)
        if _digest(data) == info.digest or not info.size:
            return data
        if asyncio.get_running_loop().time() > deadline:
            raise TimeoutError(f"the object {name} has {len(data):,} bytes of {info.size:,}, or others than it should")
        await asyncio.sleep(AGAIN_S)


def _digest(data: bytes) -> str:
    return "SHA-256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode()
