"""ToolService: the tools and functions that workers offer, as clients see them."""

from __future__ import annotations

from typing import Any, Final

from agentflow.v1 import tool_pb2 as pb
from agentflow_common.errors import InvalidError, NotFoundError
from agentflow_common.hints import did_you_mean
from agentflow_gateway.api import convert, pages
from agentflow_gateway.api.call import Call
from agentflow_gateway.worker_registry import Offer

KINDS: Final = ("tool", "function")
_SEE_LIST: Final = "see `agentctl tools list`"


class ToolService:
    async def ListTools(self, request: Any, call: Call) -> Any:
        kinds = _kinds(request.kind)
        page = pages.Page(request, "tools", request.kind, request.name_prefix, default=pages.PAGE_SIZE_MAX)
        after = page.after_name
        offers = await call.deps.registry.offers(
            lambda kind, name: kind in kinds and name.startswith(request.name_prefix) and _place(kind, name) > after
        )
        shown, token = page.cut(offers, lambda offer: (0, _place(offer.kind, offer.name)))
        return pb.ListToolsResponse(tools=[_tool(offer) for offer in shown], next_page_token=token)

    async def GetTool(self, request: Any, call: Call) -> Any:
        kinds = _kinds(request.kind)
        if not request.name:
            raise InvalidError.at("name", "the name of the tool is empty", _SEE_LIST)
        offers = await call.deps.registry.offers(lambda kind, name: kind in kinds and name == request.name)
        if not offers:
            raise await _unknown(call, request.name, kinds)
        return pb.GetToolResponse(tool=_tool(offers[0]))


async def _unknown(call: Call, name: str, kinds: tuple[str, ...]) -> NotFoundError:
    names = sorted({other for kind in kinds for other in await call.deps.registry.names(kind, fresh=True)})
    what = kinds[0] if len(kinds) == 1 else "tool or function"
    if name in names:
        text = f"no running worker offers the {what} {name!r}; one did not long ago"
        raise NotFoundError.at("name", text, "start a worker that loads it", kind="unknown_tool")
    fix = did_you_mean(name, names, _SEE_LIST, most=3, cutoff=0.5)
    return NotFoundError.at("name", f"no worker offers a {what} named {name!r}", fix, kind="unknown_tool")


def _place(kind: str, name: str) -> str:
    """Returns a text that sorts as the list does: tools first, by name."""
    return f"{int(kind != 'tool')}{name}"


def _kinds(asked: str) -> tuple[str, ...]:
    if asked and asked not in KINDS:
        raise InvalidError.at("kind", f"unknown kind {asked!r}", "use tool or function, or leave it out")
    return (asked,) if asked else KINDS


def _tool(offer: Offer) -> Any:
    message = convert.message_of(pb.Tool, offer, schema=None, other_versions=[_tool(other) for other in offer.others])
    convert.set_struct(message.schema, offer.schema)
    return message
