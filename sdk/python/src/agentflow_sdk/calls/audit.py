"""The calls that read the audit log. They need the permission `auditor` or `admin`."""

from __future__ import annotations

from typing import Final

from agentflow.v1 import audit_pb2 as pb
from agentflow_sdk.convert.answers import reader
from agentflow_sdk.models.audit import AuditEntry, AuditPage, AuditVerified
from agentflow_sdk.transport.call import Call, service

_METHOD: Final = service("AuditService", pb)


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
    """Returns a page of audit entries, newest first. What is given must match.

    Args:
        actor: Only entries of this API key, service or schedule.
        action: Only entries of this action, such as `restore`.
        run_id: Only entries about this run.
        after_ms: Only entries from this time on, ms since the epoch; 0 for no bound.
        before_ms: Only entries before this time, ms since the epoch; 0 for no bound.
        limit: The most items of the page, from 1 to 1000.
        page_token: The `next_page_token` of the page before; empty for the first page.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The page. It can be short or empty although more entries follow: see `next_page_token`.

    Raises:
        PermissionDeniedError: The API key has neither the permission `auditor` nor `admin`.
    """
    request = pb.ListAuditEntriesRequest(
        actor=actor,
        action=action,
        run_id=run_id,
        after_ms=after_ms,
        before_ms=before_ms,
        page_size=limit,
        page_token=page_token,
    )
    return Call(_METHOD("ListAuditEntries"), request, reader(AuditPage), timeout)


def get_entry(sequence: int, *, timeout: float | None = None) -> Call[AuditEntry]:
    """Returns one audit entry.

    Args:
        sequence: The number of the entry.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The entry.

    Raises:
        NotFoundError: The org's audit log has no entry of this number.
        PermissionDeniedError: The API key has neither the permission `auditor` nor `admin`.
    """
    request = pb.GetAuditEntryRequest(sequence=sequence)
    return Call(_METHOD("GetAuditEntry"), request, reader(AuditEntry, "entry"), timeout)


def verify(
    *, after_sequence: int = 0, after_digest: str = "", to_sequence: int = 0, timeout: float | None = None
) -> Call[AuditVerified]:
    """Reads the audit log in order and returns a digest over it.

    Args:
        after_sequence: The `last_sequence` of an earlier answer, to continue from; 0 for the start.
        after_digest: The `digest` of that earlier answer; empty for the start.
        to_sequence: The last entry to read; 0 for the newest one.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The digest and everything that is wrong with the log.

    Raises:
        PermissionDeniedError: The API key has neither the permission `auditor` nor `admin`.
    """
    request = pb.VerifyAuditLogRequest(
        after_sequence=after_sequence, after_digest=after_digest, to_sequence=to_sequence
    )
    return Call(_METHOD("VerifyAuditLog"), request, reader(AuditVerified), timeout)
