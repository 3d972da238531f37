"""Questions to the trace service about reading the whole log again."""

from __future__ import annotations

from agentflow_common.rpc.verbs import Empty, Message, Verb


class TraceStreamProgress(Message, frozen=True):
    """The part of a stream that is in ClickHouse."""

    stream: str
    ingested_seq: int = 0  # ClickHouse has everything up to here
    last_seq: int = 0  # the newest sequence of the log


class TraceProgressReply(Message, frozen=True):
    """The part of the log that is in ClickHouse."""

    streams: tuple[TraceStreamProgress, ...]
    derived_seq: int = 0  # of AF_EVENTS: the derived tables have everything up to here
    dropping: bool = False  # rows are being dropped, before the log is read again


TRACE_REBUILD = Verb("trace", "rebuild", Empty, TraceProgressReply, 20.0)
TRACE_PROGRESS = Verb("trace", "progress", Empty, TraceProgressReply, 20.0)
