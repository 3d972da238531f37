"""The tools and functions that workers offer: keys `tool.<name>` and `function.<name>` of the bucket AF_REGISTRY.

Lists show what running workers offer (log/worker_offers.py). The checks of definitions know what workers offered in the
last day too, so that a workflow can be submitted while its workers restart.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

import msgspec
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from agentflow_common import subjects
from agentflow_common.definition.checks.tool_arguments import Signature
from agentflow_common.log import worker_offers
from agentflow_common.log.worker_offers import VERSION_PREFIX, WorkerOffers

_FRESH_S: Final = 2.0
_PREFIX: Final = f"$KV.{subjects.REGISTRY_BUCKET}."
_STREAM: Final = f"KV_{subjects.REGISTRY_BUCKET}"
_FITTING_MAX: Final = 4_096  # definitions that are remembered as fitting
_VERSIONS_MAX: Final = 4_096  # descriptions that are remembered
_TOGETHER_MAX: Final = 64  # requests for entries that are on their way at a time


class Offer(msgspec.Struct, frozen=True):
    """A tool or function as a worker published it."""

    kind: str
    name: str
    idempotent: bool = False
    reveal: tuple[str, ...] = ()
    schema: dict[str, Any] = {}  # JSON Schema of the arguments
    doc: str = ""
    built_in: bool = False
    offered_at: int = 0  # ms since the epoch
    unchecked: tuple[str, ...] | None = None  # see tool_arguments.Signature
    aliases: dict[str, str] = {}
    branches: str = ""
    version: str = ""  # the digest of the description; empty if a worker of an older version published it
    workers: tuple[str, ...] = ()  # the workers that offer this version now
    others: tuple[Offer, ...] = ()  # what other workers offer under the same name


class Registry:
    """The names of tools and functions. It is empty, and nothing can be checked, until a worker has registered one."""

    def __init__(self, nc: Client) -> None:
        self._nc = nc
        self._keys: frozenset[str] = frozenset()
        self._names: dict[str, frozenset[str]] = {}  # of `_keys`, by kind
        self._seq = 0  # of the newest entry
        self._signatures: dict[tuple[str, str], Signature] = {}
        self._fitting: set[str] = set()
        self._versions: dict[str, Offer] = {}  # by digest
        self._read_at = float("-inf")

    async def names(self, kind: str, *, fresh: bool = False) -> frozenset[str]:
        """Returns the names of a kind, `tool` or `function`. fresh: reads them again, without the cache."""
        keys = await self._read(fresh)
        if kind not in self._names:
            prefix = kind + "."
            self._names[kind] = frozenset(key.removeprefix(prefix) for key in keys if key.startswith(prefix))
        return self._names[kind]

    async def known(self) -> bool:
        return bool(await self._read(False))

    async def offers(self, includes: Callable[[str, str], bool]) -> list[Offer]:
        """Returns what the running workers offer of the kinds and names that are included, tools first, by name.

        Several versions of a name are one offer: that of the worker that started last, with the others in it.
        """
        keys = await self._read(True)
        workers = await worker_offers.read(self._nc)
        places = {_place(key) for item in workers for key in item.offers} | {_place(key) for key in keys}
        slots = asyncio.Semaphore(_TOGETHER_MAX)

        async def one(kind: str, name: str) -> Offer | None:
            async with slots:
                return await self._offered(kind, name, workers)

        offers = await asyncio.gather(*(one(kind, name) for kind, name in sorted(places) if includes(kind, name)))
        return sorted((offer for offer in offers if offer is not None), key=lambda o: (o.kind != "tool", o.name))

    async def _offered(self, kind: str, name: str, workers: Sequence[WorkerOffers]) -> Offer | None:
        """Returns the offer of running workers, or that of a worker of an older version; else None."""
        by_version: dict[str, list[WorkerOffers]] = {}
        for item in workers:
            if digest := item.offers.get(f"{kind}.{name}"):
                by_version.setdefault(digest, []).append(item)
        versions = []
        for digest, holders in by_version.items():
            if (offer := await self._version(digest)) is not None:
                at = max(item.renewed_at for item in holders)
                names = tuple(sorted({item.worker for item in holders}))
                versions.append(msgspec.structs.replace(offer, offered_at=at, workers=names))
        if versions:
            return msgspec.structs.replace(versions[0], others=tuple(versions[1:]))
        old = await self._offer(kind, name)
        return old if old is not None and not old.version else None

    async def _version(self, digest: str) -> Offer | None:
        """Returns a description, which never changes."""
        if digest not in self._versions:
            try:
                message = await self._nc.jsm().get_last_msg(_STREAM, f"{_PREFIX}{VERSION_PREFIX}{digest}")
            except NotFoundError:
                return None
            if not message.data:
                return None
            if len(self._versions) >= _VERSIONS_MAX:
                self._versions.clear()
            self._versions[digest] = msgspec.json.decode(message.data, type=Offer)
        return self._versions[digest]

    async def signatures(
        self, called: Collection[tuple[str, str]], *, fresh: bool = False
    ) -> dict[tuple[str, str], Signature]:
        """Returns the known signatures of these (kind, name). An entry is read once until one changes."""
        keys = await self._read(fresh)
        unread = [place for place in called if place not in self._signatures and ".".join(place) in keys]
        signatures = self._signatures  # a change meanwhile begins another
        for offer in await asyncio.gather(*(self._offer(*place) for place in unread)):
            if offer is not None:
                signatures[offer.kind, offer.name] = msgspec.convert(offer, Signature, from_attributes=True)
        return {place: signatures[place] for place in called if place in signatures}

    def fits(self, digest: str) -> bool:
        """True if the definition's arguments fitted the workers' offers, and these have not changed."""
        return digest in self._fitting

    def remember_fitting(self, digest: str, known: Mapping[tuple[str, str], Signature]) -> None:
        """Remembers that the definition fits. known: the signatures it was compared with; they must be current."""
        if any(self._signatures.get(place) is not signature for place, signature in known.items()):
            return
        if len(self._fitting) >= _FITTING_MAX:
            self._fitting.clear()
        self._fitting.add(digest)

    async def _offer(self, kind: str, name: str) -> Offer | None:
        try:
            message = await self._nc.jsm().get_last_msg(_STREAM, f"{_PREFIX}{kind}.{name}")
        except NotFoundError:
            return None
        if not message.data:  # the entry was deleted
            return None
        at = int(message.time.timestamp() * 1000) if message.time is not None else 0
        published = msgspec.json.decode(message.data, type=dict[str, Any])
        return msgspec.convert({**published, "kind": kind, "name": name, "offered_at": at}, Offer)

    async def _read(self, fresh: bool) -> frozenset[str]:
        now = time.monotonic()
        if fresh or now - self._read_at > _FRESH_S:
            try:
                # one request: the client's kv.keys() may end before its first key when the loop is busy
                info = await self._nc.jsm().stream_info(_STREAM, subjects_filter=f"{_PREFIX}>")
                names = (subject.removeprefix(_PREFIX) for subject in info.state.subjects or {})
                self._keys = frozenset(name for name in names if not name.startswith(VERSION_PREFIX))
                if info.state.last_seq != self._seq:
                    self._seq, self._signatures, self._fitting = info.state.last_seq, {}, set()
            except NotFoundError:
                self._keys = frozenset()
            self._names, self._read_at = {}, now
        return self._keys


def _place(key: str) -> tuple[str, str]:
    kind, _, name = key.partition(".")
    return kind, name
