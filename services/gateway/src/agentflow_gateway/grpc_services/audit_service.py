"""AuditService: the audit log of the caller's org."""

from __future__ import annotations

from typing import Any

from agentflow.v1 import audit_pb2 as pb
from agentflow_gateway.api.call import Call
from agentflow_gateway.api.convert import message_of, struct_of
from agentflow_gateway.api.pages import Page
from agentflow_gateway.operations import audit_log


class AuditService:
    async def ListAuditEntries(self, request: Any, call: Call) -> Any:
        chosen = struct_of(audit_log.Filter, request)
        entries, token = await audit_log.find(call, chosen, Page(request, "audit", chosen.as_text()))
        return pb.ListAuditEntriesResponse(entries=[_entry(entry) for entry in entries], next_page_token=token)

    async def GetAuditEntry(self, request: Any, call: Call) -> Any:
        return pb.GetAuditEntryResponse(entry=_entry(await audit_log.get(call, request.sequence)))

    async def VerifyAuditLog(self, request: Any, call: Call) -> Any:
        result = await audit_log.verify(call, request.after_sequence, request.after_digest, to_seq=request.to_sequence)
        return message_of(
            pb.VerifyAuditLogResponse,
            result,
            digest=result.digest.hex(),
            problems=[pb.AuditProblem(sequence=seq, problem=problem) for seq, problem in result.problems],
        )


def _entry(entry: audit_log.AuditEntry) -> Any:
    return message_of(pb.AuditEntry, entry.event, sequence=entry.seq, at=entry.event.ts, run_id=entry.event.run)
