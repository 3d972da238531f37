"""What the workers offer: the keys `tool.<name>` and `function.<name>` of the bucket AF_REGISTRY, cached briefly."""

from __future__ import annotations

import time
from typing import Final

from nats.aio.client import Client
from nats.js.errors import NotFoundError

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
                # one request: the client's kv.keys() may end before its first key when the loop is busy
                prefix = f"$KV.{subjects.REGISTRY_BUCKET}."
                stream = f"KV_{subjects.REGISTRY_BUCKET}"
                info = await self._nc.jsm().stream_info(stream, subjects_filter=f"{prefix}>")
                self._keys = frozenset(name.removeprefix(prefix) for name in info.state.subjects or {})
            except NotFoundError:
                self._keys = frozenset()
            self._read_at = now
        return self._keys
