"""Publishes what this worker can run, and says again and again that it is there.

Descriptions that no worker has offered for a day are taken away. Until then they serve the checks of definitions, so
that a workflow can be submitted while its workers restart.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Collection, Iterable
from functools import partial
from typing import Any, Final

import msgspec
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from agentflow_common import ids, subjects
from agentflow_common.clock import Clock
from agentflow_common.log import worker_offers
from agentflow_common.log.streams import OFFERS_TTL_S, patiently
from agentflow_common.log.transient import AWAY
from agentflow_common.log.worker_offers import VERSION_PREFIX, WorkerOffers
from agentflow_worker.registry import Registry

log = logging.getLogger(__name__)
RENEW_S: Final = OFFERS_TTL_S / 3
SWEEP_TURNS: Final = 180  # renewals between two sweeps: an hour
KEPT_MS: Final = 24 * 3_600_000  # how long a description is kept that no worker offers
WITHDRAW_S_MAX: Final = 2.0
_TOGETHER_MAX: Final = 16  # requests that are on their way at a time
_STREAM: Final = f"KV_{subjects.REGISTRY_BUCKET}"
_PREFIX: Final = f"$KV.{subjects.REGISTRY_BUCKET}."


class Offers:
    """The tools and functions of one worker process, as others see them."""

    def __init__(self, nc: Client, registry: Registry, worker: str, clock: Clock) -> None:
        self._nc = nc
        self._clock = clock
        self._key = secrets.token_hex(8)  # two processes may have one name
        items = [(f"{item['kind']}.{item['name']}", item) for item in registry.describe()]
        versions = {key: _digest(item) for key, item in items}
        self._own = WorkerOffers(worker, clock.now_ms(), versions)
        self._texts = {key: msgspec.json.encode({**item, "version": versions[key]}) for key, item in items}

    async def publish(self) -> None:
        """Publishes every description, and that this worker offers them."""
        there = set(await patiently(self._keys))
        entries = dict(self._texts)
        for key, digest in self._own.offers.items():
            if VERSION_PREFIX + digest not in there:
                entries[VERSION_PREFIX + digest] = self._texts[key]
        bucket = await patiently(lambda: self._nc.jetstream().key_value(subjects.REGISTRY_BUCKET))
        slots = asyncio.Semaphore(_TOGETHER_MAX)

        async def put(key: str, text: bytes) -> None:
            async with slots:
                await patiently(partial(bucket.put, key, text))

        await asyncio.gather(*(put(key, text) for key, text in entries.items()))
        await patiently(self.renew)

    async def renew(self) -> None:
        """Says that this worker is there."""
        bucket = await self._nc.jetstream().key_value(subjects.WORKERS_BUCKET)
        await bucket.put(self._key, msgspec.json.encode(self._own))

    async def keep(self) -> None:
        """Renews the offers, and takes old descriptions away, forever."""
        turn = 0
        while True:
            await asyncio.sleep(RENEW_S)
            turn += 1
            try:
                await self.renew()
                if turn % SWEEP_TURNS == 0:
                    await self.sweep(self._clock.now_ms())
            except AWAY as error:
                log.warning("the offers of this worker can't be renewed yet: %s", type(error).__name__)

    async def withdraw(self) -> None:
        """Says that this worker stops. If that fails, its offers age out."""
        try:
            async with asyncio.timeout(WITHDRAW_S_MAX):
                bucket = await self._nc.jetstream().key_value(subjects.WORKERS_BUCKET)
                await bucket.delete(self._key)
        except AWAY as error:
            log.info("the offers of this worker will age out: %s", type(error).__name__)

    async def sweep(self, now_ms: int) -> list[str]:
        """Takes away descriptions that no worker has offered for KEPT_MS, and returns their keys."""
        gone = []
        for key in unoffered(await self._keys(), await worker_offers.read(self._nc)):
            try:
                message = await self._nc.jsm().get_last_msg(_STREAM, _PREFIX + key)
            except NotFoundError:
                continue
            if message.seq and message.time is not None and message.time.timestamp() * 1000 < now_ms - KEPT_MS:
                # not what was published meanwhile
                await self._nc.jsm().purge_stream(_STREAM, seq=message.seq + 1, subject=_PREFIX + key)
                gone.append(key)
        return gone

    async def _keys(self) -> list[str]:
        info = await self._nc.jsm().stream_info(_STREAM, subjects_filter=f"{_PREFIX}>")
        return [subject.removeprefix(_PREFIX) for subject in info.state.subjects or {}]


def unoffered(keys: Iterable[str], workers: Collection[WorkerOffers]) -> list[str]:
    """Returns the keys of descriptions that none of these workers offers."""
    offered = {key for item in workers for key in item.offers}
    offered |= {VERSION_PREFIX + digest for item in workers for digest in item.offers.values()}
    return sorted(key for key in keys if key not in offered)


def _digest(description: dict[str, Any]) -> str:
    return ids.digest(msgspec.json.encode(description, order="sorted"))[:16]
