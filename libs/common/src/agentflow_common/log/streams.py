"""Creates and upgrades the streams and buckets of a log. Every service does so when it starts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import nats.errors
from nats.aio.client import Client
from nats.js import api
from nats.js.errors import APIError, BadRequestError, NoStreamResponseError, ServiceUnavailableError

from agentflow_common import subjects
from agentflow_common.errors import RetryableError, TerminalError
from agentflow_common.log import dead_letters

log = logging.getLogger(__name__)
T = TypeVar("T")

OFFERS_TTL_S: Final = 60.0  # a worker that is silent for this long is not listed
LEASE_TTL_S: Final = 5.0
PATIENCE_S: Final = 60.0  # a cluster that starts must elect its leaders first
_NOT_CLUSTERED: Final = 10074
_NO_PEERS: Final = 10005
_NAME_IN_USE: Final = 10058
_NOT_FOUND: Final = 10059


async def ensure_streams(nc: Client, replicas: int = 1, patience_s: float = PATIENCE_S) -> None:
    """Makes what is not there and changes what differs, the number of replicas too. Safe to call at any time.

    Raises TerminalError if the servers can't hold so many replicas, RetryableError if none answers for `patience_s`.
    """
    try:
        await patiently(lambda: _ensure(nc, replicas), patience_s)
    except APIError as error:
        if error.err_code in (_NOT_CLUSTERED, _NO_PEERS):
            raise TerminalError(
                f"AGENTFLOW_REPLICAS={replicas} needs a NATS cluster of at least {replicas} servers: "
                f"{error.description}; set it to 1, or add servers",
                kind="too_few_servers",
            ) from error
        raise


async def patiently(work: Callable[[], Awaitable[T]], patience_s: float = PATIENCE_S) -> T:
    """Repeats a request to JetStream at a service's start, while a cluster has no leader or the network is cut."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience_s
    while True:
        try:
            return await work()
        except (TimeoutError, nats.errors.NoRespondersError, NoStreamResponseError, ServiceUnavailableError) as error:
            if loop.time() > deadline:
                raise RetryableError(f"JetStream does not answer: {error}", kind="log_unavailable") from error
            log.warning("JetStream is not ready, trying again: %s", type(error).__name__)
        except APIError as error:
            # a server may be about to join; a stream that is being made is neither new nor found for a moment
            if error.err_code not in (_NO_PEERS, _NOT_FOUND) or loop.time() > deadline:
                raise
        await asyncio.sleep(0.5)


async def _ensure(nc: Client, replicas: int) -> None:
    jsm = nc.jsm()
    common: dict[str, Any] = {
        "storage": api.StorageType.FILE,
        "retention": api.RetentionPolicy.LIMITS,
        "num_replicas": replicas,
        "allow_direct": True,
        "duplicate_window": 120.0,
    }
    configs = [
        api.StreamConfig(
            name=subjects.EVENTS_STREAM,
            subjects=list(subjects.EVENTS_SUBJECTS),
            allow_atomic=True,
            allow_msg_schedules=True,
            allow_msg_ttl=True,
            **common,
        ),
        api.StreamConfig(name=subjects.COST_STREAM, subjects=list(subjects.COST_SUBJECTS), **common),
        api.StreamConfig(name=subjects.AUDIT_STREAM, subjects=list(subjects.AUDIT_SUBJECTS), **common),
        api.StreamConfig(
            name=subjects.DEAD_STREAM,
            subjects=list(subjects.DEAD_SUBJECTS),
            max_msgs=dead_letters.MESSAGES_MAX,
            **common,
        ),
    ]
    for config in configs:
        try:
            await jsm.add_stream(config)
        except BadRequestError as error:
            if error.err_code != _NAME_IN_USE:
                raise
            await jsm.update_stream(config)  # it is there with another shape
    js = nc.jetstream()
    storage = api.StorageType.FILE
    for bucket in (subjects.BLOB_BUCKET, subjects.SNAPSHOT_BUCKET):
        try:
            await js.create_object_store(bucket, api.ObjectStoreConfig(replicas=replicas, storage=storage))
        except BadRequestError as error:
            await _reshape(nc, f"OBJ_{bucket}", replicas, error)
    for bucket, ttl in (
        (subjects.LEASE_BUCKET, LEASE_TTL_S),
        (subjects.LOAD_BUCKET, LEASE_TTL_S),
        (subjects.REGISTRY_BUCKET, None),
        (subjects.WORKERS_BUCKET, OFFERS_TTL_S),
        (subjects.CONTROLS_BUCKET, None),
    ):
        entries = api.KeyValueConfig(bucket=bucket, ttl=ttl, replicas=replicas, storage=storage, direct=True)
        try:
            await js.create_key_value(entries)
        except BadRequestError as error:
            await _reshape(nc, f"KV_{bucket}", replicas, error)


async def _reshape(nc: Client, stream: str, replicas: int, why: BadRequestError) -> None:
    """Sets the replicas of an existing bucket's stream, and lets any of them serve reads."""
    if why.err_code != _NAME_IN_USE:
        raise why
    found = (await nc.jsm().stream_info(stream)).config
    if found.num_replicas != replicas or not found.allow_direct:
        await nc.jsm().update_stream(found.evolve(num_replicas=replicas, allow_direct=True))
