"""ToolService: what the workers offer, as clients see it."""

from __future__ import annotations

import difflib
from typing import Any, Final

from agentflow.v1 import tool_pb2 as pb
from agentflow.v1 import tool_pb2_grpc
from agentflow_common.errors import InvalidError, NotFoundError, Problem
from agentflow_gateway.api import convert, pages
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.worker_registry import Offer

KINDS: Final = ("tool", "function")


class ToolService(tool_pb2_grpc.ToolServiceServicer):
    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def ListTools(self, request: Any, _context: Any) -> Any:  # noqa: N802
        kinds = _kinds(request.kind)
        limit = pages.page_size(request.page_size, default=pages.PAGE_SIZE_MAX)
        filters = (request.kind, request.name_prefix)
        after = pages.after_name("tools", request.page_token, filters)
        offers = await self._deps.registry.offers(
            lambda kind, name: kind in kinds and name.startswith(request.name_prefix) and _place(kind, name) > after
        )
        shown, token = pages.cut("tools", offers, limit, lambda offer: _place(offer.kind, offer.name), filters)
        return pb.ListToolsResponse(tools=[_tool(offer) for offer in shown], next_page_token=token)

    async def GetTool(self, request: Any, _context: Any) -> Any:  # noqa: N802
        kinds = _kinds(request.kind)
        if not request.name:
            problem = Problem("name", "is empty", "see `agentctl tools list`")
            raise InvalidError("no tool is named", problems=(problem,))
        found = await self._deps.registry.offers(lambda kind, name: kind in kinds and name == request.name)
        if not found:
            raise await self._unknown(request.name, kinds)
        return pb.GetToolResponse(tool=_tool(found[0]))

    async def _unknown(self, name: str, kinds: tuple[str, ...]) -> NotFoundError:
        names = sorted({other for kind in kinds for other in await self._deps.registry.names(kind, fresh=True)})
        close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        fix = f"did you mean {' or '.join(close)}?" if close else "see `agentctl tools list`"
        what = kinds[0] if len(kinds) == 1 else "tool or function"
        return NotFoundError(
            f"no worker offers a {what} named {name!r}; {fix}", kind="unknown_tool",
            problems=(Problem("name", f"{name!r} is not known", fix),),
        )  # fmt: skip


def _place(kind: str, name: str) -> str:
    """Sorts as the list does: tools first, by name."""
    return f"{int(kind != 'tool')}{name}"


def _kinds(asked: str) -> tuple[str, ...]:
    if asked and asked not in KINDS:
        problem = Problem("kind", f"{asked!r} is not known", "use tool or function, or leave it out")
        raise InvalidError(f"unknown kind {asked!r}", problems=(problem,))
    return (asked,) if asked else ("tool", "function")


def _tool(offer: Offer) -> Any:
    message = pb.Tool(
        kind=offer.kind, name=offer.name, idempotent=offer.idempotent, reveal=offer.reveal, doc=offer.doc,
        built_in=offer.built_in, offered_at=offer.offered_at,
    )  # fmt: skip
    convert.set_struct(message.schema, offer.schema)
    return message
