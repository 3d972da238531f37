"""AuditService: the audit log of the caller's org."""

from __future__ import annotations

from typing import Any

from agentflow.v1 import audit_pb2 as pb
from agentflow.v1 import audit_pb2_grpc
from agentflow_gateway.api import call_context, pages
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.operations import audit_log


class AuditService(audit_pb2_grpc.AuditServiceServicer):
    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def ListAuditEntries(self, request: Any, _context: Any) -> Any:  # noqa: N802
        wanted = audit_log.Filter(
            request.actor, request.action, request.run_id, request.after_ms, request.before_ms
        )  # fmt: skip
        limit = pages.page_size(request.page_size)
        found, token = await audit_log.find(self._deps, call_context.current(), wanted, limit, request.page_token)
        return pb.ListAuditEntriesResponse(entries=[_entry(item) for item in found], next_page_token=token)

    async def GetAuditEntry(self, request: Any, _context: Any) -> Any:  # noqa: N802
        found = await audit_log.get(self._deps, call_context.current(), request.sequence)
        return pb.GetAuditEntryResponse(entry=_entry(found))

    async def VerifyAuditLog(self, request: Any, _context: Any) -> Any:  # noqa: N802
        done = await audit_log.verify(
            self._deps, call_context.current(), request.after_sequence, request.after_digest, request.to_sequence
        )
        return pb.VerifyAuditLogResponse(
            entries=done.entries,
            last_sequence=done.last_seq,
            digest=done.digest.hex(),
            problems=[pb.AuditProblem(sequence=seq, problem=problem) for seq, problem in done.problems],
            more=done.more,
        )


def _entry(item: audit_log.Found) -> Any:
    event = item.event
    return pb.AuditEntry(
        sequence=item.seq, at=event.ts, action=event.action, actor=event.actor, run_id=event.run, step=event.step,
        reason=event.reason, counts=event.counts,
    )  # fmt: skip
