"""The calls that show tools and functions, as data (see `calls`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from agentflow.v1 import tool_pb2 as pb
from agentflow_sdk.calls.workflows import Call, Method
from agentflow_sdk.choices import ToolKind
from agentflow_sdk.convert import workflows as convert
from agentflow_sdk.models.records import Page, Record

_LIST: Final = Method("/agentflow.v1.ToolService/ListTools", pb.ListToolsResponse)
_GET: Final = Method("/agentflow.v1.ToolService/GetTool", pb.GetToolResponse)


@dataclass(frozen=True, slots=True)
class Tool(Record):
    """A tool or function that a step can name.

    kind: `tool` or `function`.
    idempotent: repeating it does no harm.
    reveal: arguments whose tokens are replaced by the originals before the call.
    schema: JSON Schema of the arguments object.
    built_in: it comes with AgentFlow.
    offered_at: when a worker offered it last, ms since the epoch.
    """

    kind: str
    name: str
    idempotent: bool = False
    reveal: tuple[str, ...] = ()
    schema: dict[str, Any] = field(default_factory=dict)
    doc: str = ""
    built_in: bool = False
    offered_at: int = 0


def list_tools(
    prefix: str = "",
    *,
    kind: ToolKind = "",
    limit: int = 1000,
    page_token: str = "",
    timeout: float | None = None,
) -> Call[Page[Tool]]:
    """Returns a page of what the workers offer, by kind and name. kind: only tools, or only functions."""
    request = pb.ListToolsRequest(kind=kind, name_prefix=prefix, page_size=limit, page_token=page_token)
    return Call(_LIST, request, lambda reply: Page(map(_tool, reply.tools), reply.next_page_token), timeout)


def get_tool(name: str, *, kind: ToolKind = "", timeout: float | None = None) -> Call[Tool]:
    """Returns one tool or function. Raises NotFoundError with names that are close."""
    return Call(_GET, pb.GetToolRequest(name=name, kind=kind), lambda reply: _tool(reply.tool), timeout)


def _tool(message: Any) -> Tool:
    return Tool(
        message.kind, message.name, message.idempotent, tuple(message.reveal), convert.from_struct(message.schema),
        message.doc, message.built_in, message.offered_at,
    )  # fmt: skip
