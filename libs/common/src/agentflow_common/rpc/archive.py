"""Questions to the archive (the trace service): runs that were purged from the log, and their retention."""

from __future__ import annotations

import msgspec

from agentflow_common.rpc import Empty, Verb


class _Struct(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    pass


class ArchiveRequest(_Struct, frozen=True):
    """The archived events of a run of AF_EVENTS with a sequence above `after_seq`."""

    org: str
    run: str
    after_seq: int = 0


class ArchivedEvent(_Struct, frozen=True):
    """One message of a run that was purged from the log."""

    seq: int
    subject: str
    body: str  # the message as text; an event's own bytes are UTF-8 and come back as they were


class ArchiveReply(_Struct, frozen=True):
    """In sequence order; empty for a run that is unknown or another org's."""

    events: tuple[ArchivedEvent, ...] = ()
    more: bool = False  # ask again after the last one


class RetentionReply(_Struct, frozen=True):
    """The retention of finished runs, and how far it has come."""

    keep_ms: int  # how long finished runs stay in the log, 0 for ever. Times in ms since the epoch.
    set_by: str = ""
    set_at: int = 0
    archived_runs: int = 0
    waiting_runs: int = 0  # old enough and still in the log; waiting_for says for what
    waiting_for: str = ""
    swept_at: int = 0
    log_messages: int = 0
    log_bytes: int = 0
    archived_to_seq: int = 0
    # lost_from_seq, lost_to_seq: runs purged between these are in no archive (an older backup was put back); 0:
    # none
    lost_from_seq: int = 0
    lost_to_seq: int = 0


class SetRetentionRequest(_Struct, frozen=True):
    keep_ms: int
    by: str


ARCHIVED = Verb("trace", "archived", ArchiveRequest, ArchiveReply, 20.0)
RETENTION_GET = Verb("trace", "retention_get", Empty, RetentionReply, 20.0)
RETENTION_SET = Verb("trace", "retention_set", SetRetentionRequest, RetentionReply, 20.0)
