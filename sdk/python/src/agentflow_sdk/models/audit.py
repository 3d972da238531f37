"""Answers about the audit log."""

from __future__ import annotations

from dataclasses import dataclass, field

from agentflow_sdk.models.records import Record, RecordPage


@dataclass(frozen=True, slots=True)
class AuditEntry(Record):
    """Something that was done to private data, or by an administrator."""

    sequence: int
    """The number of the entry in the audit log."""
    at: int
    """When it was done, ms since the epoch."""
    action: str
    """The action: `protect`, `restore`, `adopt`, `block`, `dead_replay`, `audit_list`, and so on."""
    actor: str
    """The API key, service or schedule that did it."""
    run_id: str = ""
    """The run; empty if it was not about a run."""
    step: str = ""
    """The key of the step; empty if it was not about a step."""
    reason: str = ""
    """The reason that was given."""
    counts: dict[str, int] = field(default_factory=dict)
    """The number of values by category. The values themselves are never kept here."""


@dataclass(frozen=True, slots=True)
class AuditPage(RecordPage[AuditEntry]):
    """A page of audit entries, newest first. It can be iterated over."""

    entries: tuple[AuditEntry, ...] = ()
    """The entries of the page."""
    next_page_token: str = ""
    """The `page_token` of the next page. There may be more entries even if this page is short or empty."""


@dataclass(frozen=True, slots=True)
class AuditProblem(Record):
    """Something that is wrong with the audit log."""

    sequence: int
    """The number of the entry; 0 for the whole log."""
    problem: str
    """The description of the problem."""


@dataclass(frozen=True, slots=True)
class AuditVerified(Record):
    """The result of a check of the audit log."""

    entries: int
    """The number of entries that this call read."""
    last_sequence: int
    """The number of the last entry that was read."""
    digest: str
    """The digest over all entries up to `last_sequence`, in hex."""
    problems: tuple[AuditProblem, ...] = ()
    """Everything that is wrong."""
    more: bool = False
    """True if there are further entries. Call again with `last_sequence` and `digest`."""
