"""The connections, stores and settings that serve calls. app.py makes them once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from nats.aio.client import Client

from agentflow_common.clock import Clock
from agentflow_common.log.blobs import Blobs
from agentflow_common.log.event_log import EventLog
from agentflow_gateway.backpressure.load_reports import Load
from agentflow_gateway.run_tails import Tails
from agentflow_gateway.settings import GatewaySettings
from agentflow_gateway.store.tables import Store
from agentflow_gateway.worker_registry import Registry


@dataclass(slots=True)
class Deps:
    nc: Client
    log: EventLog
    blobs: Blobs
    store: Store
    load: Load
    clock: Clock
    registry: Registry
    tails: Tails
    settings: GatewaySettings
    secret: bytes  # the key of submission digests, shared by every replica
    known_models: dict[str, float] = field(default_factory=dict)  # until when a model with a price is not asked about
    schedules_changed: asyncio.Event = field(default_factory=asyncio.Event)
