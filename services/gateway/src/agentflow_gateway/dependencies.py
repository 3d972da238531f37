"""What the handlers work with; made once by `app.py`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from nats.aio.client import Client

from agentflow_common.clock import Clock
from agentflow_common.log.blobs import Blobs
from agentflow_common.log.event_log import EventLog
from agentflow_gateway.backpressure.load_reports import Load
from agentflow_gateway.settings import GatewaySettings
from agentflow_gateway.store.approvals import ApprovalStore
from agentflow_gateway.store.runs import Store
from agentflow_gateway.store.schedules import ScheduleStore
from agentflow_gateway.store.versions import VersionStore
from agentflow_gateway.worker_registry import Registry


@dataclass(slots=True)
class Deps:
    """secret: the key of submission digests, shared by every replica."""

    nc: Client
    log: EventLog
    blobs: Blobs
    store: Store
    versions: VersionStore
    approvals: ApprovalStore
    load: Load
    clock: Clock
    registry: Registry
    settings: GatewaySettings
    secret: bytes
    schedules: ScheduleStore
    schedules_changed: asyncio.Event = field(default_factory=asyncio.Event)
