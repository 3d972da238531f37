"""The stores of all tables, over one pool."""

from __future__ import annotations

import asyncpg

from agentflow_gateway.store.approvals import ApprovalStore
from agentflow_gateway.store.calendars import CalendarStore
from agentflow_gateway.store.definitions import DefinitionStore
from agentflow_gateway.store.derived_memory import DerivedMemory
from agentflow_gateway.store.keys import KeyStore
from agentflow_gateway.store.labels import LabelStore
from agentflow_gateway.store.memory import Memory
from agentflow_gateway.store.runs import RunStore
from agentflow_gateway.store.schedules import ScheduleStore
from agentflow_gateway.store.shown import ShownStore
from agentflow_gateway.store.sources import SourceStore

SCHEMA = "gateway"


class Store:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self.pool = pool
        self.memory = Memory()
        self.keys = KeyStore(pool)
        self.definitions = DefinitionStore(pool, self.memory)
        self.labels = LabelStore(pool, self.memory)
        self.runs = RunStore(pool)
        self.approvals = ApprovalStore(pool)
        self.schedules = ScheduleStore(pool)
        self.derived_memory = DerivedMemory()
        self.shown = ShownStore(pool, self.derived_memory)
        self.sources = SourceStore(pool)
        self.calendars = CalendarStore(pool)
