"""Ingestion, retention and replays of the trace service."""

from __future__ import annotations

from typing import Final

from agentflow_common.metrics.bounded import counter, gauge
from agentflow_common.metrics.labels import MODE, STATUS, STREAM, TABLE

ROWS: Final = counter("trace_rows", "Rows written to ClickHouse", STREAM)
INSERT_FAILURES: Final = counter(
    "trace_insert_failures", "Inserts that failed, after which ClickHouse was asked for its newest row", STREAM
)
INGEST_AGE: Final = gauge(
    "trace_ingest_delay_seconds", "Age of the newest row when it was written to ClickHouse", STREAM
)
REMOVED: Final = counter(
    "trace_removed_sequences", "Sequences that had left the log before they were read, such as purged schedules", STREAM
)
GAPS: Final = counter("trace_gaps", "Times that ClickHouse lacked rows of the log, which were then read again", STREAM)
DERIVED_ROWS: Final = counter(
    "trace_derived_rows",
    "Rows written to the derived tables of ClickHouse (`runs`, `steps` ...)",
    TABLE,
)
DERIVE_FAILURES: Final = counter(
    "trace_derive_failures", "Attempts to write derived tables that failed and were repeated"
).metric
EXPORTS: Final = counter(
    "trace_exports", "Exports of a run's spans to a receiver of OTLP; status: `ok`, `waiting` or `refused`", STATUS
)
RUNS_ARCHIVED: Final = counter("runs_archived", "Finished runs that were purged from the log").metric
RUNS_WAITING: Final = gauge(
    "runs_waiting_for_archive", "Finished runs that are older than the retention and still in the log"
).metric
REPLAY_DIVERGENCES: Final = counter(
    "replay_divergences", "Replays that differed from the log: the engine decides differently from then", MODE
)
for _mode in ("mock", "shadow"):  # an alert sees the first increase only of a series that is there
    REPLAY_DIVERGENCES.labels(_mode)
