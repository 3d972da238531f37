"""What the handlers work with; made once by `app.py`."""

from __future__ import annotations

from dataclasses import dataclass

from nats.aio.client import Client

from agentflow_common.blobs import Blobs
from agentflow_common.clock import Clock
from agentflow_common.eventlog import EventLog
from agentflow_gateway.registry import Registry
from agentflow_gateway.settings import GatewaySettings
from agentflow_gateway.store import Store


@dataclass(slots=True)
class Deps:
    """secret: the key of submission digests, shared by every replica."""

    nc: Client
    log: EventLog
    blobs: Blobs
    store: Store
    clock: Clock
    registry: Registry
    settings: GatewaySettings
    secret: bytes
