"""Finds runs: checks what is asked for, and asks the trace service."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from agentflow.v1 import trace_pb2 as pb
from agentflow_common import rpc
from agentflow_common.errors import InvalidError
from agentflow_gateway import auth_rules, limits
from agentflow_gateway.api import convert
from agentflow_gateway.api.call import Call
from agentflow_gateway.api.pages import Page
from agentflow_gateway.runs import submission

_NAMES: Final = ("provider", "model", "prompt", "workflow", "node", "error_type", "org_id")
_NAME_CHARS_MAX: Final = 128
_TEXT_CHARS_MAX: Final = 500
_BOUNDS: Final = ("min_cost_nano_usd", "max_cost_nano_usd", "min_duration_ms", "max_duration_ms", "version")
# A page goes on where the one before ended, so a window that has moved since does not change what follows.
_MAY_CHANGE: Final = ("start_ms", "end_ms", "page_size", "page_token")


async def query(request: Any, call: Call) -> Any:
    """Returns a page of the runs that match."""
    _check(request)
    org = await _org(request, call)
    page = Page(request, "traces", _digest(request))
    question = convert.struct_of(
        rpc.TraceQueryRequest,
        request,
        org=org,
        status=convert.RUN_STATUS.name(request.status),
        tags=dict(request.tags),
        sort=request.sort or rpc.SORTS[0],
        limit=page.limit,
        after_value=page.after.number if page.after is not None else 0,
        after_run=page.after_name,
    )
    reply = await call.ask(rpc.TRACE_QUERY, question)
    return pb.QueryTracesResponse(
        next_page_token=page.token(reply.after_value, reply.after_run) if reply.after_run else "",
        traces=[_summary(trace, call.org) for trace in reply.traces],
    )


def _check(request: Any) -> None:
    """Raises InvalidError for a filter that nothing can match, or that can't be stored."""
    for name in _NAMES:
        limits.check_text(getattr(request, name), name, _NAME_CHARS_MAX)
    limits.check_text(request.text, "text", _TEXT_CHARS_MAX)
    submission.check_tags(request.tags)
    for name in ("start_ms", "end_ms", *_BOUNDS):
        if getattr(request, name) < 0:
            raise InvalidError.at(name, f"{name} is below 0", "leave it out, or give 0 for no bound")
    _in_order(request, "start_ms", "end_ms", "the window ends before it starts", "swap the two times, or leave one out")
    for least, most in (("min_cost_nano_usd", "max_cost_nano_usd"), ("min_duration_ms", "max_duration_ms")):
        _in_order(request, least, most, f"{most} is below {least}", "swap the two, or leave one out")
    if request.sort and request.sort not in rpc.SORTS:
        raise InvalidError.at("sort", f"{request.sort[:40]!r} is not an order", f"use one of {', '.join(rpc.SORTS)}")


def _in_order(request: Any, first: str, last: str, message: str, fix: str) -> None:
    if 0 < getattr(request, last) < getattr(request, first):
        raise InvalidError.at(last, message, fix)


async def _org(request: Any, call: Call) -> str:
    """Returns the org whose runs are asked for. Another one needs a permission, and the audit log keeps it."""
    if request.org_id in ("", call.org):
        return call.org
    auth_rules.require(call.identity, "operator", "QueryTraces of another org")
    if request.text:
        text = "texts are searched in your own org only: what runs said belongs to their org"
        raise InvalidError.at("text", text, "leave out the text, or use a key of that org")
    await call.audit("traces_of_orgs", "every org" if request.org_id == rpc.EVERY_ORG else f"org {request.org_id}")
    return str(request.org_id)


def _digest(request: Any) -> str:
    """Returns what all pages of a list have in common."""
    copy = pb.QueryTracesRequest()
    copy.CopyFrom(request)
    for name in _MAY_CHANGE:
        copy.ClearField(name)
    return hashlib.sha256(copy.SerializeToString(deterministic=True)).hexdigest()[:16]


def _summary(trace: rpc.TraceSummary, own: str) -> Any:
    """Returns a run as the caller may see it. Of another org's error it is the type."""
    error = trace.error if trace.org == own else trace.error.partition(":")[0]
    return convert.message_of(pb.TraceSummary, trace, error=error)
