"""Reads of object stores that come to an end.

nats-py waits for ever for the chunks of an object that was replaced, or deleted, after it had looked it up.
"""

from __future__ import annotations

import asyncio
from typing import Final

from nats.js.object_store import ObjectStore

PATIENCE_S: Final = (5.0, 30.0)  # then it is looked up again; a large one may take long


async def read(store: ObjectStore, name: str) -> bytes:
    """The object's bytes. Raises NotFoundError or ObjectNotFoundError if there is none, TimeoutError."""
    for patience_s in PATIENCE_S:
        try:
            async with asyncio.timeout(patience_s):
                return (await store.get(name)).data or b""
        except TimeoutError:
            continue
    raise TimeoutError(f"the object {name} was not read in {sum(PATIENCE_S):.0f} s")
