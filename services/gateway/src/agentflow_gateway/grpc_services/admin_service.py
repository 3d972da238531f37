"""AdminService: dead letters, and how long finished runs stay in the log."""

from __future__ import annotations

from typing import Any, Final

from agentflow.v1 import admin_pb2 as pb
from agentflow.v1 import admin_pb2_grpc
from agentflow_common import rpc
from agentflow_common.errors import InvalidError, Problem
from agentflow_common.log.dead_letters import DeadLetter
from agentflow_common.rpc import Empty
from agentflow_gateway.api import call_context, pages
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.operations import dead_letters

KEEP_MS_MAX: Final = 100 * 366 * 86_400_000


class AdminService(admin_pb2_grpc.AdminServiceServicer):
    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def ListDeadLetters(self, request: Any, _context: Any) -> Any:  # noqa: N802
        limit = pages.page_size(request.page_size)
        wanted = _filter(request.filter, dead_letters.read_page_token(request.page_token))
        found, more = await dead_letters.find(self._deps, call_context.current(), wanted, limit)
        return pb.ListDeadLettersResponse(
            letters=[_letter(letter) for letter in found], next_page_token=dead_letters.page_token(more)
        )

    async def GetDeadLetter(self, request: Any, _context: Any) -> Any:  # noqa: N802
        call = call_context.current()
        letter, data = await dead_letters.get(self._deps, call, request.sequence)
        response = pb.GetDeadLetterResponse(letter=_letter(letter))
        if request.reveal:
            response.body, response.truncated = await dead_letters.body_of(
                self._deps, call, letter, data, request.reveal_reason
            )
        return response

    async def ReplayDeadLetters(self, request: Any, _context: Any) -> Any:  # noqa: N802
        done, more = await dead_letters.replay(
            self._deps,
            call_context.current(),
            _filter(request.filter),
            dry_run=request.dry_run,
            repaired=request.repaired_body,
        )
        return pb.ReplayDeadLettersResponse(outcomes=[_outcome(item) for item in done], more=more)

    async def PurgeDeadLetters(self, request: Any, _context: Any) -> Any:  # noqa: N802
        done, more = await dead_letters.purge(
            self._deps, call_context.current(), _filter(request.filter), dry_run=request.dry_run
        )
        return pb.PurgeDeadLettersResponse(outcomes=[_outcome(item) for item in done], more=more)

    async def GetRetention(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        found = await call_context.current().ask(self._deps.nc, rpc.RETENTION_GET, Empty())
        return pb.GetRetentionResponse(retention=_retention(found))

    async def SetRetention(self, request: Any, _context: Any) -> Any:  # noqa: N802
        call = call_context.current()
        dead_letters.require_operator(call, "SetRetention")
        if not 0 <= request.keep_ms <= KEEP_MS_MAX:
            fix = "give ms, for example 604800000 for 7 days, or 0 for ever"
            raise InvalidError("not a retention", problems=(Problem("keep_ms", f"{request.keep_ms}", fix),))
        question = rpc.SetRetentionRequest(keep_ms=request.keep_ms, by=call.identity.actor)
        found = await call.ask(self._deps.nc, rpc.RETENTION_SET, question)
        return pb.SetRetentionResponse(retention=_retention(found))


def _filter(message: Any, after_seq: int = 0) -> dead_letters.Filter:
    return dead_letters.check_filter(
        dead_letters.Filter(
            sequences=frozenset(message.sequences),
            origin=message.origin,
            reason=message.reason,
            run=message.run_id,
            after_ms=message.after_ms,
            before_ms=message.before_ms,
            all=message.all,
            after_seq=after_seq or message.after_sequence,
        )
    )


def _letter(letter: DeadLetter) -> Any:
    return pb.DeadLetter(
        sequence=letter.seq,
        buried_at=letter.ts,
        origin=letter.origin,
        reason=letter.reason,
        subject=letter.subject,
        origin_sequence=letter.origin_seq,
        org_id=letter.org,
        run_id=letter.run,
        size_bytes=letter.size,
        replays=letter.replays,
        replayable=letter.replayable,
    )


def _outcome(item: dead_letters.Outcome) -> Any:
    return pb.DeadLetterOutcome(
        letter=_letter(item.letter), outcome=item.outcome, sequence=item.seq, problem=item.problem
    )


def _retention(found: rpc.RetentionReply) -> Any:
    return pb.Retention(
        keep_ms=found.keep_ms,
        set_by=found.set_by,
        set_at=found.set_at,
        archived_runs=found.archived_runs,
        waiting_runs=found.waiting_runs,
        waiting_for=found.waiting_for,
        swept_at=found.swept_at,
        log_messages=found.log_messages,
        log_bytes=found.log_bytes,
        archived_to_sequence=found.archived_to_seq,
        lost_from_sequence=found.lost_from_seq,
        lost_to_sequence=found.lost_to_seq,
    )
