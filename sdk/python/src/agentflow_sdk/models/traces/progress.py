"""Answers about reading the log again."""

from __future__ import annotations

from dataclasses import dataclass

from agentflow_sdk.models.records import Record


@dataclass(frozen=True, slots=True)
class TraceStreamProgress(Record):
    """The part of a stream of the log that is in ClickHouse."""

    stream: str
    """The name of the stream."""
    ingested_sequence: int = 0
    """ClickHouse has everything up to this sequence."""
    last_sequence: int = 0
    """The newest sequence of the log."""


@dataclass(frozen=True, slots=True)
class TraceProgress(Record):
    """The part of the log that is in ClickHouse."""

    streams: tuple[TraceStreamProgress, ...] = ()
    """The streams: events, costs and audit."""
    derived_sequence: int = 0
    """The tables of runs, steps, model calls and costs have all events up to this sequence."""
    dropping: bool = False
    """True while rows are dropped, before the log is read again."""
