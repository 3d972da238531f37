"""The OpenTelemetry spans of a run."""

from __future__ import annotations

from typing import Any, Final

from agentflow.v1 import trace_spans_pb2 as pb
from agentflow_common import rpc
from agentflow_common.errors import InvalidError, NotFoundError, RetryableError
from agentflow_common.subjects import EntityKey
from agentflow_gateway.api import pages
from agentflow_gateway.api.call import Call
from agentflow_gateway.runs import archive
from agentflow_gateway.runs.lookup import no_such_run

_LIST: Final = "spans"


async def export(call: Call, key: EntityKey, newest: int, request: Any) -> Any:
    """Returns the answer to ExportTraceSpans.

    newest: the sequence of the newest event of the run; 0: only the archive may know it.
    """
    place = pages.read(request.page_token, pages.Place)
    if place is not None and (place.kind, place.filters) != (_LIST, (request.run_id,)):
        raise InvalidError.at("page_token", "the page token belongs to another run", "start without a token")
    part = place.number if place is not None else 0
    question = rpc.SpansRequest(org=call.org, run=request.run_id, min_seq=newest if part == 0 else 0, part=part)
    try:
        reply = await call.ask(rpc.TRACE_SPANS, question)
    except NotFoundError:
        raise no_such_run(request.run_id) from None
    except RetryableError as error:
        if not newest and await archive.is_unlisted(call, key, error):
            raise no_such_run(request.run_id) from None
        raise
    following = pages.Place(_LIST, (request.run_id,), part + 1)
    return pb.ExportTraceSpansResponse(
        otlp=reply.otlp, spans=reply.spans, next_page_token=pages.token(following) if reply.more else ""
    )
