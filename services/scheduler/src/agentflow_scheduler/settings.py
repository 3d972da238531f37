"""Settings of the scheduler."""

from __future__ import annotations

from pydantic import Field

from agentflow_common.settings import Settings
from agentflow_common.streams import LEASE_TTL_S
from agentflow_scheduler.bounds import ROW_STEPS


class SchedulerSettings(Settings):
    """snapshot_every: facts and decisions that no snapshot holds, at most: what a recovery reads. window_steps: how
    many steps are offered to one worker pool and not done; others wait in the scheduler, where priorities and orgs take
    turns. row_steps: how many steps that follow one by one a task may name beside its own (ADR 0009); 0: none."""

    lease_ttl_s: float = Field(5.0, alias="SCHEDULER_LEASE_TTL_S", gt=0, le=LEASE_TTL_S)
    window_steps: int = Field(4_000, alias="SCHEDULER_WINDOW_STEPS", ge=1)
    row_steps: int = Field(ROW_STEPS, alias="SCHEDULER_ROW_STEPS", ge=0, le=ROW_STEPS)
    snapshot_every: int = Field(20_000, alias="SCHEDULER_SNAPSHOT_EVERY", ge=100)
