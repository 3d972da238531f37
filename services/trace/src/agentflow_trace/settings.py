"""Settings of the trace service, beside the common ones."""

from __future__ import annotations

from pydantic import Field

from agentflow_common.settings import ClickHouseSettings


class TraceSettings(ClickHouseSettings):
    """Bounds of ingestion, and how long finished runs stay in the log.

    `retention_min_s` lies above the log's window for message ids (120 s). Within that window a run
    that is submitted again under its old key could be taken for the old one.
    """

    trace_batch_rows: int = Field(20_000, ge=1, le=100_000)
    """rows after which a batch goes to ClickHouse"""

    trace_batch_age_ms: int = Field(200, ge=0, le=10_000)
    """age of the oldest row at which a batch goes to ClickHouse"""

    trace_bodies_days: int = Field(0, ge=0, le=36_500)
    """how long ClickHouse keeps the bodies of events; 0: forever. Without them, runs that left the log can't be read"""

    trace_derived_days: int = Field(0, ge=0, le=36_500)
    """how long ClickHouse keeps runs, steps, model calls and costs in its derived tables; 0: forever"""

    trace_export_sample: float = Field(1.0, ge=0, le=1)
    """the part of the runs that is sent to `AGENTFLOW_TRACE_EXPORT`; runs with a failed step are always sent"""

    retention_hours: float = Field(168.0, ge=0)
    """how long finished runs stay in the log, until `agentctl retention set` changes it; 0: forever"""

    retention_min_s: float = Field(300.0, ge=0)
    """the shortest retention that is accepted"""

    retention_sweep_s: float = Field(60.0, gt=0)
    """how often finished runs are looked for"""
