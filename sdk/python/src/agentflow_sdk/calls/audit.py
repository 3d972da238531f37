"""The calls that read the audit log, as data (see `calls`). They need the permission `auditor` or `admin`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from agentflow.v1 import audit_pb2 as pb
from agentflow_sdk.calls.workflows import Call, Method
from agentflow_sdk.models.records import Record

_LIST: Final = Method("/agentflow.v1.AuditService/ListAuditEntries", pb.ListAuditEntriesResponse)
_GET: Final = Method("/agentflow.v1.AuditService/GetAuditEntry", pb.GetAuditEntryResponse)
_VERIFY: Final = Method("/agentflow.v1.AuditService/VerifyAuditLog", pb.VerifyAuditLogResponse)


@dataclass(frozen=True, slots=True)
class AuditEntry(Record):
    """Something that was done to private data, or by an administrator.

    at: ms since the epoch.
    action: protect, restore, adopt, block, dead_replay, dead_purge, audit_list, audit_get, audit_verify and more.
    actor: the API key, service or schedule.
    counts: how many values, by kind; never the values.
    """

    sequence: int
    at: int
    action: str
    actor: str
    run_id: str = ""
    step: str = ""
    reason: str = ""
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditPage(Record):
    """next_page_token: there may be more, even if this page is short or empty."""

    entries: tuple[AuditEntry, ...] = ()
    next_page_token: str = ""

    def __iter__(self) -> Iterator[AuditEntry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


@dataclass(frozen=True, slots=True)
class AuditProblem(Record):
    """sequence: of the entry; 0 for the whole log."""

    sequence: int
    problem: str


@dataclass(frozen=True, slots=True)
class AuditVerified(Record):
    """entries: that this call read. digest: over all entries up to last_sequence. more: call again from there."""

    entries: int
    last_sequence: int
    digest: str
    problems: tuple[AuditProblem, ...] = ()
    more: bool = False


def list_entries(
    *,
    actor: str = "",
    action: str = "",
    run_id: str = "",
    after_ms: int = 0,
    before_ms: int = 0,
    limit: int = 50,
    page_token: str = "",
    timeout: float | None = None,
) -> Call[AuditPage]:
    """Returns a page of audit entries, newest first. after_ms, before_ms: ms since the epoch."""
    request = pb.ListAuditEntriesRequest(
        actor=actor, action=action, run_id=run_id, after_ms=after_ms, before_ms=before_ms, page_size=limit,
        page_token=page_token,
    )  # fmt: skip
    return Call(_LIST, request, _page, timeout)


def get_entry(sequence: int, *, timeout: float | None = None) -> Call[AuditEntry]:
    """Returns one audit entry. Raises NotFoundError if the org's audit log has none with this sequence."""
    return Call(_GET, pb.GetAuditEntryRequest(sequence=sequence), lambda reply: _entry(reply.entry), timeout)


def verify(
    *, after_sequence: int = 0, after_digest: str = "", to_sequence: int = 0, timeout: float | None = None
) -> Call[AuditVerified]:
    """Reads the audit log in order and returns a digest over it.

    after_sequence, after_digest: go on from an earlier answer. to_sequence: stop there; 0 reads all.
    """
    request = pb.VerifyAuditLogRequest(
        after_sequence=after_sequence, after_digest=after_digest, to_sequence=to_sequence
    )
    return Call(_VERIFY, request, _verified, timeout)


def _entry(message: Any) -> AuditEntry:
    return AuditEntry(
        message.sequence, message.at, message.action, message.actor, message.run_id, message.step, message.reason,
        dict(message.counts),
    )  # fmt: skip


def _page(reply: Any) -> AuditPage:
    return AuditPage(tuple(map(_entry, reply.entries)), reply.next_page_token)


def _verified(reply: Any) -> AuditVerified:
    problems = tuple(AuditProblem(item.sequence, item.problem) for item in reply.problems)
    return AuditVerified(reply.entries, reply.last_sequence, reply.digest, problems, reply.more)
