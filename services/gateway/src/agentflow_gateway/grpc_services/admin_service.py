"""AdminService: dead letters, and how long finished runs stay in the log."""

from __future__ import annotations

from typing import Any, Final

from agentflow.v1 import admin_pb2 as pb
from agentflow_common import rpc
from agentflow_common.errors import InvalidError
from agentflow_common.log.dead_letters import DeadLetter
from agentflow_common.rpc import Empty
from agentflow_gateway import auth_rules
from agentflow_gateway.api.call import Call
from agentflow_gateway.api.convert import message_of, struct_of
from agentflow_gateway.api.pages import Page
from agentflow_gateway.operations import dead_letters

KEEP_DAYS_MAX: Final = 100 * 366
KEEP_MS_MAX: Final = KEEP_DAYS_MAX * 86_400_000


class AdminService:
    async def ListDeadLetters(self, request: Any, call: Call) -> Any:
        page = Page(request, "dead_letters")
        chosen = _filter(request.filter, page.after.number if page.after is not None else 0)
        letters, last_seq = await dead_letters.find(call, chosen, page.limit)
        return pb.ListDeadLettersResponse(
            letters=[_letter(letter) for letter in letters], next_page_token=page.token(last_seq) if last_seq else ""
        )

    async def GetDeadLetter(self, request: Any, call: Call) -> Any:
        letter, data = await dead_letters.get(call, request.sequence)
        response = pb.GetDeadLetterResponse(letter=_letter(letter))
        if request.reveal:
            response.body, response.truncated = await dead_letters.body_of(call, letter, data, request.reveal_reason)
        return response

    async def ReplayDeadLetters(self, request: Any, call: Call) -> Any:
        results, more = await dead_letters.replay(
            call, _filter(request.filter), dry_run=request.dry_run, repaired=request.repaired_body
        )
        return pb.ReplayDeadLettersResponse(outcomes=[_outcome(result) for result in results], more=more)

    async def PurgeDeadLetters(self, request: Any, call: Call) -> Any:
        results, more = await dead_letters.purge(call, _filter(request.filter), dry_run=request.dry_run)
        return pb.PurgeDeadLettersResponse(outcomes=[_outcome(result) for result in results], more=more)

    async def GetRetention(self, _request: Any, call: Call) -> Any:
        return pb.GetRetentionResponse(retention=_retention(await call.ask(rpc.RETENTION_GET, Empty())))

    async def SetRetention(self, request: Any, call: Call) -> Any:
        auth_rules.require(call.identity, "operator", "SetRetention (the retention applies to all orgs)")
        if not 0 <= request.keep_ms <= KEEP_MS_MAX:
            fix = f"give at most {KEEP_DAYS_MAX:,} days, or keep runs forever"
            raise InvalidError.at("keep_ms", "this retention is out of range", fix)
        question = rpc.SetRetentionRequest(keep_ms=request.keep_ms, by=call.identity.actor)
        return pb.SetRetentionResponse(retention=_retention(await call.ask(rpc.RETENTION_SET, question)))


def _filter(message: Any, after_seq: int = 0) -> dead_letters.Filter:
    after_seq = after_seq or message.after_sequence
    sequences = frozenset(message.sequences)
    return dead_letters.check_filter(struct_of(dead_letters.Filter, message, sequences=sequences, after_seq=after_seq))


def _letter(letter: DeadLetter) -> Any:
    return message_of(pb.DeadLetter, letter, buried_at=letter.ts, size_bytes=letter.size)


def _outcome(result: dead_letters.ReplayResult) -> Any:
    return message_of(pb.DeadLetterOutcome, result, letter=_letter(result.letter))


def _retention(reply: rpc.RetentionReply) -> Any:
    return message_of(pb.Retention, reply)
