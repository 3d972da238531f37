"""What the trace service reads beside the common settings."""

from __future__ import annotations

from pydantic import Field

from agentflow_common.settings import ClickHouseSettings


class TraceSettings(ClickHouseSettings):
    """Bounds of ingestion: a batch goes out at `trace_batch_rows` rows, or when its oldest row is that many ms old."""

    trace_batch_rows: int = Field(5_000, ge=1, le=100_000)
    trace_batch_age_ms: int = Field(100, ge=0, le=10_000)
