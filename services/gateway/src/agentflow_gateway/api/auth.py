"""Turns API keys into identities, with a small cache in front of Postgres."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Final

from agentflow_common.errors import UnauthenticatedError
from agentflow_gateway.auth_rules import Identity, key_digest
from agentflow_gateway.store.keys import KeyStore

_CACHE_MAX: Final = 10_000
_KEY_CHARS_MAX: Final = 512


class Authenticator:
    """Finds the owner of a key. A revoked key may still work for `cache_s` seconds; an unknown one is never cached."""

    def __init__(self, store: KeyStore, cache_s: float) -> None:
        self._store = store
        self._cache_s = cache_s
        self._cache: OrderedDict[bytes, tuple[Identity, float]] = OrderedDict()

    async def identify(self, key: str) -> Identity:
        """Returns the caller that the key belongs to. UnauthenticatedError never repeats the key."""
        if len(key) > _KEY_CHARS_MAX:
            raise _unknown()
        digest = key_digest(key)
        now = time.monotonic()
        cached = self._cache.get(digest)
        if cached is not None and cached[1] > now:
            return cached[0]
        row = await self._store.find(digest)
        if row is None:
            self._cache.pop(digest, None)
            raise _unknown()
        identity = Identity(row.id, row.org, row.permissions, row.name)
        self._cache[digest] = (identity, now + self._cache_s)
        while len(self._cache) > _CACHE_MAX:
            self._cache.popitem(last=False)
        return identity


def _unknown() -> UnauthenticatedError:
    return UnauthenticatedError(
        "the API key is not known or was revoked: check it, or have an administrator make one with "
        "`agentctl keys create` (elsewhere than on the embedded stack: `python -m agentflow_gateway.keys create`)",
        kind="unknown_api_key",
    )
