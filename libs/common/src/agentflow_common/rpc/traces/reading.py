"""Questions to the trace service: traces, the archive of runs that were purged from the log, retention."""

from __future__ import annotations

import msgspec

from agentflow_common import subjects
from agentflow_common.rpc.traces.calls import TraceCall
from agentflow_common.rpc.traces.views import TraceNode, TraceSegment
from agentflow_common.rpc.verbs import Empty, Message, Verb


class TraceRequest(Message, frozen=True):
    """Asks for the trace of one run."""

    org: str
    run: str
    min_seq: int = 0  # wait (bounded) until ClickHouse holds AF_EVENTS up to here
    bodies: bool = True  # with the bodies of all events, else with that of the submission alone
    events_max: int = 0  # the size of a page of events; 0: one answer, whatever is left out of it
    after_stream: str = ""  # after_stream, after_seq: a further page, which has nothing but events
    after_seq: int = 0


class TraceEvent(Message, frozen=True):
    """One event of a run, as the log holds it, or the report of one step of several in an event."""

    stream: str
    seq: int  # sequence in the stream
    ts: int
    type: str
    step: str = ""
    attempt: int = 0
    body: str = ""  # the event as JSON text
    part: int = 0  # among the events of its sequence


class TraceStep(msgspec.Struct, omit_defaults=True):
    """One attempt of a step; the service fills it in while it reads the rows. Times in ms since the epoch."""

    step: str
    attempt: int
    status: str
    scheduled_at: int = 0
    started_at: int = 0
    finished_at: int = 0
    wait_ms: int = 0  # from scheduled to started
    duration_ms: float = 0.0
    cost_nano: int = 0
    provider: str = ""
    model: str = ""
    prompt: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cache_hit: bool = False
    worker: str = ""
    error: str = ""
    redactions: dict[str, int] = {}
    finish_reason: str = ""  # how a model's answer ended
    reason: str = ""  # why the step was skipped or cancelled
    kind: str = ""  # node type
    child_run_id: str = ""  # the run of its subworkflow
    queued_at: int = 0  # when it asked for a slot of its keyed lane; 0: it has none
    calls: tuple[TraceCall, ...] = ()  # of providers; their tokens and costs sum to those of the attempt


class TraceReply(Message, frozen=True):
    """A run, its attempts and events. A further page of events has nothing else."""

    run: str
    workflow: str
    status: str
    trace_id: str
    started_at: int
    finished_at: int
    cost_nano: int
    input_tokens: int
    output_tokens: int
    redactions: dict[str, int]
    steps: tuple[TraceStep, ...]
    events: tuple[TraceEvent, ...]
    truncated: bool = False  # bodies, events or steps were left out, the run is too big for one answer
    more: bool = False  # further events follow after the last one
    nodes: tuple[TraceNode, ...] = ()  # of the pinned definition; none if there are too many
    critical_path: tuple[TraceSegment, ...] = ()  # none if it is too long


class TraceCountsReply(Message, frozen=True):
    """The rows that ClickHouse holds of a stream: their number, distinct sequences, first and last sequence."""

    rows: int  # one for each message, however many steps it reports
    distinct: int
    first_seq: int
    last_seq: int
    # those of the rows that stand for a sequence whose message the server had removed before it was read (a
    # schedule that fired, was replaced or purged). rows = distinct = last_seq - first_seq + 1, always.
    removed: int = 0
    derived_seq: int = 0  # of AF_EVENTS: the sequence up to which the derived tables are whole


class TraceCountsRequest(Message, frozen=True):
    stream: str = subjects.EVENTS_STREAM


class ArchiveRequest(Message, frozen=True):
    """The archived events of a run of AF_EVENTS with a sequence above `after_seq`."""

    org: str
    run: str
    after_seq: int = 0


class ArchivedEvent(Message, frozen=True):
    """One message of a run that was purged from the log."""

    seq: int
    subject: str
    body: str  # the message as text; an event's own bytes are UTF-8 and come back as they were


class ArchiveReply(Message, frozen=True):
    """Events in sequence order; empty for a run that is unknown or belongs to another org."""

    events: tuple[ArchivedEvent, ...] = ()
    more: bool = False  # ask again after the last one


class RetentionReply(Message, frozen=True):
    """The retention of finished runs, and how far it has come."""

    keep_ms: int  # how long finished runs stay in the log, 0: forever
    set_by: str = ""
    set_at: int = 0  # ms since the epoch
    archived_runs: int = 0
    waiting_runs: int = 0  # old enough but still in the log; `waiting_for` says why
    waiting_for: str = ""
    swept_at: int = 0
    log_messages: int = 0
    log_bytes: int = 0
    archived_to_seq: int = 0
    # Runs that were purged between these two sequences are not in the archive: an older backup was restored.
    lost_from_seq: int = 0  # 0: no run is lost
    lost_to_seq: int = 0


class SetRetentionRequest(Message, frozen=True):
    keep_ms: int
    by: str


TRACE_GET = Verb("trace", "get", TraceRequest, TraceReply, 20.0)
TRACE_COUNTS = Verb("trace", "counts", TraceCountsRequest, TraceCountsReply, 20.0)
ARCHIVED = Verb("trace", "archived", ArchiveRequest, ArchiveReply, 20.0)
RETENTION_GET = Verb("trace", "retention_get", Empty, RetentionReply, 20.0)
RETENTION_SET = Verb("trace", "retention_set", SetRetentionRequest, RetentionReply, 20.0)
