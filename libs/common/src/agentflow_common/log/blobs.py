"""Claim check: payloads above 64 KiB live in an object store under their SHA-256, and events carry the reference."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.js.errors import NotFoundError, ObjectNotFoundError
from nats.js.object_store import ObjectStore

from agentflow_common import ids, json_values, subjects
from agentflow_common.errors import InvalidError, RetryableError
from agentflow_common.events import BlobRef, Payload
from agentflow_common.log import object_reads

INLINE_BYTES_MAX: Final = 64 * 1024
PAYLOAD_BYTES_MAX: Final = 4 * 1024 * 1024  # one step's output or one run's inputs, as JSON
_CACHE_BYTES_MAX: Final = 64 * 1024 * 1024
_STORED_MAX: Final = 10_000  # objects known to be there: they are not asked for again


@contextlib.contextmanager
def _reachable() -> Iterator[None]:
    """Raises RetryableError if the store does not answer: the value is not at fault."""
    try:
        yield
    except (NotFoundError, ObjectNotFoundError):
        raise
    except (nats.errors.Error, TimeoutError) as error:
        raise RetryableError("the object store is not reachable", kind="blobs_unavailable") from error


def in_line(value: Any) -> Payload | None:
    """Returns the value as a Payload if it is small enough for an event, else None.

    Raises InvalidError if it is not JSON.
    """
    return Payload(value=value) if len(_encoded(value, "the value")) <= INLINE_BYTES_MAX else None


def _encoded(value: Any, what: str) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (ValueError, RecursionError, TypeError) as error:  # a lone surrogate, a number of thousands of digits
        text = json_values.escaped(str(error)[:120])
        raise InvalidError(
            f"{what} is not JSON ({type(error).__name__}: {text}): texts must be valid Unicode, without "
            "lone surrogates (decode bytes with errors='replace')",
            kind="result_not_json",
        ) from error


def check_size(data: bytes, what: str) -> None:
    """Raises InvalidError above PAYLOAD_BYTES_MAX. what: the value that was encoded, as the message names it."""
    if len(data) > PAYLOAD_BYTES_MAX:
        raise InvalidError(
            f"{what} is {len(data):,} bytes as JSON; the limit is {PAYLOAD_BYTES_MAX:,}: "
            "put it in a file or a bucket and pass its key",
            kind="payload_too_large",
        )


class Blobs:
    """Stores and fetches JSON values by content; the same value is the same object, so storing twice is harmless."""

    def __init__(self, nc: Client) -> None:
        self._js = nc.jetstream()
        self._store: ObjectStore | None = None
        self._cache: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        self._cached_bytes = 0
        self._stored: set[str] = set()

    async def _bucket(self) -> ObjectStore:
        if self._store is None:
            self._store = await self._js.object_store(subjects.BLOB_BUCKET)
        return self._store

    async def pack(self, value: Any, what: str = "payload") -> Payload:
        """Stores the value if it is large, and returns its Payload. Raises InvalidError above PAYLOAD_BYTES_MAX."""
        data = _encoded(value, what)
        if len(data) <= INLINE_BYTES_MAX:
            return Payload(value=value)
        return Payload(ref=await self._put(data, what))

    async def store(self, value: Any, what: str = "payload") -> BlobRef:
        """Stores the value whatever its size; InvalidError above PAYLOAD_BYTES_MAX."""
        return await self._put(_encoded(value, what), what)

    async def _put(self, data: bytes, what: str) -> BlobRef:
        check_size(data, what)
        sha = ids.digest(data)
        if sha not in self._stored:
            with _reachable():
                bucket = await self._bucket()
                try:
                    await bucket.get_info(sha)
                except (NotFoundError, ObjectNotFoundError):
                    await bucket.put(sha, data)
            if len(self._stored) >= _STORED_MAX:
                self._stored.clear()
            self._stored.add(sha)
        return BlobRef(sha256=sha, size=len(data))

    async def fetch(self, ref: BlobRef) -> Any:
        """Returns the value behind a reference, checked against its SHA-256."""
        if ref.sha256 in self._cache:
            self._cache.move_to_end(ref.sha256)
            return self._cache[ref.sha256][0]
        try:
            with _reachable():
                bucket = await self._bucket()
                data = await object_reads.read(bucket, ref.sha256)
        except (NotFoundError, ObjectNotFoundError) as error:
            raise RetryableError(f"blob {ref.sha256[:12]} is not in the object store", kind="blob_missing") from error
        if ids.digest(data) != ref.sha256:
            raise RetryableError(f"blob {ref.sha256[:12]} does not match its checksum", kind="blob_corrupt")
        value = msgspec.json.decode(data)
        self._remember(ref, value)
        return value

    def _remember(self, ref: BlobRef, value: Any) -> None:
        self._cache[ref.sha256] = (value, ref.size)
        self._cached_bytes += ref.size
        while self._cached_bytes > _CACHE_BYTES_MAX:
            _, (_, size) = self._cache.popitem(last=False)
            self._cached_bytes -= size

    async def unpack(self, payload: Payload) -> Any:
        return payload.value if payload.ref is None else await self.fetch(payload.ref)
