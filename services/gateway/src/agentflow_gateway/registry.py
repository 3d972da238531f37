"""What the workers offer: the keys `tool.<name>` and `function.<name>` of the bucket AF_REGISTRY, cached briefly."""

from __future__ import annotations

import time
from typing import Final

from nats.aio.client import Client
from nats.js.errors import BucketNotFoundError, NoKeysError, NotFoundError

from agentflow_common import subjects

_FRESH_S: Final = 2.0


class Registry:
    """Names of tools and functions; empty until a worker has registered any, and then nothing can be checked."""

    def __init__(self, nc: Client) -> None:
        self._nc = nc
        self._keys: frozenset[str] = frozenset()
        self._read_at = float("-inf")

    async def names(self, kind: str, *, fresh: bool = False) -> frozenset[str]:
        """kind: `tool` or `function`. fresh: don't take the cache's word."""
        keys = await self._read(fresh)
        prefix = kind + "."
        return frozenset(key.removeprefix(prefix) for key in keys if key.startswith(prefix))

    async def known(self) -> bool:
        return bool(await self._read(False))

    async def _read(self, fresh: bool) -> frozenset[str]:
        now = time.monotonic()
        if fresh or now - self._read_at > _FRESH_S:
            try:
                bucket = await self._nc.jetstream().key_value(subjects.REGISTRY_BUCKET)
                self._keys = frozenset(await bucket.keys())
            except (NoKeysError, NotFoundError, BucketNotFoundError):
                self._keys = frozenset()
            self._read_at = now
        return self._keys
