"""Shows the streams and the durable consumers of JetStream as metrics, from the server's own API.

Every gateway shows the same figures. Consumers of watchers come and go: they are counted, not named.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any, Final

import nats.errors
from nats.aio.client import Client
from nats.js.errors import APIError
from nats.js.errors import Error as JetStreamError

from agentflow_common import subjects
from agentflow_common.metrics import log as shown

EVERY_S: Final = 10.0
PAGES_MAX: Final = 4  # of the consumers of one stream, with up to 256 in a page
PAGE: Final = 256
LOGS: Final = (subjects.EVENTS_STREAM, subjects.COST_STREAM, subjects.AUDIT_STREAM)


async def watch(nc: Client) -> None:
    """Keeps the metrics up to date until it is cancelled. While the server is away they stay as they are."""
    while True:
        with contextlib.suppress(nats.errors.Error, APIError, JetStreamError, TimeoutError):
            await measure(nc)
        await asyncio.sleep(EVERY_S)


async def measure(nc: Client) -> None:
    """Reads the figures once."""
    jsm = nc.jsm()
    streams = sorted(await jsm.streams_info(), key=lambda info: -info.state.bytes)
    named = [((str(info.config.name),), info.state) for info in streams]
    shown.STREAM_BYTES.replace({name: state.bytes for name, state in named})
    shown.STREAM_MESSAGES.replace({name: state.messages for name, state in named})
    shown.STREAM_LAST_SEQ.replace({name: state.last_seq for name, state in named})
    shown.STREAM_CONSUMERS.replace({name: state.consumer_count for name, state in named})
    there = {name for (name,), _ in named}
    consumers = [one for stream in LOGS if stream in there for one in await _durables(nc, stream)]
    shown.CONSUMER_PENDING.replace({name: info.num_pending or 0 for name, info in consumers})
    shown.CONSUMER_UNACKED.replace({name: info.num_ack_pending or 0 for name, info in consumers})
    shown.CONSUMER_REDELIVERED.replace({name: info.num_redelivered or 0 for name, info in consumers})
    account = await nc.jetstream().account_info()
    shown.STORAGE_BYTES.set(account.storage)
    shown.STORAGE_LIMIT_BYTES.set(account.limits.max_storage)
    shown.EXPORT_AGE.set(time.time())


async def _durables(nc: Client, stream: str) -> list[tuple[tuple[str, str], Any]]:
    found: list[tuple[tuple[str, str], Any]] = []
    for page in range(PAGES_MAX):
        infos = await nc.jsm().consumers_info(stream, offset=page * PAGE)
        found += [((stream, info.name), info) for info in infos if info.config.durable_name]
        if len(infos) < PAGE:
            break
    return found
