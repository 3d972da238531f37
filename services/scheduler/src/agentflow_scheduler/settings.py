"""Settings of the scheduler."""

from __future__ import annotations

from pydantic import Field

from agentflow_common.definition.nodes.base import SUBWORKFLOW_DEPTH_MAX
from agentflow_common.log.streams import LEASE_TTL_S
from agentflow_common.settings import Settings
from agentflow_scheduler.bounds import CHAIN_STEPS


class SchedulerSettings(Settings):
    """How a scheduler shares its work with others, and what it keeps."""

    lease_ttl_s: float = Field(5.0, alias="SCHEDULER_LEASE_TTL_S", gt=0, le=LEASE_TTL_S)
    """a shard whose scheduler is silent for this long goes to another scheduler"""

    window_steps: int = Field(4_000, alias="SCHEDULER_WINDOW_STEPS", ge=1)
    """steps that one worker pool is offered at a time; the others wait in the scheduler, where
    priorities and orgs take turns
    """

    chain_steps: int = Field(CHAIN_STEPS, alias="SCHEDULER_ROW_STEPS", ge=0, le=CHAIN_STEPS)
    """steps that follow one by one and that a worker runs by itself in one task (ADR 0009); 0: none"""

    subworkflow_depth_max: int = Field(SUBWORKFLOW_DEPTH_MAX, ge=1, le=100)
    """levels of runs below the submitted one; the gateway and the schedulers need the same"""

    snapshot_every: int = Field(20_000, alias="SCHEDULER_SNAPSHOT_EVERY", ge=100)
    """events after which a shard is saved; at most about as many are read again after a crash"""
