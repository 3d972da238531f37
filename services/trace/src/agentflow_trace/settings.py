"""What the trace service reads beside the common settings."""

from __future__ import annotations

from pydantic import Field

from agentflow_common.settings import ClickHouseSettings


class TraceSettings(ClickHouseSettings):
    """Bounds of ingestion: a batch goes out at `trace_batch_rows` rows, or when its oldest row is that many ms old.

    retention_hours: how long finished runs stay in the log until somebody sets it live; 0: for ever.
    retention_min_s: no shorter retention is accepted; above the log's window for message ids (120 s), in which a run
    that is submitted again under its old key could be taken for the old one. retention_sweep_s: between two looks.
    """

    trace_batch_rows: int = Field(5_000, ge=1, le=100_000)
    trace_batch_age_ms: int = Field(100, ge=0, le=10_000)
    retention_hours: float = Field(168.0, ge=0)
    retention_min_s: float = Field(300.0, ge=0)
    retention_sweep_s: float = Field(60.0, gt=0)
