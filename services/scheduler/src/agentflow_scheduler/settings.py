"""Settings of the scheduler."""

from __future__ import annotations

from pydantic import Field

from agentflow_common.settings import Settings


class SchedulerSettings(Settings):
    """snapshot_every: decisions of a shard between two snapshots; bounds what a recovery reads."""

    lease_ttl_s: float = Field(5.0, alias="SCHEDULER_LEASE_TTL_S", gt=0)
    snapshot_every: int = Field(20_000, alias="SCHEDULER_SNAPSHOT_EVERY", ge=100)
